"""Old snapshots of checkpoints are released, here and on every machine; nothing else ever is."""

import json
from pathlib import Path
from typing import Any, TypeVar

import pytest

from codestrator import ids, registry
from codestrator.errors import External, WrongState
from codestrator.methods import releasing
from codestrator.model import Document
from codestrator.records import Handoff, Rescue, Worktree
from codestrator.store.transaction import Stamp
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.machines import NOTES, STATE, Joins, Machine, in_step
from tests.remotes import FileHost, Serve
from tests.store.kit import path_of, plant, raw_of

D = TypeVar("D", bound=Document)
DAY = 24 * 3600.0
SNAPSHOTS = "refs/codestrator/rescue/*"
MANY = releasing.NEWEST + 2


def saved(one: Actor, number: int = 0) -> str:
    (one.path / "draft.txt").write_text(f"{number}\n", encoding="utf-8")
    return str(one("work.checkpoint", summary=f"draft {number}")["snapshot_id"])


def all_saved(one: Actor, count: int = MANY) -> list[str]:
    return [saved(one, number) for number in range(count)]


def refs(one: Actor) -> set[str]:
    """The snapshots that have a ref."""
    lines = git("for-each-ref", "--format=%(refname)", "refs/codestrator/rescue/", at=Path(one.world.repo))
    return {line.rpartition("/")[2] for line in lines.splitlines()}


def listed(one: Actor) -> set[str]:
    return {str(item["snapshot_id"]) for item in one("rescue.list")["items"]}


def document(one: Actor, kind: type[D], document_id: str) -> D:
    return one.world.store.read().require(kind, document_id)


def put(one: Actor, changed: Document) -> None:
    stamp = Stamp("by hand", ids.mint("op"), "test", one.session, None, one.world.settings.machine)
    one.world.store.transact(lambda tx: tx.put(changed), stamp=stamp)


def release(one: Actor) -> None:
    registry.recover(one.world)


def test_after_two_weeks_the_newest_ten_of_a_worktree_stay(root: Actor, other: Actor, clock: SteeredClock) -> None:
    made, theirs = all_saved(root), saved(other)
    clock.advance(13 * DAY)
    release(root)
    with unchanged(root):
        release(root)
    assert listed(root) == refs(root) == {*made, theirs}
    clock.advance(DAY + 1)
    release(root)
    assert listed(root) == refs(root) == {*made[-releasing.NEWEST :], theirs}
    with unchanged(root):
        release(root)
    found = root("doctor.check", checks=["snapshots", "documents"])
    assert [one["severity"] for one in found["items"]] == ["ok", "ok"]


def test_the_younger_ones_stay_however_many_there_are(root: Actor, clock: SteeredClock) -> None:
    old = all_saved(root, 3)
    clock.advance(15 * DAY)
    root("session.heartbeat")
    young = [saved(root, 100 + number) for number in range(MANY)]
    release(root)
    assert listed(root) == refs(root) == set(young) and not refs(root) & set(old)


def test_what_was_taken_for_another_reason_stays(root: Actor, clock: SteeredClock) -> None:
    worktree = root("worktree.spawn", slug="side")["worktree"]
    folder = Path(root.world.repo) / worktree["path"]
    (folder / "draft.txt").write_text("kept\n", encoding="utf-8")
    removal = root("worktree.remove", worktree_id=worktree["id"], rescue=True)["snapshot_id"]
    made = all_saved(root)
    clock.advance(1000 * DAY)
    release(root)
    assert refs(root) == {removal, *made[-releasing.NEWEST :]}


def test_what_is_the_latest_of_a_worktree_or_was_offered_stays(root: Actor, clock: SteeredClock) -> None:
    made = all_saved(root, MANY + 1)
    put(root, document(root, Worktree, root.worktree).but(latest_snapshot_id=made[0]))
    offer: dict[str, Any] = {"offered_by": root.session, "state": "withdrawn", "snapshots": (made[1],)}
    put(root, Handoff(id=f"{root.session}.h1", from_session_id=root.session, **offer))
    clock.advance(15 * DAY)
    release(root)
    assert refs(root) == {*made[:2], *made[-releasing.NEWEST :]}


def test_what_a_process_marked_before_it_died_goes_with_the_next(root: Actor, clock: SteeredClock) -> None:
    made = all_saved(root)
    for one in made[:2]:
        put(root, document(root, Rescue, one).but(released_at="2026-01-01T00:00:00.000Z"))
    clock.advance(15 * DAY)
    assert listed(root) == set(made[2:]) and refs(root) == set(made)
    assert root("doctor.check", checks=["snapshots"])["items"][0]["severity"] == "ok"
    release(root)
    assert refs(root) == set(made[2:])


def test_what_is_marked_and_yet_needed_keeps_its_ref(root: Actor, clock: SteeredClock) -> None:
    """As somebody else might write it, who has the state in his hands."""
    made = all_saved(root)
    for one in made:
        put(root, document(root, Rescue, one).but(released_at="2026-01-01T00:00:00.000Z"))
    release(root)
    assert refs(root) == set(made)
    clock.advance(15 * DAY)
    release(root)
    assert refs(root) == set(made[2:])


@pytest.mark.parametrize("at", ["", "soon", "2026-01-01", "0001-01-01T00:00:00"])
def test_a_time_that_is_none_is_no_reason_to_let_a_snapshot_go(root: Actor, clock: SteeredClock, at: str) -> None:
    made = all_saved(root)
    repo = Path(root.world.repo)
    planted = raw_of(repo, made[0]) | {"created_at": at, "released_at": "2026-01-01T00:00:00.000Z"}
    plant(repo, STATE, path_of(made[0]), json.dumps(planted).encode())
    clock.advance(15 * DAY)
    release(root)
    assert {made[0], *made[3:]} <= refs(root) and made[1] not in refs(root)


def test_what_keeps_it_from_releasing_keeps_nothing_else(
    root: Actor, clock: SteeredClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, repo = all_saved(root), Path(root.world.repo)
    root.world.notes.flush()
    git("update-ref", "-d", NOTES, at=repo)
    clock.advance(15 * DAY)
    with monkeypatch.context() as without_git:
        without_git.setenv("PATH", str(repo))
        with pytest.raises(External, match="git"):
            release(root)
    assert refs(root) == set(made)
    assert git("rev-parse", "--verify", NOTES, at=repo)
    release(root)
    assert refs(root) == set(made[2:])


def test_a_ref_that_holds_something_else_stays(root: Actor, clock: SteeredClock) -> None:
    made = all_saved(root)
    moved, head = made[0], git("rev-parse", "HEAD", at=root.path)
    git("update-ref", f"refs/codestrator/rescue/{root.worktree}/{moved}", head, at=root.path)
    clock.advance(15 * DAY)
    release(root)
    assert refs(root) == {moved, *made[2:]}


def test_a_released_one_can_be_restored_until_git_has_deleted_it(root: Actor, clock: SteeredClock) -> None:
    made = all_saved(root)
    clock.advance(15 * DAY)
    release(root)
    root.open()
    found = root("rescue.restore", snapshot_id=made[0], into="new")
    assert (Path(found["path"]) / "draft.txt").read_text(encoding="utf-8") == "0\n"
    git("gc", "-q", "--prune=now", at=Path(root.world.repo))
    with pytest.raises(WrongState, match="is not in this repository") as refused:
        root("rescue.restore", snapshot_id=made[1], into="new")
    assert "released" in str(refused.value.hint)


def drafts(one: Machine, clock: SteeredClock) -> list[str]:
    """As many as are kept and two more, all of them old."""
    made = all_saved(one)
    clock.advance(15 * DAY)
    return made


def on(host: FileHost) -> set[str]:
    return {ref.rpartition("/")[2] for ref in host.refs() if ref.startswith("refs/codestrator/rescue/")}


@pytest.mark.parametrize("kind", ["file", "http"])
def test_what_one_machine_released_goes_from_the_others_too(
    serve: Serve, machine: Joins, clock: SteeredClock, kind: str
) -> None:
    host = serve(kind)
    one, two = machine(host, clock=clock), machine(host, clock=clock)
    made = drafts(one, clock)
    in_step(one, two)
    release(two)  # whose clock says nothing of what another has written
    assert refs(two) == on(host) == set(made)
    release(one)
    in_step(one, two)
    assert refs(one) == on(host) == set(made[2:])
    release(two)
    assert refs(two) == set(made[2:])
    in_step(one, two)
    assert one.digest() == two.digest() and on(host) == set(made[2:]) == refs(one)
    assert one.sync()[SNAPSHOTS] == two.sync()[SNAPSHOTS] == "up_to_date"


def test_one_that_did_not_know_brings_nothing_back_for_good(serve: Serve, machine: Joins, clock: SteeredClock) -> None:
    host = serve()
    one, two = machine(host, clock=clock), machine(host, clock=clock)
    made = drafts(one, clock)
    in_step(one, two)
    release(one)
    one.sync()
    assert on(host) == set(made[2:])
    two.sync()  # it still had them when it looked
    release(two)
    in_step(two, one)
    assert refs(one) == refs(two) == on(host) == set(made[2:])


def test_a_server_that_takes_nothing_away_fails_no_sync(serve: Serve, machine: Joins, clock: SteeredClock) -> None:
    host = serve()
    one = machine(host, clock=clock)
    made = drafts(one, clock)
    one.sync()
    host.hook("update", f"#!/bin/sh\n[ $3 != {'0' * 40} ]\n")
    release(one)
    assert one.sync()[SNAPSHOTS] == "up_to_date"
    assert on(host) == set(made) and refs(one) == set(made[2:])
