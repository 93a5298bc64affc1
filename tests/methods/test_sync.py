"""sync.run and sync.status: what each verdict means, what may be chosen, and what is never touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Forbidden, InvalidParams, StaleFence
from codestrator.records import Rescue, Task
from tests.actors import Actor, unchanged
from tests.machines import LOCKS, NOTES, STATE, TRACKING, Joins, Machine, in_step
from tests.methods import crew
from tests.remotes import KINDS, Serve
from tests.store.kit import path_of, plant, raw_of

SNAPSHOTS = "refs/codestrator/rescue/*"


def item(answer: dict[str, Any], ref: str) -> dict[str, Any]:
    return next(one for one in answer["items"] if one["ref"] == ref)


def saved(machine: Machine, text: str) -> str:
    """Uncommitted work, put into a snapshot and told by a checkpoint; the checkpoint's id."""
    (machine.path / "draft.txt").write_text(text, encoding="utf-8")
    return str(machine("work.checkpoint", summary=text)["checkpoint"]["id"])


@pytest.mark.parametrize("kind", KINDS)
def test_two_machines_have_the_same_after_each_has_synced(serve: Serve, machine: Joins, kind: str) -> None:
    host = serve(kind)
    one, two = machine(host), machine(host)
    assert one.id != two.id
    one.epic("One's")
    two.epic("Two's")
    assert one.sync() == {STATE: "pushed", LOCKS: "pushed", NOTES: "up_to_date", SNAPSHOTS: "up_to_date"}
    assert two.sync() == {STATE: "merged", LOCKS: "merged", NOTES: "up_to_date", SNAPSHOTS: "up_to_date"}
    assert one.sync() == {STATE: "fetched", LOCKS: "fetched", NOTES: "up_to_date", SNAPSHOTS: "up_to_date"}
    assert one.titles() == two.titles() == {"One's", "Two's"}
    assert one.digest() == two.digest()
    assert host.refs()[STATE] == one.tip(STATE) == two.tip(STATE)


def test_what_was_synced_is_up_to_date_and_says_little(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    first = one("sync.run")
    assert first["remote"] == "origin" and first["rounds"] == 1
    assert item(first, STATE) | {"detail": ""} == {
        "ref": STATE, "verdict": "pushed", "detail": "", "local": one.tip(STATE), "remote": one.tip(STATE)
    }  # fmt: skip
    with unchanged(one):
        assert item(one("sync.run"), STATE) == {"ref": STATE, "verdict": "up_to_date"}


def test_what_was_pushed_by_one_that_died_is_noted_by_the_next(serve: Serve, machine: Joins) -> None:
    """Else whoever decides something with a lease on what was last heard of would never get it."""
    one = machine(serve())
    one.sync()
    older = one.tip(STATE)
    one.epic("Shop")
    one.git("push", "-q", "origin", f"{STATE}:{STATE}")
    assert one.tip(f"{TRACKING}state") == older
    assert one.sync()[STATE] == "up_to_date"
    assert one.tip(f"{TRACKING}state") == one.tip(STATE)


def test_changes_of_two_fields_of_one_document_both_stay(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    epic = one.epic("Shop")
    in_step(one, two)
    one("task.update", task_id=epic, title="Store")
    two("task.update", task_id=epic, priority=7)
    in_step(one, two)
    for each in (one, two):
        found = each.world.store.read().require(Task, epic)
        assert (found.title, found.priority) == ("Store", 7)
    assert one.digest() == two.digest()


@pytest.mark.parametrize("removes_first", [True, False], ids=["the remover is first", "the remover merges"])
def test_a_removal_travels_and_an_edit_wins_over_it(serve: Serve, machine: Joins, removes_first: bool) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    gone, kept = one.epic("Gone"), one.epic("Kept")
    in_step(one, two)
    two("task.update", task_id=kept, priority=3)
    plant(one.folder, STATE, path_of(gone), None)
    plant(one.folder, STATE, path_of(kept), None)
    in_step(*((one, two) if removes_first else (two, one)))
    assert one.titles() == two.titles() == {"Kept"}


def test_what_is_gone_there_is_published_again(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    saved(one, "half done")
    one.sync()
    before = host.refs()
    for ref in (STATE, LOCKS, NOTES):
        host("update-ref", "-d", ref)
    with unchanged(one):
        assert set(one.sync(refs=["state", "locks", "notes"]).values()) == {"republished"}
    assert host.refs() == before


def test_a_history_that_was_rewritten_there_is_merged_with_a_warning(
    serve: Serve, machine: Joins, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    older = host.refs()[STATE]
    one.epic("Before")
    in_step(one, two)
    host("update-ref", STATE, older)
    two.epic("After")
    two.git("push", "-q", "--force", "origin", f"{two.tip(STATE)}^{{tree}}:refs/x/tree")
    with monkeypatch.context() as dated:  # by the counter of operations, as all that is ours
        dated.setenv("GIT_COMMITTER_DATE", f"@{int(two.git('log', '-1', '--format=%ct', STATE)) + 1} +0000")
        rewritten = host("commit-tree", host("rev-parse", "refs/x/tree"), "-p", older, "-m", "rewritten")
    host("update-ref", STATE, rewritten)
    found = item(one("sync.run"), STATE)
    assert found["verdict"] == "rewritten" and "does not contain" in found["detail"]
    assert one.titles() == {"Before", "After"}
    host("merge-base", "--is-ancestor", rewritten, STATE)


def test_what_no_rule_can_join_moves_nothing_and_stops_no_other_ref(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    epic = one.epic()
    in_step(one, two)
    raw = raw_of(one.folder, epic) | {"created_by": "thr-0000000000"}
    plant(one.folder, STATE, path_of(epic), json.dumps(raw).encode())
    assert one.sync()[STATE] == "pushed"
    two("task.update", task_id=epic, priority=2)
    saved(two, "half done")
    here, there = two.tip(STATE), host.refs()[STATE]
    answer = two("sync.run")
    assert item(answer, STATE)["verdict"] == "diverged" and epic in item(answer, STATE)["detail"]
    assert (two.tip(STATE), host.refs()[STATE]) == (here, there)
    assert item(answer, NOTES)["verdict"] == "pushed" and item(answer, SNAPSHOTS)["verdict"] == "pushed"


def test_fetching_makes_it_local_only(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    one.epic("One's")
    saved(one, "half done")
    one.sync()
    two.epic("Two's")
    saved(two, "also half done")
    before = host.refs()
    assert two.sync(direction="fetch")[STATE] == "merged"
    assert host.refs() == before and two.titles() == {"One's", "Two's"}
    assert set(before) & set(two.refs()) == set(before)
    assert two.sync()[STATE] == "pushed"
    one.sync()
    assert one.digest() == two.digest()


def test_pushing_takes_nothing_over(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    one.epic("One's")
    assert one.sync(direction="push")[STATE] == "pushed"
    two.epic("Two's")
    here, there = two.tip(STATE), host.refs()
    two.sync(direction="push")
    assert (two.tip(STATE), host.refs()) == (here, there) and two.titles() == {"Two's"}


def test_only_the_refs_that_were_asked_for_are_shared(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    saved(one, "half done")
    for names, refs in {("locks",): {LOCKS}, ("notes", "state"): {NOTES, STATE}}.items():
        before = set(host.refs())
        assert one.sync(refs=list(names)) == dict.fromkeys(refs, "pushed")
        assert set(host.refs()) - before == refs
    with pytest.raises(InvalidParams):
        one("sync.run", refs=["heads"])


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    for each in (one, two):
        each.epic(f"{each.id}'s")
        saved(each, each.id)
    for each, verdict in ((one, "pushed"), (two, "merged"), (one, "fetched")):
        there = host.refs()
        with unchanged(each):
            told = each.sync(dry_run=True)
        assert host.refs() == there
        assert told[STATE] == verdict
        assert told == each.sync()
    assert set(one.sync(dry_run=True).values()) == {"up_to_date"}


def test_note_lines_of_two_machines_on_one_commit_are_all_there(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    made = {each("work.checkpoint", summary="here")["checkpoint"]["id"] for each in (one, two)}
    in_step(one, two)
    for each in (one, two):
        lines = each.git("notes", "--ref=codestrator", "show", "HEAD").splitlines()
        assert len(lines) == 2 and all(any(cp in line for line in lines) for cp in made)
    assert one.digest() == two.digest()


def test_uncommitted_work_is_there_on_the_other_machine(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    saved(one, "half done")
    in_step(one, two)
    (snapshot,) = two.world.store.read().all(Rescue)
    assert two.git("show", f"{snapshot.commit}:draft.txt") == "half done"
    listed = two("rescue.list")["items"]
    assert [row["snapshot_id"] for row in listed] == [snapshot.id]
    assert two("rescue.restore", snapshot_id=snapshot.id)["restored"]["untracked"] == 1


def test_a_snapshot_that_doctor_adopted_before_its_document_came_stops_no_sync(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, three = machine(host), machine(host), machine(host)
    saved(one, "half done")
    one.sync()
    (taken,) = one.world.store.read().all(Rescue)
    for early in (two, three):
        early("sync.run", refs=["rescue"])
        early("doctor.check", fix=True, checks=["snapshots"])
        (adopted,) = early.world.store.read().all(Rescue)
        assert adopted.branch is None and adopted.commit == taken.commit
    in_step(one, two, three)
    for each in (one, two, three):
        (now,) = each.world.store.read().all(Rescue)
        assert now.but(rev=taken.rev, updated_at=taken.updated_at) == taken
    assert one.tip(STATE) == two.tip(STATE) == three.tip(STATE)


def test_of_overlapping_locks_the_one_with_the_greater_fence_stays(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    two("lock.acquire", scope_type="file", scope_path="other.txt")
    lost = one("lock.acquire", scope_type="prefix", scope_path="src")
    kept = two("lock.acquire", scope_type="file", scope_path="src/a.py")
    assert lost["fence"] < kept["fence"]
    in_step(one, two)
    assert one.digest() == two.digest()
    with pytest.raises(StaleFence):
        one("lock.heartbeat", lock_id=lost["lock"]["id"])
    assert two("lock.heartbeat", lock_id=kept["lock"]["id"])["lock"]["id"] == kept["lock"]["id"]


def test_what_exists_once_may_have_been_made_by_both(serve: Serve, machine: Joins) -> None:
    """Its id is the same everywhere, so neither side can know that it is not the first: no reason to part for ever."""
    host = serve()
    one, two = machine(host), machine(host)
    for each, path in ((one, "a"), (two, "b")):
        each("mirror.refresh", requester_role="doc-mirror-manager")
        each("lock.acquire", scope_type="file", scope_path=path)
        each("merge.main.acquire_lock")
    verdicts = [each.sync() for each in (one, two, one)]
    assert [one[STATE] for one in verdicts] == [one[LOCKS] for one in verdicts] == ["pushed", "merged", "fetched"]
    two.sync()
    assert one.digest() == two.digest()
    assert {row["scope_path"] for row in two("lock.list")["items"]} == {"a", "b"}
    assert one("lock.acquire", scope_type="file", scope_path="c")["fence"] > 1


def test_nothing_of_the_users_is_touched(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    two.git("commit", "-q", "--allow-empty", "-m", "by hand")
    two.git("push", "-q", "origin", "main")
    for each in (one, two):
        each.git("tag", f"v-{each.id}")

    def theirs() -> dict[str, object]:
        found: dict[str, object] = {"hub": host.refs()["refs/heads/main"]}
        for each in (one, two):
            ours = ("refs/codestrator", NOTES)
            found[each.id] = {ref: at for ref, at in each.refs().items() if not ref.startswith(ours)}
            found[f"{each.id}'s settings"] = (each.folder / ".git" / "config").read_bytes()
            found[f"{each.id}'s fetch"] = (each.folder / ".git" / "FETCH_HEAD").exists()
        return found

    before = theirs()
    one.epic("One's")
    in_step(one, two)
    assert theirs() == before
    assert not [ref for ref in host.refs() if ref.startswith(("refs/tags", TRACKING))]


def test_a_worker_may_look_but_not_sync(serve: Serve, machine: Joins, actor: Callable[..., Actor]) -> None:
    one = machine(serve())

    def make(kind: str, **seat: Any) -> Actor:
        return actor(kind, one.folder, **seat)

    worker = crew.child(make, one)
    assert worker("sync.status")["remote"] == "origin"
    with unchanged(one), pytest.raises(Forbidden):
        worker("sync.run")


def test_the_status_tells_how_far_apart_both_were_and_asks_nobody(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    first = one("sync.status")
    assert first["authority"] == "local" and "last_sync_at" not in first and first["count"] == len(first["items"])
    assert item(first, STATE)["ahead"] > 0 and "last_verdict" not in item(first, STATE)
    in_step(one, two)
    one.epic("One's")
    one.epic("Another")
    two.epic("Two's")
    two.sync()
    host.hub.rename(host.folder / "away")
    found = one("sync.status")
    assert item(found, STATE) == {"ref": STATE, "ahead": 2, "behind": 0, "last_verdict": "fetched"}
    assert item(found, LOCKS) | {"last_verdict": ""} == {"ref": LOCKS, "ahead": 0, "behind": 0, "last_verdict": ""}
    assert found["last_sync_at"] > one.world.store.read().all(Task)[0].created_at[:10]
    (host.folder / "away").rename(host.hub)
    one.git("fetch", "-q", "origin", f"+{STATE}:{TRACKING}state")
    assert item(one("sync.status"), STATE)["behind"] == 1


def test_a_linked_worktree_shares_with_the_remote_of_its_repository(
    serve: Serve, machine: Joins, actor: Callable[..., Actor], tmp_path: Path
) -> None:
    host = serve()
    one = machine(host)
    linked = actor(folder=one.path)
    assert linked("sync.run")["remote"] == "origin"
    assert host.refs()[STATE] == one.tip(STATE)
