"""What can be wrong with a repository, made by hand: one function a kind, as a user, a crash or a bug leaves it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from codestrator import ids
from codestrator.methods import intents
from codestrator.records import Fence, Land, Machine, Place, Session, Task, Worktree
from codestrator.world.hooks import shipped
from tests.actors import SteeredClock
from tests.conftest import git
from tests.methods import crew
from tests.methods.test_intents import GONE, make, planned
from tests.methods.test_kills import flow_of
from tests.methods.ward import Ward
from tests.store.kit import LOCKS, STATE, path_of, plant, raw_of

NOTES = "refs/notes/codestrator"
MISSING = "1" * 40


class Damage(NamedTuple):
    """One kind: what finds it, how bad it is, words of the finding, and whether `fix` repairs it."""

    make: Callable[[Ward], object]
    check: str
    severity: str
    says: str
    repaired: bool = False


DAMAGES: dict[str, Damage] = {}


def damage(
    check: str, severity: str, says: str, *, repaired: bool = False
) -> Callable[[Callable[[Ward], object]], None]:
    def keep(make: Callable[[Ward], object]) -> None:
        DAMAGES[make.__name__.replace("_", " ")] = Damage(make, check, severity, says, repaired)

    return keep


def change(ward: Ward, kind: type, document_id: str, **fields: object) -> None:
    with ward.root() as root:
        crew.put(root, root.world.store.read().require(kind, document_id).but(**fields))


# The refs of the state.


@damage("state", "error", "has vanished", repaired=True)
def the_state_ref_is_gone(ward: Ward) -> None:
    ward.git("update-ref", "-d", STATE)


@damage("state", "error", "has vanished", repaired=True)
def the_lock_book_is_gone(ward: Ward) -> None:
    ward.git("update-ref", "-d", LOCKS)


@damage("state", "error", "it was whole at", repaired=True)
def the_state_ref_holds_garbage(ward: Ward) -> None:
    (ward.git_dir / STATE).write_text("garbage", encoding="ascii")


@damage("state", "error", "it was whole at", repaired=True)
def the_state_ref_is_empty_after_a_power_loss(ward: Ward) -> None:
    (ward.git_dir / STATE).write_bytes(b"")


@damage("state", "error", "missing or damaged", repaired=True)
def the_state_ref_names_a_commit_that_is_not_there(ward: Ward) -> None:
    (ward.git_dir / STATE).write_text(f"{MISSING}\n", encoding="ascii")


@damage("state", "error", "missing or damaged", repaired=True)
def the_newest_commit_of_the_state_is_gone(ward: Ward) -> None:
    ward.remove(STATE)


@damage("state", "error", "missing or damaged", repaired=True)
def the_newest_tree_of_the_state_is_gone(ward: Ward) -> None:
    ward.remove(f"{STATE}^{{tree}}")


@damage("state", "error", "missing or damaged", repaired=True)
def the_newest_commit_of_the_lock_book_is_gone(ward: Ward) -> None:
    ward.remove(LOCKS)


@damage("state", "error", "missing or damaged", repaired=True)
def the_meta_document_is_no_json(ward: Ward) -> None:
    plant(ward.repo, STATE, "meta.json", b"{")


@damage("state", "error", "none of its recent tips is whole")
def the_state_ref_and_its_recent_tips_are_gone(ward: Ward) -> None:
    ward.git("update-ref", "-d", STATE)
    (ward.git_dir / "codestrator" / "tips").unlink()


@damage("schema", "error", "has schema 99")
def the_state_is_of_a_newer_program(ward: Ward) -> None:
    plant(ward.repo, STATE, "meta.json", b'{"id":"meta","schema":99}')


# Documents.


@damage("documents", "error", "its last good version is of")
def a_document_is_cut_off(ward: Ward) -> None:
    plant(ward.repo, STATE, path_of(ward.case), b'{"id":"')


@damage("documents", "error", "does not fit its kind")
def a_document_lacks_a_field(ward: Ward) -> None:
    plant(ward.repo, STATE, path_of(ward.session), msgspec.json.encode({"id": ward.session}))


@damage("documents", "error", "content")
def the_content_of_a_document_is_gone(ward: Ward) -> None:
    ward.remove(f"{STATE}:{path_of(ward.case)}")


@damage("documents", "error", "tree")
def a_folder_of_documents_is_gone(ward: Ward) -> None:
    ward.remove(f"{STATE}:{path_of(ward.case).partition('/')[0]}")


@damage("documents", "error", "unknown to this version")
def a_document_is_of_an_unknown_kind(ward: Ward) -> None:
    plant(ward.repo, STATE, path_of("zebra-0000000000"), b'{"id":"zebra-0000000000"}')


@damage("documents", "error", "is not valid JSON")
def a_lease_is_no_json(ward: Ward) -> None:
    plant(ward.repo, LOCKS, f"paths/{ward.lock}.json", b"}")


@damage("schema", "error", "has schema 99")
def a_document_is_of_a_newer_program(ward: Ward) -> None:
    plant(ward.repo, STATE, path_of(ward.case), msgspec.json.encode(raw_of(ward.repo, ward.case) | {"schema": 99}))


@damage("journal", "error", "is missing or damaged")
def an_earlier_commit_is_gone(ward: Ward) -> None:
    ward.remove(f"{STATE}~5")


@damage("journal", "error", "the journal lacks 1 object")
def an_earlier_version_of_a_document_is_gone(ward: Ward) -> None:
    older = ward.git("log", "--format=%H", STATE, "--", path_of(ward.case)).split()
    ward.remove(f"{older[-1]}:{path_of(ward.case)}")


@damage("references", "warning", "as its parent_id, which is not there")
def a_document_names_one_that_is_not_there(ward: Ward) -> None:
    raw = raw_of(ward.repo, ward.case) | {"parent_id": "grp-0000000000"}
    plant(ward.repo, STATE, path_of(ward.case), msgspec.json.encode(raw))


@damage("secrets", "warning", "looks like an AWS access key")
def a_text_holds_a_key(ward: Ward) -> None:
    change(ward, Task, ward.case, description="use AKIA" + "ABCDEFGHIJKLMNOP")


# Notes.


@damage("notes", "warning", "the notes lack", repaired=True)
def the_notes_are_gone(ward: Ward) -> None:
    ward.git("update-ref", "-d", NOTES)


@damage("notes", "warning", "the notes lack", repaired=True)
def a_note_was_removed(ward: Ward) -> None:
    ward.git("notes", "--ref=codestrator", "remove", "HEAD")


@damage("notes", "warning", "is no JSON")
def a_line_of_a_note_is_cut_off(ward: Ward) -> None:
    ward.git("notes", "--ref=codestrator", "append", "-m", '{"cp":"cp-', "HEAD")


@damage("notes", "error", "cannot be read")
def the_newest_commit_of_the_notes_is_gone(ward: Ward) -> None:
    ward.remove(NOTES)


# What is held.


@damage("leases", "warning", "is over", repaired=True)
def a_lease_has_lapsed_and_its_session_fell_silent(ward: Ward) -> None:
    silent(ward)


@damage("leases", "warning", "is over", repaired=True)
def a_lease_outlived_its_session(ward: Ward) -> None:
    change(ward, Session, ward.session, status="closed")


@damage("leases", "warning", "its session may be alive")
def a_lease_has_lapsed_and_its_session_lives(ward: Ward) -> None:
    assert isinstance(ward.clock, SteeredClock)
    ward.clock.advance(7200)
    with ward.root() as root:
        root.world.live.renew(ward.session)


def silent(ward: Ward) -> None:
    assert isinstance(ward.clock, SteeredClock)
    ward.clock.advance(7200)


@damage("fences", "error", "a lease has", repaired=True)
def the_fence_of_the_lock_book_fell_back(ward: Ward) -> None:
    change(ward, Fence, "fence", value=0)


@damage("fences", "error", "its claim has", repaired=True)
def the_fence_of_a_case_fell_back(ward: Ward) -> None:
    change(ward, Task, ward.case, claim_fence=0)


@damage("intents", "warning", "its process is gone", repaired=True)
def a_process_died_while_it_made_a_worktree(ward: Ward) -> None:
    with ward.root() as root:
        root.path = ward.repo  # what it began from
        planned(root, "dead", **GONE)
        make(root, "dead")


@damage("intents", "warning", "'teleport' of")
def a_process_died_in_an_act_of_a_newer_program(ward: Ward) -> None:
    with ward.root() as root:
        flow = flow_of(root)
        flow.transact(lambda tx: tx.put(intents.plan(flow, tx, "teleport", session_id=ward.session).but(**GONE)))


@damage("cases", "warning", "nobody alive has it")
def a_case_is_in_progress_without_an_owner(ward: Ward) -> None:
    change(ward, Task, ward.case, claim=None)


# Worktrees and snapshots.


@damage("worktrees", "warning", "where nothing is", repaired=True)
def a_worktree_was_deleted_by_hand(ward: Ward) -> None:
    git("worktree", "move", "--force", "--force", str(ward.folder), str(ward.repo / "elsewhere"), at=ward.repo)


@damage("worktrees", "warning", "counts as lost", repaired=True)
def a_lost_worktree_came_back(ward: Ward) -> None:
    with ward.root() as root:
        worktree = root.world.store.read().require(Worktree, ward.worktree)
        here = root.world.settings.machine
        crew.put(root, worktree.but(places={here: Place(path=worktree.places[here].path, status="lost")}))


@damage("worktrees", "warning", "that the state does not know")
def a_foreign_worktree_lies_among_ours(ward: Ward) -> None:
    ward.git("worktree", "add", "-q", "-b", "mine", str(ward.folder.parent / "mine"))


@damage("worktrees", "warning", "which is gone")
def a_worktree_of_the_user_can_be_pruned(ward: Ward) -> None:
    ward.git("worktree", "add", "-q", "-b", "mine", str(ward.repo.parent / "mine"))
    (ward.repo.parent / "mine").rename(ward.repo.parent / "yours")


@damage("worktrees", "warning", "checked out, expected")
def a_worktree_has_another_branch_checked_out(ward: Ward) -> None:
    git("checkout", "-qb", "other", at=ward.folder)


@damage("worktrees", "error", "takes for no worktree")
def a_worktree_has_lost_its_link_to_the_repository(ward: Ward) -> None:
    (ward.folder / ".git").unlink()


@damage("worktrees", "error", "takes for no worktree")
def git_has_forgotten_a_worktree(ward: Ward) -> None:
    shutil.rmtree(ward.git_dir / "worktrees" / ward.folder.name)


@damage("snapshots", "warning", "has no document", repaired=True)
def a_snapshot_has_no_document(ward: Ward) -> None:
    ward.git("update-ref", f"refs/codestrator/rescue/{ward.worktree}/{ids.mint('snap')}", ward.rescue_ref)


@damage("snapshots", "error", "has lost its ref")
def the_ref_of_a_snapshot_is_gone(ward: Ward) -> None:
    ward.git("update-ref", "-d", ward.rescue_ref)


@damage("snapshots", "error", "is missing")
def the_commit_of_a_snapshot_is_gone(ward: Ward) -> None:
    ward.remove(ward.rescue_ref)


@damage("snapshots", "warning", "is no snapshot of ours")
def somebody_made_a_ref_among_the_snapshots(ward: Ward) -> None:
    ward.git("update-ref", "refs/codestrator/rescue/mine/one", "HEAD")


# Children and landing.


@damage("children", "warning", "its runner is gone")
def the_runner_of_a_child_is_gone(ward: Ward) -> None:
    with ward.root() as root:
        crew.record(root)


@damage("children", "warning", "runs, which is 'stopped'")
def an_ended_child_left_a_process(ward: Ward) -> None:
    with ward.root() as root:
        child = crew.record(root, status="stopped")
    marked = os.environ | {"CODESTRATOR_THREAD_ID": child.id}
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=marked)
    assert process.stdout and process.stdout.readline()
    ward.processes.append(process)


@damage("queue", "warning", "at the head of the queue")
def the_queue_has_waited_for_days(ward: Ward) -> None:
    change(ward, Land, ward.land, queued_at="2020-01-01T00:00:00.000Z")


@damage("approvals", "warning", "its branch is at")
def an_approval_is_for_an_older_head(ward: Ward) -> None:
    git("commit", "-q", "--allow-empty", "-m", "more", at=ward.folder)


# Git, its files and its configuration.


@damage("locks", "error", "was left", repaired=True)
def a_killed_writer_left_the_lock_file_of_our_ref(ward: Ward) -> None:
    aged(ward.git_dir / f"{STATE}.lock")


@damage("locks", "warning", "not ours")
def a_killed_git_left_the_lock_file_of_a_branch(ward: Ward) -> None:
    aged(ward.git_dir / "refs" / "heads" / "main.lock")


@damage("locks", "warning", "not ours")
def a_killed_git_left_the_lock_file_of_an_index(ward: Ward) -> None:
    aged(ward.git_dir / "index.lock")


def aged(place: Path) -> None:
    place.write_bytes(b"")
    os.utime(place, (time.time() - 600,) * 2)


@damage("settings", "error", "expected a number from 1 to 16")
def a_setting_is_out_of_its_range(ward: Ward) -> None:
    ward.git("config", "codestrator.maxChildren", "99")


@damage("settings", "warning", "is unknown")
def a_setting_is_misspelt(ward: Ward) -> None:
    ward.git("config", "codestrator.maxChild", "3")


@damage("refspecs", "error", "expected no refs of codestrator in it")
def a_mirrored_fetch_would_write_over_the_state(ward: Ward) -> None:
    ward.git("config", "remote.origin.fetch", "+refs/*:refs/*")


@damage("refspecs", "warning", "expected no refs of codestrator in it")
def a_fetch_of_all_notes_would_write_over_ours(ward: Ward) -> None:
    ward.git("config", "remote.origin.fetch", "+refs/notes/*:refs/notes/*")


@damage("refspecs", "warning", "'remote.origin.push' is '+refs/*:refs/*'")
def a_push_of_everything_would_set_the_state_back(ward: Ward) -> None:
    ward.git("config", "remote.origin.push", "+refs/*:refs/*")


@damage("refspecs", "warning", "'remote.origin.mirror' is 'true'")
def a_mirroring_push_would_delete_what_others_shared(ward: Ward) -> None:
    ward.git("config", "remote.origin.mirror", "true")


@damage("remote", "error", "remote '")
def the_remote_does_not_answer(ward: Ward) -> None:
    ward.git("remote", "add", "nowhere", str(ward.repo.parent / "nowhere"))
    ward.git("config", "codestrator.remote", "nowhere")


@damage("remote", "error", "is none that git knows")
def the_remote_was_given_another_name(ward: Ward) -> None:
    ward.git("remote", "add", "upstream", str(ward.repo))
    ward.git("config", "codestrator.remote", "origin")


@damage("remote", "error", "is none that git knows")
def the_remote_is_an_address(ward: Ward) -> None:
    ward.git("config", "codestrator.remote", str(ward.repo))


@damage("authority", "error", "the lock book has 'local'")
def this_clone_differs_in_who_grants_leases(ward: Ward) -> None:
    ward.git("config", "codestrator.authority", "remote")


@damage("clock", "warning", "after now")
def the_clock_was_set_back(ward: Ward) -> None:
    os.utime(ward.git_dir / "codestrator" / "tips", (time.time() + 86_400,) * 2)


@damage("size", "warning", "loose objects")
def there_are_too_many_loose_objects(ward: Ward) -> None:
    ward.git("config", "gc.auto", "1")


@damage("hooks", "warning", "some of our git hooks are there")
def all_but_one_of_our_hooks_were_removed(ward: Ward) -> None:
    place = ward.git_dir / "hooks" / "pre-push"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(shipped("pre-push"))
    place.chmod(0o755)


@damage("program", "warning", "has 99.0")
def another_machine_has_a_newer_program(ward: Ward) -> None:
    with ward.root() as root:
        crew.put(root, Machine(id="0000000000", label="laptop", git_version="2.50", program_version="99.0"))
