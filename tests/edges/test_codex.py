"""The real Codex, with a scripted model on loopback, works through a case with our tools."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.actors import Actor
from tests.conftest import git
from tests.scripted_model import UNATTENDED, Json, ScriptedModel, Step, call, codex_config, outputs, say, search

pytestmark = pytest.mark.codex
NAMESPACE = "mcp__codestrator"

TABLES = """\
[mcp_servers.codestrator]
command = {python}
args = ["-m", "codestrator", "mcp"]
required = true
startup_timeout_sec = 60
tool_timeout_sec = 60
env = {{ PYTHONPATH = {source} }}
"""


@pytest.fixture
def codex() -> str:
    """The path of the Codex binary."""
    found = pytest.importorskip(
        "codex_cli_bin", reason="needs the real Codex: pip install 'codestrator[codex]' (360 MB)"
    )
    return str(found.bundled_codex_path())


@pytest.fixture
def run(codex: str, repo: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Json]]:
    """Run one turn of `codex exec` in the repository; its events. Codex decides by the slug how it shows tools."""

    def one_turn(model: ScriptedModel, slug: str = "scripted") -> list[Json]:
        home = sealed / "codex"
        home.mkdir()
        source = json.dumps(str(Path(__file__).parents[2]))
        (home / "config.toml").write_text(
            codex_config(
                model.url,
                model=slug,
                top=UNATTENDED,
                tables=TABLES.format(python=json.dumps(sys.executable), source=source),
            ),
            encoding="utf-8",
        )
        monkeypatch.setenv("CODEX_HOME", str(home))
        monkeypatch.setenv("SCRIPTED_KEY", "none")
        done = subprocess.run(
            [codex, "exec", "--json", "-C", str(repo), "work through one case"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return one_turn


def returned(sent: Json, nth: int) -> Any:
    """What the nth call of the turn returned, as the model sees it."""
    return json.loads(outputs(sent)[nth].partition("Output:\n")[2])


def task_id(sent: Json, nth: int) -> str:
    return str(returned(sent, nth)["task"]["id"])


# Each call's tool, method and parameters; a number stands for the id of the task that the nth call made.
CASE = 5
SEQUENCE: list[tuple[str, str, dict[str, Any]]] = [
    ("orch_session", "workspace.init", {}),
    ("orch_session", "session.open", {"intent": "new_work", "user_request": "Fix the login timeout"}),
    ("orch_task", "task.create", {"level": "epic", "title": "Shop"}),
    ("orch_task", "task.create", {"level": "feature", "title": "Login", "parent_id": 2}),
    ("orch_task", "task.create", {"level": "test_group", "title": "Session", "parent_id": 3}),
    ("orch_task", "task.create", {"level": "case", "title": "Survives refresh", "parent_id": 4, "steps": ["fix"]}),
    ("orch_task", "case.begin", {"case_id": CASE}),
    ("orch_task", "step.check", {"case_id": CASE, "step_title": "fix", "result": "pass"}),
    ("orch_task", "case.complete", {"case_id": CASE, "summary": "fixed"}),
]


def script(only_tool: str | None = None) -> list[Step]:
    """The sequence with the tool that each method belongs to, or with one tool for all."""

    def arguments(method: str, params: dict[str, Any]) -> Callable[[Json], Json]:
        def fill(sent: Json) -> Json:
            ready = {name: task_id(sent, value) if isinstance(value, int) else value for name, value in params.items()}
            return {"method": method, "params": ready}

        return fill

    steps = [call(NAMESPACE, only_tool or tool, arguments(method, params)) for tool, method, params in SEQUENCE]
    return [*steps, say("the case is done")]


@pytest.mark.parametrize("only_tool", [None, "orchestrator_call"], ids=["orch tools", "orchestrator.call"])
def test_codex_works_through_a_case(
    only_tool: str | None,
    run: Callable[..., list[Json]],
    actor: Callable[..., Actor],
    repo: Path,
) -> None:
    with ScriptedModel(script(only_tool)) as model:
        events = run(model)
    calls = [
        one["item"] for one in events if one["type"] == "item.completed" and one["item"]["type"] == "mcp_tool_call"
    ]
    assert [one["arguments"]["method"] for one in calls] == [method for _, method, _ in SEQUENCE]
    refused = [(one["arguments"], one["result"] or one["error"]) for one in calls if one["status"] != "completed"]
    assert not refused
    case_id = task_id(model.requests[-1], CASE)
    case = actor("operator")("task.get", task_id=case_id)["task"]
    assert (case["status"], [step["status"] for step in case["steps"]]) == ("done", ["done"])
    subjects = git("log", "--format=%s", "refs/codestrator/state", at=repo).splitlines()
    assert [line.split()[0] for line in reversed(subjects) if line.startswith(("task.", "case.", "step."))] == [
        method for _, method, _ in SEQUENCE[2:]
    ]


def test_codex_shows_the_model_our_tools_and_instructions(run: Callable[..., list[Json]]) -> None:
    with ScriptedModel([say("nothing to do")]) as model:
        run(model)
    space = next(one for one in model.requests[0]["tools"] if one.get("name") == NAMESPACE)
    assert "work.brief" in space["description"]
    shown = {tool["name"]: tool for tool in space["tools"]}
    assert len(shown) == 10 and "orchestrator_call" in shown
    assert "step.check(result: pass|fail|skip|blocked, " in shown["orch_task"]["description"]


# Questions in the words of somebody who does not know our names, and the tool that has the answer.
SOUGHT = {
    "lock a file before editing": "orch_workspace",
    "where was I after restart": "orch_lifecycle",
    "create a task in the plan": "orch_task",
    "mark a step as passed": "orch_task",
    "merge worktree into parent branch": "orch_workspace",
    "send a message to another agent": "orch_inbox",
    "undo last operation": "orch_system",
    "open a session": "orch_session",
}


def test_a_model_that_has_to_search_for_tools_finds_the_right_one_first(run: Callable[..., list[Json]]) -> None:
    with ScriptedModel([*(search(query) for query in SOUGHT), say("found them")]) as model:
        run(model, "gpt-5.5")
    answers = [item for item in model.requests[-1]["input"] if item.get("type") == "tool_search_output"]
    spaces = [next(one for one in answer["tools"] if one["name"] == NAMESPACE) for answer in answers]
    assert [space["tools"][0]["name"] for space in spaces] == list(SOUGHT.values())
