"""Children at the edges: the server that is started with a private file, and the command line in a child's shell."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator import table
from codestrator.edges import descriptions
from codestrator.records import Thread
from tests.actors import Actor, unchanged
from tests.edges.shell import Run, refused, result
from tests.edges.wire import COMMAND, Json, Wire
from tests.methods import crew

CHECKED = ("step", "check", "--step-title", "first", "--result", "pass", "--json")


@pytest.fixture
def wire(repo: Path) -> Iterator[Callable[..., Wire]]:
    """Start servers with these words; they end with the test."""
    made: list[Wire] = []

    def start(*words: str, **env: str) -> Wire:
        made.append(Wire(repo, [*COMMAND, *words], **env))
        return made[-1]

    yield start
    for one in made:
        one.finish()


def marks(thread: Thread, place: Path) -> dict[str, str]:
    """The environment of a child's shell, as its runner makes it."""
    return {
        "CODESTRATOR_RUNNER_MODE": "child",
        "CODESTRATOR_SESSION_ID": thread.session_id,
        "CODESTRATOR_THREAD_ID": thread.id,
        "CODESTRATOR_THREAD_ROLE": thread.role,
        "CODESTRATOR_THREAD_FILE": str(place),
    }


def enums(one: Wire) -> dict[str, set[str]]:
    """What each tool's list of methods allows."""
    tools: list[Json] = one.ask("tools/list")["result"]["tools"]
    return {tool["name"]: set(tool["inputSchema"]["properties"]["method"].get("enum", ())) for tool in tools}


def row(role: str) -> dict[str, set[str]]:
    """The same, read off the table."""
    found = {
        group.tool: {one.name for one in group.methods if table.may_call(role, one.name)} for group in table.GROUPS
    }
    return {tool: names for tool, names in found.items() if names} | {table.CATCH_ALL: set()}


@pytest.mark.parametrize("role", ["worker", "doc-mirror-manager"])
def test_a_childs_server_lists_and_does_only_what_its_role_may(
    role: str, root: Actor, wire: Callable[..., Wire]
) -> None:
    thread, place = crew.lettered(root, role=role)
    one = wire("--thread-file", str(place))
    told = one.start()["instructions"]
    assert "You are a child" in told and "session.open" not in told
    assert enums(one) == row(role)
    with unchanged(root):
        for tool, method in (("orch_session", "session.open"), ("orchestrator.call", "task.create")):
            refusal = one.ask("tools/call", name=tool, arguments={"method": method})["result"]
            assert refusal["isError"] and refusal["structuredContent"]["code"] == "forbidden"
            assert thread.id in refusal["structuredContent"]["message"]
    assert one.call("work.brief")["thread"] == {"id": thread.id, "role": role, "status": "running"} | {
        "worktree": one.call("work.brief")["thread"]["worktree"]
    }
    assert one.close() == 0


def test_a_childs_server_works_in_its_name_and_lets_its_session_be(root: Actor, wire: Callable[..., Wire]) -> None:
    case_id = root.case("first")
    thread, place = crew.lettered(root, scope_case_ids=(case_id,))
    root.close()
    live = root.world.live
    beat = live.beat(root.session)
    one = wire("--thread-file", str(place))
    one.start()
    begun = one.call("case.begin", case_id=case_id)["task"]
    assert (begun["owner_thread_id"], begun["owner_session_id"]) == (thread.id, root.session)
    assert one.result("resume.next", session_id="ses-0000000000")["structuredContent"]["code"] == "forbidden"
    assert live.beat(thread.id) is None
    assert one.call("thread.child.report", progress="half")["thread"]["progress"] == "half"
    assert live.beat(thread.id) is not None
    assert not live.held(root.session) and live.beat(root.session) == beat and not live.held(thread.id)
    newest = root("journal.list", method="case.begin")["items"][0]
    assert (newest["actor"], newest["session_id"]) == (thread.id, root.session)


def test_the_server_of_a_child_that_ends_refuses_what_comes_after(root: Actor, wire: Callable[..., Wire]) -> None:
    thread, place = crew.lettered(root)
    one = wire("--thread-file", str(place))
    one.start()
    assert one.call("thread.child.report", status="completed", final_message="done")["thread"]["status"] == "completed"
    with unchanged(root):
        for method in ("work.brief", "task.list", "thread.child.report"):
            refusal = one.result(method)["structuredContent"]
            assert refusal["code"] == "wrong_state" and f"'{thread.id}' is 'completed'" in refusal["message"]
    assert one.close() == 0
    late = wire("--thread-file", str(place))
    assert late.process.wait(60) == 4
    late.finish()
    assert late.lines == [] and "wrong_state" in "".join(late.errors)


def test_a_server_with_a_bad_private_file_does_not_start(root: Actor, wire: Callable[..., Wire]) -> None:
    _, place = crew.lettered(root)
    place.chmod(0o644)
    one = wire("--thread-file", str(place))
    assert one.process.wait(60) == 4
    one.finish()
    assert one.lines == [] and "open to others" in "".join(one.errors)


def test_a_server_that_a_childs_agent_starts_by_itself_is_that_child(root: Actor, wire: Callable[..., Wire]) -> None:
    thread, place = crew.lettered(root)
    one = wire(**marks(thread, place))
    one.start()
    assert enums(one) == row("worker")
    assert one.call("work.brief")["thread"]["id"] == thread.id


def test_a_server_that_was_started_for_a_child_without_a_good_file_only_reads(
    root: Actor, wire: Callable[..., Wire]
) -> None:
    thread, place = crew.lettered(root)
    place.unlink()
    one = wire(**marks(thread, place))
    assert "answers only what reads" in one.start()["instructions"]
    listed = set().union(*enums(one).values())
    assert listed == {name for name, method in table.METHODS.items() if method.kind == "read"}
    assert one.call("session.list")["count"] == 1
    with unchanged(root):
        assert one.result("session.open")["structuredContent"]["code"] == "forbidden"


def test_what_a_bystander_is_listed_is_what_it_may_call() -> None:
    for tool in descriptions.tools("session-root", "bystander"):
        for name in tool.schema["properties"]["method"].get("enum", ()):
            assert table.METHODS[name].kind == "read"


@pytest.fixture
def shell(root: Actor, run: Run) -> Callable[..., Any]:
    """Run commands as in the shell of a child that has a case in work."""
    case_id = root.case("first", "second")
    thread, place = crew.lettered(root, scope_case_ids=(case_id,))
    env = marks(thread, place)

    def command(*words: str, **more: str) -> Any:
        return run(*words, at=root.path, **env | more)

    command.thread, command.place, command.case = thread, place, case_id  # type: ignore[attr-defined]
    return command


def test_the_command_line_in_a_childs_shell_is_that_child(root: Actor, shell: Any) -> None:
    assert result(shell("next", "--json"))["task"]["id"] == shell.case
    assert result(shell("case", "begin", shell.case, "--json"))["task"]["owner_thread_id"] == shell.thread.id
    checked = result(shell(*CHECKED, "--case-id", shell.case))
    assert checked["step"]["checked_by"] == shell.thread.id
    newest = root("journal.list", limit=1)["items"][0]
    assert (newest["method"], newest["actor"]) == ("step.check", shell.thread.id)
    with unchanged(root):
        error = refused(shell("task", "create", "epic", "x", "--json"))
    assert (error["code"], error["details"]["role"]) == ("forbidden", "worker")


def test_a_childs_command_line_names_no_other_session_or_thread(root: Actor, other: Actor, shell: Any) -> None:
    words = ("work", "brief", "--json")
    for option, wrong in (("--session", other.session), ("--thread", root.thread), ("--session", "main")):
        with unchanged(root):
            assert refused(shell(option, wrong, *words))["code"] == "forbidden"
    for option, right in (("--session", root.session), ("--thread", shell.thread.id[:9])):
        assert result(shell(option, right, *words))["thread"]["id"] == shell.thread.id
    # What its environment says beside the file only informs.
    strange = {"CODESTRATOR_SESSION_ID": other.session, "CODESTRATOR_THREAD_ID": root.thread}
    assert result(shell(*words, **strange))["thread"]["id"] == shell.thread.id


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("missing", "forbidden", "cannot be read"),
        ("open", "forbidden", "open to others"),
        ("ended", "wrong_state", "is 'stopped'"),
        ("elsewhere", "forbidden", "no thread's private file"),
    ],
)
def test_a_shell_whose_file_is_not_good_may_only_look(
    fault: str, code: str, says: str, root: Actor, shell: Any, tmp_path: Path
) -> None:
    env = {}
    if fault == "missing":
        shell.place.unlink()
    elif fault == "open":
        shell.place.chmod(0o640)
    elif fault == "ended":
        crew.put(root, root.world.store.read().require(Thread, shell.thread.id).but(status="stopped"))
    else:
        env = {"CODESTRATOR_THREAD_FILE": str(tmp_path / "thr-0000000000.json")}
    assert result(shell("task", "list", "--json", **env))["count"] == 3
    with unchanged(root):
        error = refused(shell("case", "begin", shell.case, "--json", **env))
    assert error["code"] == code and says in error["message"]


@pytest.mark.parametrize(
    ("env", "bystander"),
    [
        ({"CODESTRATOR_RUNNER_MODE": "child"}, True),
        ({"CODESTRATOR_THREAD_ROLE": "worker"}, True),
        ({"CODESTRATOR_THREAD_ROLE": "session-root", "CODESTRATOR_THREAD_FILE": ""}, False),
    ],
)
def test_marks_without_a_file_make_a_bystander(env: dict[str, str], bystander: bool, run: Run, root: Actor) -> None:
    done = run("task", "create", "epic", "x", "--json", at=root.path, **env)
    assert (json.loads(done.stdout)["ok"], done.returncode) == ((False, 4) if bystander else (True, 0))


def test_a_shell_in_a_live_childs_worktree_stays_a_bystander_wherever_it_points(run: Run, root: Actor) -> None:
    made = root("worktree.spawn", slug="kid")["worktree"]
    folder = root.world.repo / made["path"]
    thread = crew.record(root, worktree_id=made["id"])
    words = ("task", "create", "epic", "x", "--json", "--session", root.session)
    assert root.world.live.take(thread.id)
    beat = root.world.live.beat(root.session)
    inner = folder / "deep" / "er"
    inner.mkdir(parents=True)
    for at in (folder, inner):
        with unchanged(root):
            for more in ((), ("--repo", str(root.world.repo))):
                error = refused(run(*words, *more, at=at))
                assert (error["code"], error["details"]["role"]) == ("forbidden", "bystander")
            assert refused(run(*words, "--repo", str(folder), at=root.world.repo))["code"] == "forbidden"
    assert result(run("session", "list", "--json", at=folder))["count"] == 1
    assert result(run("--session", root.session, "resume", "next", "--json", at=folder)) == {}
    assert root.world.live.beat(root.session) == beat  # looking gives nobody a sign of life
    assert result(run(*words, at=root.path))["task"]["level"] == "epic"
    root.world.live.leave(thread.id)
    assert result(run(*words, at=folder))["task"]["level"] == "epic"


@pytest.mark.parametrize(
    ("fault", "says"), [("open", "open to others"), ("ended", "is 'failed'"), ("gone", "cannot be")]
)
def test_a_runner_without_a_good_file_or_a_thread_that_lives_is_fenced_off(
    fault: str, says: str, run: Run, root: Actor
) -> None:
    thread, place = crew.lettered(root)
    if fault == "open":
        place.chmod(0o604)
    elif fault == "gone":
        place.unlink()
    else:
        crew.put(root, root.world.store.read().require(Thread, thread.id).but(status="failed"))
    with unchanged(root):
        done = run("runner", thread.id)
    assert done.returncode == 4 and says in done.stderr and done.stdout == ""
