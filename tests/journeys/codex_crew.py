"""A root that is a real Codex, and children that are: each led by a script of its own, by the name of its model."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from codestrator import table
from codestrator.world import processes
from tests.conftest import ended
from tests.scripted_model import UNATTENDED, Json, ScriptedModel, Step, codex_config, outputs, say

NAMESPACE = "mcp__codestrator"
ROOT = "root"
MARK = "CODESTRATOR_THREAD_ID"
FIFO_SECONDS = 60
TABLES = """\
[projects.{repo}]
trust_level = "trusted"
[mcp_servers.codestrator]
command = {python}
args = ["-m", "codestrator", "mcp"]
env_vars = {passed_on}
required = true
startup_timeout_sec = 60
tool_timeout_sec = 60
"""
Params = Mapping[str, Any]
NOTHING: Params = {}


class Models(ScriptedModel):
    """One server, a script for each model."""

    def __init__(self, **scripts: Sequence[Step]) -> None:
        left = {name: iter(steps) for name, steps in scripts.items()}
        over = say("the script is at its end")
        super().__init__([lambda sent: next(left.get(sent["model"], iter(())), over)(sent)] * 1000)

    def sent_by(self, name: str) -> list[Json]:
        """What the agent with that model sent."""
        return [one for one in self.requests if one["model"] == name]


def ours(method: str, params: Params | Callable[[Json], Params] = NOTHING, *, bare: bool = False) -> Step:
    """A call of one of our methods; an agent of the Agents SDK knows no namespaces."""

    def step(sent: Json) -> Json:
        given = params(sent) if callable(params) else params
        place = {} if bare else {"namespace": NAMESPACE}
        arguments = json.dumps({"method": method, "params": given})
        return {
            "type": "function_call",
            "name": table.TOOL_OF[method],
            "arguments": arguments,
            "status": "completed",
        } | place

    return step


def use(tool: str, **arguments: Any) -> Step:
    """A call of a tool of the Agents SDK's agent."""
    return lambda sent: _call(tool, arguments)


def run(command: str) -> Step:
    """A command for the end of which Codex waits as long as it may."""
    return lambda sent: _call("exec_command", {"cmd": command, "yield_time_ms": 30000})


def _call(tool: str, arguments: Params) -> Json:
    return {"type": "function_call", "name": tool, "arguments": json.dumps(arguments), "status": "completed"}


def returned(sent: Json, nth: int) -> Any:
    """What the nth call of the conversation returned."""
    found = outputs(sent)[nth]
    return json.loads(found.partition("Output:\n")[2] or found)


def prompts(sent: Json) -> list[str]:
    """What the agent was told, turn by turn."""
    return [
        "".join(part.get("text", "") for part in item["content"])
        if isinstance(item["content"], list)
        else item["content"]
        for item in sent["input"]
        if item.get("role") == "user"
    ]


def case_of(sent: Json) -> str:
    """The case that the agent was given."""
    told = [re.search(r"scope, cases: (case-\w+)", one) for one in prompts(sent)]
    return next(one[1] for one in told if one)


class Fifos:
    """Places where a script and a command meet: one waits until the other has come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[int] = []
        self.kept: dict[str, str] = {}

    def __call__(self, name: str) -> Path:
        place = self._folder / name
        if not place.exists():
            os.mkfifo(place)
        return place

    def met(self, name: str) -> str:
        """What a command wrote, once it has."""
        handle = os.open(self(name), os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert select.select([handle], [], [], FIFO_SECONDS)[0], f"nobody wrote to '{name}'"
            return os.read(handle, 1000).decode()
        finally:
            os.close(handle)

    def let(self, name: str) -> None:
        """Let a command go on that reads a line there, now or later."""
        self._open.append(os.open(self(name), os.O_RDWR))
        os.write(self._open[-1], b"go\n")

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)


def nothing_runs(threads: Sequence[str]) -> bool:
    """Whether no process of these children is left; a runner has told that it ended just before it does."""
    left = [pid for one in threads for pid in processes.marked(MARK, one)]
    return all(ended(pid, 5) for pid in left) and not [pid for one in threads for pid in processes.marked(MARK, one)]


def codex_home(place: Path, url: str, repo: Path) -> dict[str, str]:
    """Root and children have one home of Codex; the environment that names it."""
    place.mkdir()
    given = {
        "CODEX_HOME": str(place),
        "SCRIPTED_KEY": "none",
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    passed_on = sorted({*given, "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "HOME", "XDG_CONFIG_HOME"})
    tables = TABLES.format(
        repo=json.dumps(str(repo)), python=json.dumps(sys.executable), passed_on=json.dumps(passed_on)
    )
    text = codex_config(url, model=ROOT, top=UNATTENDED, silent_ms=60_000, tables=tables)
    (place / "config.toml").write_text(text, encoding="utf-8")
    return given


def codex_exec(codex: str, repo: Path, seconds: float = 240) -> list[Json]:
    """One turn of the root; its events."""
    done = subprocess.run(
        [codex, "exec", "--json", "-C", str(repo), "work through two cases with two workers"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
