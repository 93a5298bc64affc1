"""Sessions: opened, kept alive, listed, shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codestrator.errors import Conflict, External, Forbidden, InvalidParams, Unsupported, WrongState
from codestrator.records import Intent, Machine
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git


def test_the_first_call_makes_state_and_names_the_machine(actor: Callable[..., Actor], repo: Path) -> None:
    found = actor()("workspace.init")
    assert (found["repo_path"], found["db_path"]) == (str(repo), str(repo / ".git"))
    assert found["state_ref"] == "refs/codestrator/state" and found["hooks"] == "absent"
    assert git("for-each-ref", "--format=%(refname)", "refs/codestrator", at=repo).split() == [
        "refs/codestrator/locks",
        "refs/codestrator/state",
    ]


def test_initialising_again_changes_nothing(root: Actor) -> None:
    with unchanged(root):
        root("workspace.init")


def test_initialising_in_a_linked_worktree_answers_for_the_main_one(root: Actor, actor: Callable[..., Actor]) -> None:
    assert actor(folder=root.path)("workspace.init")["repo_path"] == str(root.world.repo)


def test_a_new_git_is_noted_once(root: Actor) -> None:
    machine = root.world.store.read().require(Machine, root.world.settings.machine)
    assert machine.git_version == root("workspace.init")["git_version"]


def test_without_state_every_call_names_the_one_that_makes_it(actor: Callable[..., Actor]) -> None:
    with pytest.raises(WrongState) as refused:
        actor()("session.list")
    assert "workspace.init" in str(refused.value.hint)


def test_opening_makes_a_branch_and_a_worktree_at_the_commit_checked_out(actor: Callable[..., Actor]) -> None:
    one = actor()
    one("workspace.init")
    found = one.open(user_request="Fix the login timeout in auth")
    context = found["session_context"]
    assert context["session"]["status"] == "active_new"
    assert context["session"]["owner"] == "Ada Tester"
    assert found["worktree_slug"] == "fix-login"
    assert found["viewer_tmux_session"] == "shop-fix-login"
    assert found["child_attach_hint"] == "tmux attach -r -t shop-fix-login"
    assert found["root_mode"] == "caller_cli" and found["viewer_ready"] is False
    assert context["session_root_worktree"]["branch"] == f"task/{one.session}/fix-login"
    assert context["session_root_worktree"]["path"] == ".codestrator/worktrees/fix-login"
    assert git("rev-parse", "HEAD", at=one.path) == git("rev-parse", "HEAD", at=Path(one.world.repo))
    assert git("status", "--porcelain", at=Path(one.world.repo)) == ""
    assert "resume_candidates" not in found


def test_a_second_session_of_the_same_words_gets_the_next_name(root: Actor, actor: Callable[..., Actor]) -> None:
    assert actor().open()["worktree_slug"] == "fix-login-2"


def test_a_given_name_comes_before_the_request(root: Actor, actor: Callable[..., Actor]) -> None:
    assert actor().open(worktree_name="Über den Wolken")["worktree_slug"] == "uber-den"


def test_the_sixty_fifth_of_a_name_is_refused(root: Actor, actor: Callable[..., Actor]) -> None:
    top = root.path.parent
    for number in range(2, 65):
        (top / f"fix-login-{number}").mkdir()
    one = actor()
    with unchanged(one), pytest.raises(Conflict):
        one.open()


def test_uncommitted_changes_of_the_main_worktree_stay_there_and_give_a_warning(
    root: Actor, actor: Callable[..., Actor], repo: Path
) -> None:
    (repo / "README.md").write_text("changed\n", encoding="utf-8")
    one = actor()
    assert "README.md" in one.open()["warnings"][0]
    assert (one.path / "README.md").read_text(encoding="utf-8") == "shop\n"


def test_a_detached_head_is_a_fine_place_to_begin_at(root: Actor, actor: Callable[..., Actor], repo: Path) -> None:
    git("checkout", "-q", "--detach", at=repo)
    assert "base_branch" not in actor().open()["session_context"]["session"]


def test_without_a_commit_nothing_can_be_opened(actor: Callable[..., Actor], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    git("init", "-q", at=folder)
    one = actor(folder=folder)
    one("workspace.init")
    with unchanged(one), pytest.raises(WrongState):
        one("session.open")


def test_a_bare_repository_needs_a_place_for_worktrees(actor: Callable[..., Actor], repo: Path, tmp_path: Path) -> None:
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "bare.git"), at=tmp_path)
    one = actor(folder=tmp_path / "bare.git")
    one("workspace.init")
    with unchanged_refs(one), pytest.raises(WrongState) as refused:
        one("session.open")
    assert refused.value.details["found"] == "bare"
    git("config", "codestrator.worktreeRoot", str(tmp_path / "trees"), at=tmp_path / "bare.git")
    two = actor(folder=tmp_path / "bare.git")
    assert two.open()["session_context"]["session_root_worktree"]["path"] == str(tmp_path / "trees" / "fix-login")
    assert (tmp_path / "trees" / "fix-login" / "README.md").exists()


def test_a_path_with_spaces_and_accents_is_a_fine_place(actor: Callable[..., Actor], repo: Path) -> None:
    place = repo.rename(repo.with_name("mein Läden"))
    one = actor(folder=place)
    one("workspace.init")
    assert one.open()["viewer_tmux_session"].startswith("mein-l")
    assert (one.path / "README.md").exists()


@pytest.mark.parametrize("intent", ["new_work", "resume_work", "auto"])
def test_a_session_without_branch_is_not_offered(root: Actor, intent: str) -> None:
    with unchanged(root), pytest.raises(Unsupported):
        root("session.open", intent=intent, always_branch=False)


@pytest.mark.parametrize(
    "bad",
    [
        {"heartbeat_timeout_seconds": 9},
        {"max_children": 17},
        {"max_children": 0},
        {"intent": "work"},
        {"user_request": "x" * 9000},
        {"worktree_name": 7},
    ],
)
def test_a_bad_parameter_is_named_and_nothing_is_made(root: Actor, bad: dict[str, object]) -> None:
    with unchanged(root), pytest.raises(InvalidParams) as refused:
        root("session.open", **bad)
    assert refused.value.details["field"] == next(iter(bad))


def test_a_failing_git_leaves_no_branch_no_folder_and_no_document(root: Actor, repo: Path) -> None:
    before = git("for-each-ref", "refs/heads", at=repo)
    known = repo / ".git" / "worktrees"
    aside = known.rename(known.with_name("aside"))
    known.write_text("in the way of git worktree add", encoding="ascii")
    with pytest.raises(External):
        root("session.open", user_request="Add invoices")
    known.unlink()
    aside.rename(known)
    assert git("for-each-ref", "refs/heads", at=repo) == before
    assert not (repo / ".codestrator" / "worktrees" / "add-invoices").exists()
    assert [one["session"]["id"] for one in root("session.list")["items"]] == [root.session]
    assert {row.state for row in root.world.store.read().rows(Intent)} == {"done", "failed"}


def test_the_same_key_gives_the_same_session(root: Actor) -> None:
    first = root("session.open", user_request="Add invoices", idempotency_key="k1")
    again = root("session.open", user_request="Add invoices", idempotency_key="k1")
    assert again == first | {"repeated": True}
    assert len(root("session.list")["items"]) == 2


def test_a_session_that_resumes_gets_no_worktree(root: Actor, actor: Callable[..., Actor], clock: SteeredClock) -> None:
    root.close()
    clock.advance(61)
    one = actor()
    found = one("session.open", intent="resume_work")
    assert found["action_required"] == "select_resume_candidate"
    assert found["session_context"]["session"]["status"] == "awaiting_resume"
    assert "session_root_worktree" not in found["session_context"]
    assert [item["session"]["id"] for item in found["resume_candidates"]] == [root.session]


def test_auto_opens_and_lists_what_could_be_resumed(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    root.close()
    clock.advance(61)
    found = actor().open(intent="auto")
    assert found["session_context"]["session"]["intent"] == "new_work"
    assert [item["session"]["id"] for item in found["resume_candidates"]] == [root.session]


def test_a_running_process_keeps_its_session_live_whatever_the_clock_says(root: Actor, clock: SteeredClock) -> None:
    clock.advance(86400)
    assert root("session.context")["liveness"] == "live"


def test_a_session_without_process_is_suspended_after_its_timeout(
    root: Actor, other: Actor, clock: SteeredClock
) -> None:
    root.close()
    assert other("session.context", session_id=root.session)["liveness"] == "live"
    clock.advance(61)
    assert other("session.context", session_id=root.session)["liveness"] == "suspended"


def test_a_heartbeat_keeps_a_session_without_process_live(root: Actor, operator: Actor, clock: SteeredClock) -> None:
    root.close()
    clock.advance(50)
    assert operator("session.heartbeat")["liveness"] == "live"
    clock.advance(50)
    assert operator("session.context")["liveness"] == "live"


def test_a_heartbeat_writes_nothing_into_git(root: Actor) -> None:
    with unchanged(root):
        root("session.heartbeat")


def test_a_closed_session_refuses_heartbeats(root: Actor) -> None:
    root("session.close")
    with unchanged(root), pytest.raises(WrongState):
        root("session.heartbeat", session_id=root.session)


def test_another_process_may_not_speak_for_a_live_session(root: Actor, other: Actor) -> None:
    with unchanged(other), pytest.raises(Forbidden):
        other("session.heartbeat", session_id=root.session)


def test_sessions_are_listed_newest_first_and_closed_ones_only_when_asked(root: Actor, other: Actor) -> None:
    assert [one["session"]["id"] for one in root("session.list")["items"]] == [other.session, root.session]
    other("session.close")
    assert [one["session"]["id"] for one in root("session.list")["items"]] == [root.session]
    everything = root("session.list", include_closed=True)["items"]
    assert {one["session"]["id"]: one["liveness"] for one in everything} == {
        other.session: "ended",
        root.session: "live",
    }


def test_the_list_counts_locks_claims_and_active_cases(root: Actor) -> None:
    root("case.begin", case_id=root.case("a"))
    root("lock.acquire", scope_type="file", scope_path="a.py")
    (item,) = root("session.list")["items"]
    assert (item["held_leases"], item["active_cases"], item["tmux_alive"]) == (2, 1, False)


def test_a_worktree_whose_folder_is_gone_is_shown_as_lost(root: Actor) -> None:
    git("worktree", "remove", "--force", "--force", str(root.path), at=Path(root.world.repo))
    assert root("session.context")["session_root_worktree"]["status"] == "lost"


def test_the_context_of_an_earlier_operation_is_as_it_was(root: Actor) -> None:
    op = root("journal.list", limit=1)["items"][0]["op"]
    root("session.close")
    then = root("session.context", session_id=root.session, at=op)
    assert then["session"]["status"] == "active_new"


@contextmanager
def unchanged_refs(actor: Actor) -> Iterator[None]:
    """Of a bare repository, which has no status."""
    before = git("for-each-ref", at=Path(actor.world.repo))
    yield
    assert git("for-each-ref", at=Path(actor.world.repo)) == before
