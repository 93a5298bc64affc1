"""Children that are real Codexes: each of their processes is killed at work, and their models are out of order."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import codestrator
from codestrator.errors import External
from tests.conftest import git
from tests.journeys.brood import Brood, brood_of, fill, hostile, hostile_repo, kill, small_disk
from tests.journeys.codex_crew import Models, case_of, codex_home, ours, returned, run
from tests.runner.codexes import need_sandbox, real_codex
from tests.scripted_model import Json, Step, fail, outputs, say, silence

pytestmark = [pytest.mark.slow, pytest.mark.tmux, pytest.mark.codex, pytest.mark.timeout(300)]
COMMIT = "git add -A && git commit -qm '{0}'"
HALT = "echo half > half.txt; setsid sleep 300 & until [ -e go ]; do sleep 0.1; done"


def of_case(**given: object) -> Callable[[Json], Json]:
    return lambda sent: {"case_id": case_of(sent)} | given


def next_step(sent: Json) -> Json:
    """Its receipt for the step that the latest brief named."""
    briefs = [nth for nth, one in enumerate(outputs(sent)) if '"next_step"' in one]
    return {"step_id": returned(sent, briefs[-1])["next_step"]["id"], "result": "pass", "evidence": {"command": "true"}}


FIRST = (
    ours("case.begin", of_case()),
    run("echo one > one.txt && " + COMMIT.format("one")),
    ours("step.check", of_case(step_title="one", result="pass", evidence={"command": "true", "exit_status": 0})),
    run(HALT),
)
GO_ON = (
    ours("work.brief"),
    run("echo two > two.txt && " + COMMIT.format("two")),
    ours("step.check", next_step),
    ours("case.complete", of_case(summary="both")),
    say("finished"),
)


# What the model does, and a word of the reason that its child then gives.
TROUBLE = {
    "busy": (fail(429), "429"),
    "broken": (fail(500), "high demand"),  # as Codex puts it
    "refused": (fail(401), "401"),
    "garbage": (fail(200, "this is no stream"), "stream"),
    "silent": (silence(), "silent for 2 s"),
}


class CodexBrood(Brood):
    """Children on the app server; what the model of each says is told apart by its name."""

    codex: str

    def codex_at_work(self, model: str) -> tuple[str, str]:
        """A child that has done the first of its two steps and halts in the second: (its id, its case)."""
        case = self.root.case("one", "two")
        thread = self.codex_child(model, title=model, scope_case_ids=[case])
        half = self.worktree(thread) / "half.txt"
        self.until(half.exists)
        return thread, case

    def standing(self, thread: str) -> list[int]:
        return [*super().standing(thread), *self.servers(thread)]

    def servers(self, thread: str) -> list[int]:
        """Its own MCP server."""
        return self.processes(thread, " mcp ", "--thread-file")

    def finished(self, thread: str, case: str) -> None:
        """Wait until it is: its two commits are on its branch, its case is done, and nothing of it runs."""
        want = {"thread_id": thread, "target_statuses": ["completed"], "timeout_seconds": 49}
        assert self.root("thread.child.wait_status", **want)["achieved_status"] == "completed", self.log(thread)
        assert git("log", "-2", "--format=%s", at=self.worktree(thread)).split() == ["two", "one"]
        assert self.root("task.get", task_id=case)["task"]["status"] == "done"
        assert self.nothing_runs(thread)

    def codex_child(self, model: str, **given: object) -> str:
        found = self.spawn(
            runner_kind="codex_app_server",
            codex_command=self.codex,
            agent_override={"model": model, **given.pop("override", {})},  # type: ignore[dict-item]
            **given,
        )
        return str(found["thread"]["id"])


SCRIPTS: dict[str, Sequence[Step]] = (
    {
        "first": (*FIRST, *GO_ON),
        "second": (*FIRST, *GO_ON, *GO_ON),  # without its tools all it can do is end the turn
        "third": (FIRST[0], *GO_ON),
        "whole": (*FIRST[:-1], *GO_ON),
    }
    | {name: [step] * 99 for name, (step, _) in TROUBLE.items()}
)
Make = Callable[[Path], CodexBrood]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a crew in a repository."""
    codex = real_codex()
    need_sandbox(codex)
    with Models(**SCRIPTS) as models, ExitStack() as ends:

        def one(repo: Path) -> CodexBrood:
            for name, value in codex_home(tmp_path / "codex", models.url, repo).items():
                monkeypatch.setenv(name, value)
            brood = ends.enter_context(contextmanager(brood_of)(repo, kind=CodexBrood))
            assert isinstance(brood, CodexBrood)
            brood.codex = codex
            return brood

        yield one


@pytest.fixture
def crew(make: Make, repo: Path) -> CodexBrood:
    return make(repo)


def test_codex_is_killed_or_its_server_of_ours_and_both_children_finish(crew: CodexBrood) -> None:
    struck, case = crew.codex_at_work("first")
    other, its_case = crew.codex_at_work("second")
    before = crew.standing(other)
    kill(crew.program(struck))
    crew.finished(struck, case)
    assert crew.standing(other) == before
    (server,) = crew.servers(other)
    kill(server)
    (crew.worktree(other) / "go").touch()
    crew.finished(other, its_case)


def test_a_keeper_is_killed_or_a_runner_and_the_cases_are_finished(crew: CodexBrood) -> None:
    struck, case = crew.codex_at_work("first")
    other, its_case = crew.codex_at_work("second")
    kill(crew.keeper(struck))
    kill(crew.runner(other))
    (found,) = crew.settled(other)
    assert found["status"] == "failed" and found["reason"]
    assert crew.nothing_runs(other)
    kept = crew.root("rescue.list", worktree_id=found["worktree_id"])["items"]
    assert git("show", f"{kept[0]['ref']}:half.txt", at=crew.worktree(other)) == "half"
    crew.finished(struck, case)
    place = {"worktree_id": found["worktree_id"], "scope_case_ids": [its_case]}
    crew.finished(crew.codex_child("third", title="takes over", **place), its_case)


def test_a_model_out_of_order_ends_its_child_with_the_reason(
    crew: CodexBrood, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = {name: crew.codex_child(name, skip_ready_check=True, override={"idle_seconds": 2}) for name in TROUBLE}
    nobody = codex_home(tmp_path / "nobody", "http://127.0.0.1:9/v1", Path(crew.root.world.repo))
    monkeypatch.setenv("CODEX_HOME", nobody["CODEX_HOME"])
    children["down"] = crew.codex_child("down", skip_ready_check=True)
    words = {children[name]: word for name, (_, word) in TROUBLE.items()} | {children["down"]: "Connection failed"}
    for thread, found in zip(children.values(), crew.settled(*children.values()), strict=True):
        assert (found["status"], found["exit_status"]) == ("failed", 1)
        assert words[thread] in found["reason"]
        assert crew.nothing_runs(thread)


def test_a_broken_role_file_ends_the_spawn_with_its_name(
    crew: CodexBrood, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("agents.mcp", reason="needs the Agents SDK: pip install 'codestrator[agents]'")
    package = Path(codestrator.__file__).parent
    shutil.copytree(package, tmp_path / "broken" / "codestrator", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "broken" / "codestrator" / "agents" / "agents-sdk" / "worker.yaml").write_text("role: [worker\n")
    paths = [str(tmp_path / "broken"), os.environ["PYTHONPATH"]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # of the runner alone
    with pytest.raises(External, match=r"worker\.yaml") as refused:
        crew.spawn(title="misled", codex_command=crew.codex)
    (found,) = crew.published()
    assert (found.status, found.resolved_runner_kind) == ("failed", "agents_sdk_codex_mcp")
    assert "worker.yaml" in (found.reason or "") and refused.value.hint
    assert crew.nothing_runs(found.id)


def test_neither_a_hostile_place_nor_a_full_disk_for_its_log_stops_codex(make: Make, tmp_path: Path) -> None:
    crew = make(hostile_repo(tmp_path, "main"))
    case = crew.root.case("one", "two")
    logs = crew.root.world.files.root / "logs"
    with small_disk(logs):
        fill(logs)
        crew.finished(crew.codex_child("whole", title=hostile("trapped"), scope_case_ids=[case]), case)
    assert [one for one in tmp_path.rglob("trapped?") if one.is_file()] == []


def test_a_runner_that_is_killed_while_codex_comes_up_leaves_nothing(crew: CodexBrood) -> None:
    with ThreadPoolExecutor(1) as pool:
        spawning = pool.submit(crew.codex_child, "whole", title="struck")
        (struck,) = crew.until(crew.published)
        crew.children.append(struck.id)
        crew.until(lambda: crew.processes(struck.id, "keeper.py"))
        kill(crew.runner(struck.id))
        with pytest.raises(External, match=struck.id):
            spawning.result()
    (found,) = crew.published()
    assert found.status == "failed" and found.reason
    assert crew.nothing_runs(found.id)
