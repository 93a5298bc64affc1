"""What strangers push over our refs: it is named, nothing of it is run, and all that can be read goes on."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from codestrator.records import Task
from tests.conftest import git
from tests.machines import LOCKS, NOTES, STATE, Joins, in_step, stranger
from tests.methods.test_sync import SNAPSHOTS, item
from tests.methods.test_sync_faults import alike, draft
from tests.remotes import Serve
from tests.store.kit import path_of, plant, raw_of

BIG = 5 * 1024 * 1024
EPIC = "epic-zzzzzzzzzz"


def hostile(name: str, raw: dict[str, object]) -> tuple[str, bytes]:
    """Where a stranger puts what, beside the documents that are there: `raw` is one of them."""
    other = raw | {"id": EPIC}
    escape = {"title": "$(touch pwned)\x1b]0;x\x07", "files": ["../../etc/passwd", "/etc/passwd"]}
    made = {
        "broken JSON": (path_of(EPIC), b'{"id": "epic-zzz'),
        "no UTF-8": (path_of(EPIC), json.dumps(other).encode().replace(b"Shop", b"\xff\xfe")),
        "another shape": (path_of(EPIC), json.dumps(other | {"priority": "high"}).encode()),
        "a number too large": (path_of(EPIC), json.dumps(other).encode().replace(b'y": 0', b'y": 1' + b"0" * 5000)),
        "nested without end": (path_of(EPIC), b"[" * 200_000),
        "nothing": (path_of(EPIC), b""),
        "5 MB": (path_of(EPIC), json.dumps(other | {"description": "x" * BIG}).encode()),
        "another's id": (path_of(EPIC), json.dumps(raw).encode()),
        "another's place": ("0/0/" + EPIC + ".json", json.dumps(other).encode()),
        "no place": ("README.md", b"hello"),
        "too deep": ("0/0/0/" + EPIC + ".json", json.dumps(other).encode()),
        "an unknown kind": (path_of("zap-zzzzzzzzzz"), json.dumps(other | {"id": "zap-zzzzzzzzzz"}).encode()),
        "a newer schema": (path_of(EPIC), json.dumps(other | {"schema": 999, "zap": 1}).encode()),
        "a rev that wins for ever": (path_of(EPIC), json.dumps(other | {"rev": 10**18}).encode()),
        "its own parent": (path_of(EPIC), json.dumps(other | {"parent_id": EPIC}).encode()),
        "paths that lead out": (path_of(EPIC), json.dumps(other | escape).encode()),
    }
    return made[name]


@pytest.mark.parametrize(
    "name",
    [
        "broken JSON",
        "no UTF-8",
        "another shape",
        "a number too large",
        "nested without end",
        "nothing",
        "5 MB",
        "another's id",
        "another's place",
        "no place",
        "too deep",
        "an unknown kind",
        "a newer schema",
        "a rev that wins for ever",
        "its own parent",
        "paths that lead out",
    ],
)
def test_a_hostile_document_is_named_and_the_rest_is_usable(
    serve: Serve, machine: Joins, tmp_path: Path, name: str
) -> None:
    host = serve()
    one = machine(host)
    epic = one.epic("Shop")
    one.sync()
    theirs = stranger(host, tmp_path / "theirs")
    path, content = hostile(name, raw_of(theirs, epic))
    plant(theirs, STATE, path, content)
    git("push", "-q", "origin", STATE, at=theirs)
    one("task.update", task_id=epic, priority=5)
    kept = one.epic("Mine")
    told = item(one("sync.run"), STATE)
    assert told["verdict"] == "merged"
    named = [told.get("detail", ""), *(error.message for error in one.world.store.read().damaged)]
    stem = "0/0/0" if name == "too deep" else path.rpartition("/")[2].removesuffix(".json")
    assert any(stem in words for words in named) is (name != "paths that lead out")
    assert one.world.store.read().require(Task, epic).priority == 5
    assert {row["id"] for row in one("task.list")["items"]} >= {epic, kept}
    later = one.epic("Later")
    alike(one)
    assert host.refs()[STATE] == one.tip(STATE)
    assert {epic, kept, later} <= {task.id for task in one.world.store.read().all(Task)}
    assert not list(tmp_path.rglob("pwned"))


def test_what_was_left_out_reaches_no_other_machine(serve: Serve, machine: Joins, tmp_path: Path) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    epic = one.epic("Shop")
    in_step(one, two)
    theirs = stranger(host, tmp_path / "theirs")
    plant(theirs, STATE, *hostile("broken JSON", raw_of(theirs, epic)))
    plant(theirs, STATE, path_of(epic), b"not even this")
    git("push", "-q", "origin", STATE, at=theirs)
    assert item(one("sync.run"), STATE)["verdict"] == "merged"
    assert "left out" not in str(two("sync.run"))
    alike(one, two)
    assert two.titles() == {"Shop"} and two.world.store.read().damaged == ()


@pytest.mark.parametrize("mode", ["120000", "100755", "160000"], ids=["link", "program", "submodule"])
def test_what_is_no_plain_file_is_no_document(serve: Serve, machine: Joins, tmp_path: Path, mode: str) -> None:
    host = serve()
    one = machine(host)
    epic = one.epic("Shop")
    one.sync()
    theirs = stranger(host, tmp_path / "theirs")
    found = (
        git("hash-object", "-w", "README.md", at=theirs) if mode != "160000" else git("rev-parse", "HEAD", at=theirs)
    )
    entries = [line for line in git("ls-tree", STATE, at=theirs).splitlines()]
    kind = "commit" if mode == "160000" else "blob"
    replace_root(theirs, [*entries, f"{mode} {kind} {found}\tzap.json"])
    git("push", "-q", "origin", STATE, at=theirs)
    told = item(one("sync.run"), STATE)
    assert "zap" in told["detail"]
    assert one.titles() == {"Shop"} and one.world.store.read().require(Task, epic)
    alike(one)


def replace_root(repo: Path, entries: list[str]) -> None:
    """A state whose root has just these entries, which git itself would never write."""
    said = "".join(f"{line}\n" for line in sorted(entries, key=lambda line: line.rpartition("\t")[2]))
    made = subprocess.run(
        ["git", "mktree", "--missing"], cwd=repo, input=said, capture_output=True, text=True, check=True
    )
    commit(repo, made.stdout.strip())


def commit(repo: Path, tree: str) -> None:
    """Dated as ours are, by the counter of operations: one with a date of today is no state at all."""
    counter = int(git("log", "-1", "--format=%ct", STATE, at=repo)) + 1
    asked = ["git", "commit-tree", "-p", STATE, "-m", "theirs", tree]
    dated = os.environ | {"GIT_COMMITTER_DATE": f"@{counter} +0000"}
    made = subprocess.run(asked, cwd=repo, env=dated, capture_output=True, text=True, check=True).stdout.strip()
    git("update-ref", STATE, made, at=repo)


@pytest.mark.parametrize("name", [b"..", b".git", b"a/b"], ids=["dots", "git", "slash"])
def test_a_tree_that_leads_out_moves_nothing_here_and_stops_no_other_ref(
    serve: Serve, machine: Joins, tmp_path: Path, name: bytes
) -> None:
    host = serve()
    one = machine(host)
    one.epic("Mine")
    one.sync()
    theirs = stranger(host, tmp_path / "theirs")
    inner = bytes.fromhex(git("rev-parse", f"{STATE}^{{tree}}", at=theirs))
    meta = bytes.fromhex(git("rev-parse", f"{STATE}:meta.json", at=theirs))
    content = b"40000 " + name + b"\0" + inner + b"100644 meta.json\0" + meta
    hashed = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    made = subprocess.run(hashed, cwd=theirs, input=content, capture_output=True, check=True)
    commit(theirs, made.stdout.decode().strip())
    snapshot = "refs/codestrator/rescue/wt-aaaaaaaaaa/snap-aaaaaaaaaa"
    git("push", "-q", "origin", STATE, f"{STATE}:{snapshot}", at=theirs)
    draft(one, "half done")
    one("lock.acquire", scope_type="file", scope_path="a")
    answer = one("sync.run")
    assert item(answer, STATE)["verdict"] != "up_to_date" and item(answer, STATE)["detail"]
    assert item(answer, NOTES)["verdict"] == item(answer, LOCKS)["verdict"] == "pushed"
    assert item(answer, SNAPSHOTS)["verdict"] == "diverged" and snapshot not in one.refs()
    assert len([ref for ref in host.refs() if ref.startswith("refs/codestrator/rescue/")]) == 2
    assert one.titles() == {"Mine"} and one.world.store.read().damaged == ()
    assert one.epic("Later") and one.titles() == {"Mine", "Later"}


@pytest.mark.parametrize("what", ["blob", "commit of the user"])
def test_notes_that_are_none_are_not_taken_over(serve: Serve, machine: Joins, what: str) -> None:
    host = serve()
    one = machine(host)
    found = host("rev-parse", "main:README.md" if what == "blob" else "main")
    host("update-ref", NOTES, found)
    told = item(one("sync.run"), NOTES)
    assert what != "blob" or (told["verdict"] == "diverged" and NOTES not in one.refs())
    draft(one, "half done")
    assert one.tip(NOTES) and one.git("notes", "--ref=codestrator", "show", "HEAD")
    assert item(one("sync.run"), STATE)["verdict"] == "pushed"


def test_snapshots_with_strange_names_stay_where_they_are(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    main = host("rev-parse", "main")
    for name in ("wt-aaaaaaaaaa/other", "doctor/op-aaaaaaaaaa", "wt-aaaaaaaaaa/snap-aaaaaaaaaa/x", "x"):
        host("update-ref", f"refs/codestrator/rescue/{name}", main)
    host("update-ref", "refs/codestrator/writers/aaaaaaaaaa", main)
    before = {ref for ref in one.refs() if not ref.startswith("refs/codestrator-remote")}
    assert item(one("sync.run"), STATE)["verdict"] == "pushed"
    assert {ref for ref in one.refs() if not ref.startswith("refs/codestrator-remote")} == before


def test_who_pushes_with_mirror_takes_our_refs_away_and_nothing_is_lost(
    serve: Serve, machine: Joins, tmp_path: Path
) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    for each in (one, two):
        each.epic(f"{each.id}'s")
        draft(each, each.id)
    in_step(one, two)
    one.epic("Later")
    one.sync()
    git("clone", "-q", host.url, "theirs", at=tmp_path)
    git("push", "-q", "--mirror", "origin", at=tmp_path / "theirs")
    assert not [ref for ref in host.refs() if "codestrator" in ref]
    found = two.sync()
    assert found[STATE] == found[NOTES] == found[LOCKS] == "republished"
    alike(one, two)
    assert two.titles() == {f"{one.id}'s", f"{two.id}'s", "Later"}
    assert len([ref for ref in host.refs() if ref.startswith("refs/codestrator/rescue/")]) == 2


@pytest.mark.parametrize("what", ["another history", "a blob", "a tag", "a branch of the user"])
def test_what_is_no_state_of_ours_moves_nothing_here_and_stops_no_other_ref(
    serve: Serve, machine: Joins, tmp_path: Path, what: str
) -> None:
    host = serve()
    one = machine(host)
    one.epic("Mine")
    one.sync()
    theirs = stranger(host, tmp_path / "theirs")
    git("commit", "-q", "--allow-empty", "-m", "theirs", at=theirs)
    git("tag", "-a", "-m", "x", "named", at=theirs)
    made = {
        "another history": lambda: git("commit-tree", "-m", "x", "HEAD^{tree}", at=theirs),
        "a blob": lambda: git("rev-parse", "HEAD:README.md", at=theirs),
        "a tag": lambda: git("rev-parse", "named", at=theirs),
        "a branch of the user": lambda: git("rev-parse", "HEAD", at=theirs),
    }[what]()
    git("push", "-q", "--force", "origin", f"{made}:{STATE}", at=theirs)
    draft(one, "half done")
    here = one.tip(STATE)
    answer = one("sync.run")
    state = answer["items"][0]
    assert state["ref"] == STATE and state["detail"]
    assert state["verdict"] in ("diverged", "refused", "rewritten")
    assert one.titles() == {"Mine"}
    assert one.tip(STATE) == here
    assert host.refs()[NOTES] == one.tip(NOTES)
    assert one.world.store.read().damaged == ()
