"""State that is damaged, newer or too large: named, and everything else goes on."""

import os
from pathlib import Path

import msgspec
import pytest

from codestrator import SCHEMA
from codestrator.errors import External, InvalidParams, SchemaNewer, UnreadableState
from codestrator.records import Task, Thread
from codestrator.store.store import Store
from tests.store.kit import (
    LOCKS,
    STATE,
    git,
    loose,
    path_of,
    plant,
    put,
    raise_priority,
    raw_of,
    refs,
    store_of,
    task,
)

BROKEN = {
    "cut off": (b'{"id":"ID","title":', UnreadableState),
    "empty": (b"", UnreadableState),
    "no object": (b"[1,2]", UnreadableState),
    "binary": (b"\xff\xfe\x00", UnreadableState),
    "deep": (b"[" * 100_000, UnreadableState),
    "a field missing": (b'{"id":"ID"}', UnreadableState),
    "a field of another type": (b'{"id":"ID","level":"epic","title":5}', UnreadableState),
    "a newer schema": (b'{"id":"ID","schema":99}', SchemaNewer),
    "another id": (b"OTHER", UnreadableState),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_document_is_named_and_the_others_stay_readable(repo: Path, store: Store, how: str) -> None:
    sound, bad = task("sound"), task("bad")
    put(store, sound, bad)
    content, error = BROKEN[how]
    if how == "another id":
        content = msgspec.json.encode(raw_of(repo, sound.id))
    plant(repo, STATE, path_of(bad.id), content.replace(b"ID", bad.id.encode()))

    for reader in (store, store_of(repo)):
        tx = reader.read()
        with pytest.raises(error) as told:
            tx.get(Task, bad.id)
        assert told.value.details["document"] == f"task/{bad.id}"
        assert [one.id for one in tx.all(Task)] == [sound.id]
        assert [one.details["document"] for one in tx.damaged] == [f"task/{bad.id}"]
    raise_priority(store, sound.id)
    assert store_of(repo).read().require(Task, sound.id).priority == 1


def test_a_damaged_document_survives_writes_beside_it(repo: Path, store: Store) -> None:
    sound, bad = task("sound"), task("bad")
    put(store, sound, bad)
    plant(repo, STATE, path_of(bad.id), b"{")
    put(store, *[task() for _ in range(200)])
    assert git(repo, "show", f"{STATE}:{path_of(bad.id)}") == "{"


def test_a_document_of_unknown_kind_is_named_and_carried(repo: Path, store: Store) -> None:
    place = path_of("zebra-0000000000")
    plant(repo, STATE, place, b'{"id":"zebra-0000000000"}')
    put(store, *[task() for _ in range(200)])
    assert [one.details["document"] for one in store.read().damaged] == ["zebra-0000000000"]
    assert git(repo, "show", f"{STATE}:{place}") == '{"id":"zebra-0000000000"}'


def test_a_field_of_a_newer_program_is_carried(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    plant(repo, STATE, path_of(one.id), msgspec.json.encode(raw_of(repo, one.id) | {"colour": {"deep": [1]}}))
    raise_priority(store_of(repo), one.id)
    found = raw_of(repo, one.id)
    assert (found["colour"], found["priority"]) == ({"deep": [1]}, 1)


@pytest.mark.parametrize("ref", [STATE, LOCKS])
def test_state_of_a_newer_schema_is_refused_as_a_whole(repo: Path, store: Store, ref: str) -> None:
    plant(repo, ref, "meta.json", b'{"id":"meta","schema":99}')
    before = refs(repo)
    for act in (store.read, lambda: put(store, task())):
        with pytest.raises(SchemaNewer) as told:
            act()
        assert (told.value.details["found"], told.value.details["known"]) == (99, SCHEMA)
    assert refs(repo) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"7", b'{"schema":"x"}', b'{"schema":null}', b"\xff"])
def test_a_damaged_meta_is_told_as_such(repo: Path, store: Store, content: bytes) -> None:
    plant(repo, STATE, "meta.json", content)
    with pytest.raises(UnreadableState) as told:
        store_of(repo).read()
    assert told.value.details["ref"] == STATE


def remove(repo: Path, oid: str) -> None:
    assert oid in loose(repo)
    (repo / ".git" / "objects" / oid[:2] / oid[2:]).unlink()


def test_a_missing_document_is_named_and_the_others_stay_readable(repo: Path, store: Store) -> None:
    sound, bad = task("sound"), task("bad")
    put(store, sound, bad)
    remove(repo, git(repo, "rev-parse", f"{STATE}:{path_of(bad.id)}"))
    fresh = store_of(repo)
    with pytest.raises(UnreadableState) as told:
        fresh.read().get(Task, bad.id)
    assert told.value.details["document"] == f"task/{bad.id}"
    assert [one.id for one in fresh.read().all(Task)] == [sound.id]
    assert len(fresh.read().damaged) == 1


@pytest.mark.parametrize("depth", [1, 2])
def test_a_missing_folder_is_named_and_the_others_stay_readable(repo: Path, store: Store, depth: int) -> None:
    plan = [task(str(number)) for number in range(100)]
    put(store, *plan)
    folder = "/".join(path_of(plan[0].id).split("/")[:depth])
    lost = git(repo, "rev-parse", f"{STATE}:{folder}")
    remove(repo, lost)
    fresh = store_of(repo)
    with pytest.raises(UnreadableState) as told:
        fresh.read().get(Task, plan[0].id)
    assert lost in told.value.details["document"]
    readable = {one.id for one in plan if not path_of(one.id).startswith(folder + "/")}
    assert readable
    assert {one.id for one in fresh.read().all(Task)} == readable
    assert [one.details["document"] for one in fresh.read().damaged] == [f"tree/{lost}"]


@pytest.mark.parametrize("what", ["^{commit}", "^{tree}", ":meta.json"])
def test_a_tip_that_is_missing_is_told_with_its_ref(repo: Path, store: Store, what: str) -> None:
    put(store, task())
    remove(repo, git(repo, "rev-parse", STATE + what))
    fresh = store_of(repo)
    for act in (fresh.read, lambda: put(fresh, task())):
        with pytest.raises(UnreadableState) as told:
            act()
        assert told.value.details["ref"] == STATE


@pytest.mark.parametrize("content", ["", "garbage", "ref: refs/heads/nowhere"])
@pytest.mark.parametrize("ref", [STATE, LOCKS])
def test_a_ref_that_holds_no_id_is_told_with_its_name(repo: Path, store: Store, ref: str, content: str) -> None:
    (repo / ".git" / ref).write_text(content, encoding="ascii")
    fresh = store_of(repo)
    for act in (fresh.read, lambda: put(fresh, task())):
        with pytest.raises(UnreadableState) as told:
            act()
        assert told.value.details["ref"] == ref
    assert (repo / ".git" / ref).read_text(encoding="ascii") == content


def test_a_broken_object_is_told_like_a_missing_one(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    oid = git(repo, "rev-parse", f"{STATE}:{path_of(one.id)}")
    place = repo / ".git" / "objects" / oid[:2] / oid[2:]
    place.chmod(0o644)
    place.write_bytes(b"garbage")
    with pytest.raises(UnreadableState) as told:
        store_of(repo).read().get(Task, one.id)
    assert told.value.details["document"] == f"task/{one.id}"


def test_a_broken_chain_ends_the_journal_with_an_error_that_names_the_commit(repo: Path, store: Store) -> None:
    put(store, task())
    put(store, task())
    lost = git(repo, "rev-parse", f"{STATE}~1")
    remove(repo, lost)
    told = store_of(repo).journal()
    assert next(told).subject
    with pytest.raises(UnreadableState) as error:
        next(told)
    assert error.value.details["document"] == lost
    assert len(store_of(repo).read().all(Task)) == 2


def test_a_document_too_large_is_refused_and_nothing_is_written(repo: Path, store: Store) -> None:
    before = refs(repo)
    with pytest.raises(InvalidParams) as told:
        put(store, task(description="x" * 5_000_000))
    assert told.value.details["found"] > told.value.details["expected"]
    assert refs(repo) == before


def test_a_read_only_repository_is_told_as_such(repo: Path, store: Store) -> None:
    if os.getuid() == 0:
        pytest.skip("root may write anywhere")
    put(store, task())
    folders = [one for one in (repo / ".git").rglob("*") if one.is_dir()]
    for one in folders:
        one.chmod(0o500)
    try:
        with pytest.raises(External):
            put(store, task())
        assert len(store.read().all(Task)) == 1
    finally:
        for one in folders:
            one.chmod(0o700)


def test_a_repository_at_a_path_with_spaces_and_other_letters_works(tmp_path: Path) -> None:
    folder = tmp_path / "Ünïcode käse ✓ shop"
    folder.mkdir()
    git(folder, "init", "-q")
    store = store_of(folder)
    store.initialise()
    one = task()
    put(store, one)
    store.maintain()
    assert store_of(folder).read().require(Task, one.id).id == one.id


def test_kinds_do_not_mix(store: Store) -> None:
    put(store, task())
    tx = store.read()
    assert list(tx.rows(Thread)) == []
    assert tx.starting("epic-", [Task, Thread]) == [one.id for one in tx.all(Task)]
    assert tx.starting("thr-", [Task, Thread]) == []
