"""Six children at once, and no seventh; children that ask, are stuck, and go on with the answer."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Limit
from tests.actors import Actor
from tests.conftest import git
from tests.journeys.codex_crew import Fifos, Models, case_of, codex_home, nothing_runs, ours, prompts, run
from tests.runner.codexes import need_sandbox, real_codex
from tests.scripted_model import Json, Step, say
from tests.world.desk import until

pytestmark = [pytest.mark.tmux, pytest.mark.slow, pytest.mark.timeout(240)]

MOST = 6
QUESTION = "Which cookie is meant?"
ANSWER = "The one of the login."
BLOCKER = "There is no database here."
CURE = "Use the one in memory."


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[Fifos]:
    one = Fifos(tmp_path)
    yield one
    one.close()


@pytest.fixture
def socket(repo: Path) -> Iterator[str]:
    """A tmux server of the test's own; the place is short, because sockets allow about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as place:
        git("config", "codestrator.tmuxSocket", f"{place}/s", at=repo)
        yield f"{place}/s"
        subprocess.run(["tmux", "-S", f"{place}/s", "kill-server"], capture_output=True, check=False)


@pytest.fixture
def root(socket: str, actor: Callable[..., Actor]) -> Iterator[Actor]:
    """A root that reads of that server when it begins; children that a test leaves are ended with it."""
    one: Actor = actor()
    one("workspace.init")
    one.open()
    yield one
    for child in one("thread.child.list", include_root=False)["items"]:
        one("thread.child.stop", thread_id=child["thread"]["id"])


@pytest.fixture
def crew(
    root: Actor, repo: Path, socket: str, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Models]]:
    """Scripts for the models of children on the real Codex."""
    running: list[Models] = []

    def start(**scripts: list[Step]) -> Models:
        need_sandbox(real_codex())
        running.append(Models(**scripts).__enter__())
        for name, value in codex_home(sealed / "codex", running[-1].url, repo).items():
            monkeypatch.setenv(name, value)
        return running[-1]

    yield start
    for one in running:
        one.__exit__(None, None, None)


def ours_of(method: str, **given: Any) -> Step:
    """A call of one of our methods about the agent's own case."""
    return ours(method, lambda sent: {"case_id": case_of(sent), **given})


def spawn(root: Actor, name: str, case: str, **given: Any) -> str:
    """A worker on the real Codex, whose model has that name; its thread."""
    made = root(
        "thread.child.spawn",
        title=f"Worker {name}",
        scope_case_ids=[case],
        **{"runner_kind": "codex_app_server", "codex_command": real_codex(), "agent_override": {"model": name}} | given,
    )
    return str(made["thread"]["id"])


def wait(root: Actor, thread: str, *statuses: str) -> Json:
    return root("thread.child.wait_status", thread_id=thread, target_statuses=list(statuses))


def finish() -> list[Step]:
    return [
        ours_of("step.check", step_title="edit", result="pass", evidence={"command": "true", "exit_status": 0}),
        ours_of("case.complete", summary="done"),
        say("done"),
    ]


def told(models: Models, name: str) -> list[str]:
    """What the turns of that agent began with, in order."""
    return list(dict.fromkeys(prompts(one)[-1] for one in models.sent_by(name)))


@pytest.mark.codex
@pytest.mark.parametrize("by", ["inbox.send", "thread.child.directive"])
def test_a_worker_asks_waits_and_goes_on_with_the_answer(by: str, root: Actor, crew: Callable[..., Models]) -> None:
    asks = ours("thread.child.report", {"question": QUESTION})
    models = crew(ada=[ours_of("case.begin"), asks, say("I wait"), *finish()])
    case = root.case("edit")
    ada = spawn(root, "ada", case)
    assert wait(root, ada, "waiting_user_answer")["achieved_status"] == "waiting_user_answer"
    (letter,) = root("inbox.pending", wait_seconds=10)["items"]
    assert (letter["sender"], letter["text"]) == (ada, QUESTION)
    assert root("task.get", task_id=case)["task"]["status"] == "in_progress"
    # A directive cuts off a turn that still runs, and then the model's next word would answer that.
    until(lambda: root("thread.child.status", thread_id=ada).get("last_response") == "I wait")
    if by == "inbox.send":
        root(by, receiver_thread_id=ada, message=ANSWER)
    else:
        sent = root(by, thread_id=ada, directive=ANSWER, wait_seconds=20)["directive"]
        assert (sent["state"], sent["turn"]) == ("applied", 2)
    ended = wait(root, ada, "completed")
    assert (ended["achieved_status"], ended["last_response"], ended["turn"]) == ("completed", "done", 2)
    assert ANSWER in told(models, "ada")[1] and len(told(models, "ada")) == 2
    assert root("task.get", task_id=case)["task"]["status"] == "done"
    assert not root("inbox.pending", receiver_thread_id=ada)["items"]


@pytest.mark.codex
def test_a_worker_that_is_stuck_blocks_its_case_until_it_is_told_how_to_go_on(
    root: Actor, crew: Callable[..., Models]
) -> None:
    stuck = ours("thread.child.report", {"blocker": BLOCKER})
    models = crew(ada=[ours_of("case.begin"), stuck, say("I wait"), ours_of("case.begin"), *finish()])
    case = root.case("edit")
    ada = spawn(root, "ada", case)
    wait(root, ada, "waiting")
    seen = root("thread.child.status", thread_id=ada)
    assert (seen["db_status"], seen["blocker"]) == ("waiting", BLOCKER)
    assert root("task.get", task_id=case)["task"]["status"] == "blocked"
    root("thread.child.directive", thread_id=ada, directive=CURE, mode="queue")
    assert wait(root, ada, "completed")["achieved_status"] == "completed"
    assert CURE in told(models, "ada")[1]
    assert root("task.get", task_id=case)["task"]["status"] == "done"


def at_once(root: Actor, actor: Callable[..., Actor], spawn_one: Callable[[Actor, int], str]) -> list[str]:
    """Ask for one child too many, all at the same time; the threads of those that were spawned."""
    operators = [actor("operator", session_id=root.session) for _ in range(MOST + 1)]

    def attempt(nth: int) -> str | Limit:
        try:
            return spawn_one(operators[nth], nth)
        except Limit as refused:
            return refused

    with ThreadPoolExecutor(MOST + 1) as pool:
        found = list(pool.map(attempt, range(MOST + 1)))
    (refused,) = [one for one in found if isinstance(one, Limit)]
    assert refused.details["limit"] == MOST and "thread.child.wait_status" in str(refused.hint)
    return [one for one in found if isinstance(one, str)]


def title(root: Actor, thread: str) -> str:
    listed = root("thread.child.list", include_root=False)["items"]
    return next(str(one["thread"]["title"]) for one in listed if one["thread"]["id"] == thread)


def test_six_commands_run_at_once_and_the_seventh_child_is_refused(
    root: Actor, actor: Callable[..., Actor], socket: str, fifos: Fifos
) -> None:
    def spawn_one(operator: Actor, nth: int) -> str:
        line = f"echo here > {shlex.quote(str(fifos(f'here {nth}')))}; read go < {shlex.quote(str(fifos(f'go {nth}')))}"
        return str(operator("thread.child.spawn", title=f"Waiter {nth}", launch_command=line)["thread"]["id"])

    threads = at_once(root, actor, spawn_one)
    for one in threads:
        nth = title(root, one).removeprefix("Waiter ")
        fifos.met(f"here {nth}")
        fifos.let(f"go {nth}")
    ended = [wait(root, one, "completed") for one in threads]
    assert [one["achieved_status"] for one in ended] == ["completed"] * MOST
    assert nothing_runs(threads)
    again = root("thread.child.spawn", title="One more", launch_command="true")["thread"]["id"]
    assert wait(root, again, "completed")["achieved_status"] == "completed"


@pytest.mark.codex
def test_six_real_codexes_work_at_once_and_the_seventh_is_refused(
    root: Actor, actor: Callable[..., Actor], crew: Callable[..., Models], fifos: Fifos
) -> None:
    def works(nth: int) -> list[Step]:
        gate = f"echo here > '{fifos(f'here {nth}')}'; read go < '{fifos(f'go {nth}')}'"
        edit = f"echo {nth} > {nth}.py && git add {nth}.py && git commit -qm 'write {nth}'"
        return [ours_of("case.begin"), run(f"{gate}; {edit}"), *finish()]

    crew(**{f"worker-{nth}": works(nth) for nth in range(MOST + 1)})
    planned = [root.case("edit") for _ in range(MOST + 1)]
    threads = at_once(root, actor, lambda operator, nth: spawn(operator, f"worker-{nth}", planned[nth]))
    seen = {one["thread"]["id"]: one for one in root("thread.child.list", include_root=False)["items"]}
    working = sorted(planned.index(seen[one]["thread"]["scope_case_ids"][0]) for one in threads)
    for nth in working:
        fifos.met(f"here {nth}")  # each is in the middle of its command, and none has gone on
    assert all(root("thread.child.status", thread_id=one)["db_status"] == "running" for one in threads)
    for nth in working:
        fifos.let(f"go {nth}")
    ended = [wait(root, one, "completed") for one in threads]
    assert [one["achieved_status"] for one in ended] == ["completed"] * MOST
    assert [root("task.get", task_id=planned[nth])["task"]["status"] for nth in working] == ["done"] * MOST
    assert nothing_runs(threads)
