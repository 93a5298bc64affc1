"""What we write as loose objects is what git would have written."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codestrator.store.loose import LooseObjects
from codestrator.store.store import Store
from tests.conftest import git
from tests.store.kit import put, task


def loose_of(repo: Path, *, durable: bool = False) -> LooseObjects:
    return LooseObjects(repo / ".git", durable=durable)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=4096))
def test_git_reads_it_under_the_id_that_git_gives_it(repo: Path, content: bytes) -> None:
    asked = ["git", "hash-object", "-t", "blob", "--stdin"]
    expected = subprocess.run(asked, cwd=repo, input=content, capture_output=True, check=True).stdout.decode().strip()
    oid = loose_of(repo).write(b"blob", content).hex()
    assert oid == expected
    read = subprocess.run(["git", "cat-file", "blob", oid], cwd=repo, capture_output=True, check=True).stdout
    assert read == content


@pytest.mark.parametrize("durable", [False, True])
def test_nothing_else_stays_behind_and_git_is_content(repo: Path, opened: Callable[..., Store], durable: bool) -> None:
    store = opened(repo, durable=durable)
    store.initialise()
    put(store, task())
    assert list((repo / ".git" / "objects").rglob("tmp_obj_*")) == []
    assert git("fsck", "--strict", "--no-dangling", at=repo) == ""


@pytest.mark.parametrize("prepared", [False, True])
def test_files_made_before_the_gate_hold_what_git_would_have_written(repo: Path, prepared: bool) -> None:
    loose = loose_of(repo)
    oids = []
    for number in range(20):
        if prepared:
            loose.prepare()
        oids.append(loose.write(b"blob", b"content %d" % number).hex())
    loose.close()
    read = subprocess.run(
        ["git", "cat-file", "--batch=%(objecttype)"], cwd=repo, input="\n".join(oids), capture_output=True, text=True
    ).stdout
    assert read.split("\n")[:-1] == [line for number in range(20) for line in ("blob", f"content {number}")]
    assert list((repo / ".git" / "objects").rglob("tmp_obj_*")) == []


def test_two_writers_of_one_content_both_have_it(repo: Path) -> None:
    first, second = loose_of(repo), loose_of(repo)
    first.prepare()
    second.prepare()
    oid = first.write(b"blob", b"both").hex()
    place = repo / ".git" / "objects" / oid[:2] / oid[2:]
    second._put(str(place), b"blob 4\0both")  # as one that looked before the other had written
    assert place.stat().st_nlink == 1 and git("cat-file", "blob", oid, at=repo) == "both"


def test_a_fork_does_not_write_into_its_parents_files(repo: Path) -> None:
    loose = loose_of(repo)
    loose.prepare()
    if not (child := os.fork()):
        try:
            loose.write(b"blob", b"the child's")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    oids = [loose.write(b"blob", b"the parent's %d" % number).hex() for number in range(6)]
    assert [git("cat-file", "blob", oid, at=repo) for oid in oids] == [f"the parent's {number}" for number in range(6)]
    assert git("fsck", "--strict", "--no-dangling", at=repo) == ""


@pytest.mark.parametrize("prepared", [False, True])
def test_a_folder_missing_for_a_file_made_before_is_made(repo: Path, prepared: bool) -> None:
    loose = loose_of(repo)
    there = {one.name for one in (repo / ".git" / "objects").iterdir()}
    for number in range(100):
        if prepared:
            loose.prepare()
        oid = loose.write(b"blob", b"folder %d" % number).hex()
        assert git("cat-file", "-s", oid, at=repo)
        if oid[:2] not in there:
            return
    pytest.fail("no content fell into a missing folder")


def test_the_same_again_is_only_made_young(repo: Path) -> None:
    loose = loose_of(repo)
    oid = loose.write(b"blob", b"same").hex()
    place = repo / ".git" / "objects" / oid[:2] / oid[2:]
    os.utime(place, (1, 1))
    inode = place.stat().st_ino
    assert loose.write(b"blob", b"same").hex() == oid
    assert place.stat().st_ino == inode and place.stat().st_mtime > 1_000_000


def test_a_folder_that_gc_took_away_is_made_again(repo: Path) -> None:
    loose = loose_of(repo)
    oid = loose.write(b"blob", b"gone").hex()
    place = repo / ".git" / "objects" / oid[:2] / oid[2:]
    place.unlink()
    place.parent.rmdir()
    assert loose.write(b"blob", b"gone").hex() == oid
    assert place.is_file() and place.stat().st_mode & 0o777 == 0o444


def test_a_repository_shared_by_a_group_keeps_its_rights(repo: Path) -> None:
    (repo / ".git" / "objects").chmod(0o2775)  # as `git init --shared=group` makes it
    there = {one.name for one in (repo / ".git" / "objects").iterdir()}
    contents = (b"for the group %d" % number for number in range(100))
    oids = (loose_of(repo).write(b"blob", content).hex() for content in contents)
    oid = next(one for one in oids if one[:2] not in there)
    place = repo / ".git" / "objects" / oid[:2] / oid[2:]
    assert place.stat().st_mode & 0o777 == 0o444
    assert place.parent.stat().st_mode & 0o2070 == 0o2070


def test_a_name_of_the_users_own_letters_is_kept_in_the_commit(repo: Path, opened: Callable[..., Store]) -> None:
    git("config", "user.name", "Zoë Müller", at=repo)
    store = opened(repo)
    store.initialise()
    put(store, task())
    assert git("log", "-1", "--format=%an", "refs/codestrator/state", at=repo) == "Zoë Müller"
