"""A root that is a real Codex, and two workers that are: spawned, directed while they work, waited for."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codestrator.world import processes
from tests.actors import Actor
from tests.conftest import git
from tests.journeys.codex_crew import (
    MARK,
    ROOT,
    Fifos,
    Models,
    case_of,
    codex_exec,
    codex_home,
    nothing_runs,
    ours,
    prompts,
    returned,
    run,
    use,
)
from tests.runner.codexes import need_sandbox, real_codex
from tests.scripted_model import Json, Step, say

pytestmark = [pytest.mark.codex, pytest.mark.tmux, pytest.mark.slow, pytest.mark.timeout(300)]

# Which of the root's calls made what.
FEATURE, ADA_CASE, GRACE_CASE, ADA, GRACE, PATCHED, QUEUED, ADA_DONE, ANEW, GRACE_DONE, DIRECTIVES, THREADS = range(
    3, 15
)
PATCH_WORDS = "Not the session: the cookie is at fault."
QUEUE_WORDS = "Name the file in the summary."
RESTART_WORDS = "Begin anew, and mind the tests."
KEPT = ("role", "title", "objective", "scope_case_ids", "agent_override", "runner_kind", "interaction_mode")


@pytest.fixture
def socket(repo: Path, tmp_path: Path) -> Iterator[str]:
    """A tmux server of the test's own."""
    place = str(tmp_path / "tmux")
    git("config", "codestrator.tmuxSocket", place, at=repo)
    yield place
    subprocess.run(["tmux", "-S", place, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[Fifos]:
    one = Fifos(tmp_path)
    yield one
    one.close()


def thread(sent: Json, nth: int) -> str:
    return str(returned(sent, nth)["thread"]["id"])


def task(sent: Json, nth: int) -> str:
    return str(returned(sent, nth)["task"]["id"])


def root_script(codex: str, fifos: Fifos, kind: str) -> list[Step]:
    def case(title: str) -> Step:
        given = {"level": "case", "title": title, "steps": ["edit", "test"]}
        return ours("task.create", lambda sent: {**given, "parent_id": task(sent, FEATURE)})

    def spawn(name: str, nth: int) -> Step:
        given = {
            "title": f"Worker {name}",
            "objective": "Do the case.",
            "runner_kind": kind,
            "codex_command": codex,
            "agent_override": {"model": name, "codex_model": f"{name}-codex"},
        }
        return ours("thread.child.spawn", lambda sent: {**given, "scope_case_ids": [task(sent, nth)]})

    def direct(nth: int, fifo: str, words: str, mode: str) -> Step:
        def given(sent: Json) -> Json:
            fifos.met(fifo)
            fifos.kept["ada"] = thread(sent, ADA)
            return {"thread_id": thread(sent, nth), "directive": words, "mode": mode}

        return ours("thread.child.directive", given)

    def wait(nth: int, let: str | None = None) -> Step:
        def given(sent: Json) -> Json:
            if let:
                fifos.let(let)
            return {"thread_id": thread(sent, nth), "target_statuses": ["completed"], "timeout_seconds": 50}

        return ours("thread.child.wait_status", given)

    return [
        ours("workspace.init"),
        ours("session.open", {"intent": "new_work", "user_request": "Fix the login timeout"}),
        ours("task.create", {"level": "epic", "title": "Shop"}),
        ours("task.create", lambda sent: {"level": "feature", "title": "Login", "parent_id": task(sent, 2)}),
        case("Cookie"),
        case("Session"),
        spawn("ada", ADA_CASE),
        spawn("grace", GRACE_CASE),
        direct(ADA, "ada sleeps", PATCH_WORDS, "interrupt_patch"),
        direct(GRACE, "grace works", QUEUE_WORDS, "queue"),
        wait(ADA, let="grace may go on"),
        direct(GRACE, "grace sleeps", RESTART_WORDS, "restart"),
        wait(ANEW),
        ours("thread.directive.list"),
        ours("thread.child.list", {"include_root": False}),
        say("both cases are done"),
    ]


class Workers:
    """What the two do, as scripts of their models; and what the test looks at meanwhile."""

    def __init__(self, fifos: Fifos) -> None:
        self.fifos = fifos
        self.asleep_after_patch: list[int] | None = None

    def scripts(self, kind: str) -> dict[str, list[Step]]:
        return self.directly() if kind == "codex_app_server" else self.led()

    def edit(self, name: str) -> str:
        return f"echo {name} > {name}.py && git add {name}.py && git commit -qm 'mend {name}' && git log -1 --format=%s"

    def sleep(self, fifo: str) -> str:
        return f"echo here > '{self.fifos(fifo)}'; sleep 30; echo overslept > overslept.txt"

    def gate(self) -> str:
        return f"echo here > '{self.fifos('grace works')}'; read go < '{self.fifos('grace may go on')}'"

    def look(self, step: Step) -> Step:
        """The same answer; but before, see which commands of the agent still run."""

        def looked(sent: Json) -> Json:
            ours = processes.marked(MARK, self.fifos.kept["ada"])
            self.asleep_after_patch = [one for one in ours if b"sleep" in line_of(one)]
            return step(sent)

        return looked

    def directly(self) -> dict[str, list[Step]]:
        """Each is one Codex."""
        return {
            "ada": [
                begin(),
                run(self.sleep("ada sleeps")),
                self.look(run(self.edit("cookie"))),
                check("edit", "git log"),
                check("test", "pytest"),
                complete("the cookie lives longer"),
                say("ada is done"),
            ],
            "grace": [
                begin(),
                run(f"{self.gate()}; {self.edit('session')}"),
                check("edit", "git log"),
                say("the first turn is over"),
                run(self.sleep("grace sleeps")),
                begin(),
                check("test", "pytest"),
                complete("in session.py"),
                say("grace is done"),
            ],
        }

    def led(self) -> dict[str, list[Step]]:
        """Each is an agent of the Agents SDK that leads a Codex, which has a model of its own."""
        return {
            "ada": [
                begin(bare=True),
                use("codex", prompt="work in the background"),
                self.look(use("codex", prompt="edit the cookie")),
                check("edit", "git log", bare=True),
                check("test", "pytest", bare=True),
                complete("the cookie lives longer", bare=True),
                say("ada is done"),
            ],
            "ada-codex": [run(self.sleep("ada sleeps")), run(self.edit("cookie")), say("edited")],
            "grace": [
                begin(bare=True),
                use("codex", prompt="edit the session"),
                check("edit", "git log", bare=True),
                say("the first turn is over"),
                use("codex", prompt="work in the background"),
                begin(bare=True),
                check("test", "pytest", bare=True),
                complete("in session.py", bare=True),
                say("grace is done"),
            ],
            "grace-codex": [
                run(f"{self.gate()}; {self.edit('session')}"),
                say("edited"),
                run(self.sleep("grace sleeps")),
            ],
        }


def begin(*, bare: bool = False) -> Step:
    return ours("case.begin", lambda sent: {"case_id": case_of(sent)}, bare=bare)


def check(step: str, command: str, *, bare: bool = False) -> Step:
    given = {"step_title": step, "result": "pass", "evidence": {"command": command, "exit_status": 0}}
    return ours("step.check", lambda sent: {**given, "case_id": case_of(sent)}, bare=bare)


def complete(summary: str, *, bare: bool = False) -> Step:
    return ours("case.complete", lambda sent: {"case_id": case_of(sent), "summary": summary}, bare=bare)


def line_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("kind", ["codex_app_server", "agents_sdk_codex_mcp"])
def test_a_root_and_two_workers(
    kind: str,
    repo: Path,
    socket: str,
    sealed: Path,
    fifos: Fifos,
    actor: Callable[..., Actor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codex = real_codex()
    need_sandbox(codex)
    if kind == "agents_sdk_codex_mcp":
        pytest.importorskip("agents.mcp", reason="needs the Agents SDK: pip install 'codestrator[agents]'")
    workers = Workers(fifos)
    with Models(**{ROOT: root_script(codex, fifos, kind)}, **workers.scripts(kind)) as models:
        for name, value in codex_home(sealed / "codex", models.url, repo).items():
            monkeypatch.setenv(name, value)
        events = codex_exec(codex, repo)
    calls = [
        one["item"] for one in events if one["type"] == "item.completed" and one["item"]["type"] == "mcp_tool_call"
    ]
    refused = [(one["arguments"], one["result"] or one["error"]) for one in calls if one["status"] != "completed"]
    assert not refused and len(calls) == THREADS + 1

    answer = [returned(models.sent_by(ROOT)[-1], nth) for nth in range(THREADS + 1)]
    assert {answer[nth]["thread"]["resolved_runner_kind"] for nth in (ADA, GRACE, ANEW)} == {kind}
    operator = actor("operator")
    for nth in (ADA_CASE, GRACE_CASE):
        case = operator("task.get", task_id=answer[nth]["task"]["id"])["task"]
        assert (case["status"], [step["status"] for step in case["steps"]]) == ("done", ["done", "done"])
        assert [step["evidence"]["command"] for step in case["steps"]] == ["git log", "pytest"]
    assert {"mend cookie", "mend session"} <= set(git("log", "--branches", "--format=%s", at=repo).splitlines())
    assert (answer[ADA_DONE]["achieved_status"], answer[ADA_DONE]["last_response"]) == ("completed", "ada is done")
    assert (answer[GRACE_DONE]["achieved_status"], answer[GRACE_DONE]["last_response"]) == (
        "completed",
        "grace is done",
    )

    # The patch cut the running command off, and began the next turn; nothing of the command is left.
    (patched,) = [one for one in models.sent_by("ada") if told(one).startswith("## From the root")][:1]
    assert PATCH_WORDS in told(patched) and "Your last turn was cut off" in told(patched)
    assert workers.asleep_after_patch == [] and not list(repo.rglob("overslept.txt"))
    # What was queued came when the turn was over.
    turns = [told(one) for one in models.sent_by("grace")]
    (queued,) = [nth for nth, one in enumerate(turns) if QUEUE_WORDS in one][:1]
    assert queued == 4 and "This was sent while you worked" in turns[queued]
    receipts(answer[DIRECTIVES]["items"], answer)
    anew(models, answer, turns)
    assert nothing_runs([answer[nth]["thread"]["id"] for nth in (ADA, GRACE, ANEW)])


def told(sent: Json) -> str:
    """What its present turn began with."""
    return prompts(sent)[-1]


def receipts(found: list[Json], answer: list[Json]) -> None:
    """Each was applied, in the turn it began, its times in order."""
    old, new = (answer[nth]["thread"]["id"] for nth in (GRACE, ANEW))
    assert [(one["mode"], one["thread_id"], one["state"], one["turn"]) for one in found] == [
        ("interrupt_patch", answer[ADA]["thread"]["id"], "applied", 2),
        ("queue", old, "applied", 2),
        ("restart", old, "applied", 1),
    ]
    for one in found:
        assert one["created_at"] <= one["delivered_at"] <= one["applied_at"]
    assert new in found[2]["detail"]


def anew(models: Models, answer: list[Json], turns: list[str]) -> None:
    """The worker that was restarted had all its settings, its folder, and the directive beside its assignment."""
    threads = {one["thread"]["id"]: one["thread"] for one in answer[THREADS]["items"]}
    old, new = (threads[answer[nth]["thread"]["id"]] for nth in (GRACE, ANEW))
    assert {name: new.get(name) for name in (*KEPT, "worktree_id")} == {
        name: old.get(name) for name in (*KEPT, "worktree_id")
    }
    assert (old["status"], new["replaces_thread_id"]) == ("stopped", old["id"])
    first, begun = turns[0], next(one for one in turns if RESTART_WORDS in one)
    assert "## Assignment" in begun and begun.index("Do the case.") < begun.index(RESTART_WORDS)
    assert "Do the case." in first and RESTART_WORDS not in first
