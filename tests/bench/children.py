"""Children on the real Codex with a scripted model: how soon one reports, how soon it hears, what it costs at rest."""

import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codestrator.clock import parse
from codestrator.runner.agent import AgentSettings
from codestrator.runner.app_server import AppServerAgent
from tests.actors import Actor
from tests.bench.measure import Row, at_most, count_at_most, repository
from tests.journeys.codex_crew import Models, codex_home, ours
from tests.scripted_model import Step, say, silence

ROUNDS = 9
REST_SECONDS = 20.0
DIRECTIVES = 10


def children(folder: Path) -> list[Row]:
    """All that is promised of a child's runner; nothing where there is no Codex."""
    codex = _codex()
    if codex is None:
        print("children: needs the real Codex: pip install 'codestrator[codex]'", file=sys.stderr)
        return []
    with _root(folder, codex) as root:
        return [_start(root, codex), _hears(root, codex), *_rests(root, codex)]


def _codex() -> str | None:
    if find_spec("codex_cli_bin") is None:
        return None
    return str(import_module("codex_cli_bin").bundled_codex_path())


@contextmanager
def _root(folder: Path, codex: str) -> Iterator[Actor]:
    """A root process with a session, a model's server and a tmux server of its own."""
    repo = repository(folder / "shop")
    socket = str(folder / "tmux")
    subprocess.run(["git", "config", "codestrator.tmuxSocket", socket], cwd=repo, check=True)
    asks = ours("thread.child.report", {"question": "What now?"})
    scripts: dict[str, list[Step]] = {"silent": [silence()] * 10, "asks": [asks, say("I wait")]}
    with Models(**scripts) as models:
        os.environ |= codex_home(folder / "codex", models.url, repo)
        root = Actor(repo)
        try:
            root("workspace.init")
            root.open()
            yield root
            for one in root("thread.child.list", include_root=False)["items"]:
                root("thread.child.stop", thread_id=one["thread"]["id"])
        finally:
            root.close()
            subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)


def _spawn(root: Actor, codex: str, model: str) -> dict[str, Any]:
    made = root(
        "thread.child.spawn",
        title=f"Worker {model}",
        runner_kind="codex_app_server",
        codex_command=codex,
        agent_override={"model": model},
    )
    assert made["tmux"]["ready_check"] == "ready", made
    found: dict[str, Any] = made["thread"]
    return found


def _start(root: Actor, codex: str) -> Row:
    """The fastest spawn until the first report, beside Codex alone with our server; in turns."""
    ours_ms, codex_ms = [], []
    for _ in range(ROUNDS):
        begun = root.world.now().at
        thread = _spawn(root, codex, "silent")
        ours_ms.append((parse(thread["started_at"]) - begun).total_seconds() * 1000)
        root("thread.child.stop", thread_id=thread["id"])
        codex_ms.append(_alone(root, codex))
    return at_most("spawn to first report / codex app-server with our server", min(ours_ms), min(codex_ms), 1.3)


def _alone(root: Actor, codex: str) -> float:
    """Codex's app-server with our MCP server, until its thread is open, in milliseconds."""
    settings = AgentSettings(
        program=[codex],
        folder=Path(root.world.repo),
        environment=dict(os.environ),
        mcp_command=[sys.executable, "-m", "codestrator", "--repo", str(root.world.repo), "mcp"],
    )
    agent = AppServerAgent(settings, queue.SimpleQueue())
    begun = time.perf_counter()
    try:
        agent.start()
        return (time.perf_counter() - begun) * 1000
    finally:
        agent.close()


def _hears(root: Actor, codex: str) -> Row:
    """The longest time between a directive's sending and its delivery, while the agent is at work."""
    thread = _spawn(root, codex, "silent")["id"]
    for nth in range(DIRECTIVES):
        root("thread.child.directive", thread_id=thread, directive=f"Mind number {nth}.", mode="queue")
    found = root("thread.directive.list", thread_id=thread, state=["delivered"], wait_seconds=5)["items"]
    end = time.monotonic() + 10
    while len(found) < DIRECTIVES and time.monotonic() < end:
        root.world.wait_for_change(1)
        found = root("thread.directive.list", thread_id=thread, state=["delivered"])["items"]
    assert len(found) == DIRECTIVES
    taken = max((parse(one["delivered_at"]) - parse(one["created_at"])).total_seconds() for one in found)
    root("thread.child.stop", thread_id=thread)
    return count_at_most("directive sent to delivered, the longest of 10", round(taken * 1000), 1000, "ms")


def _rests(root: Actor, codex: str) -> list[Row]:
    """What a runner uses and writes while its child waits for an answer."""
    thread = _spawn(root, codex, "asks")["id"]
    root("thread.child.wait_status", thread_id=thread, target_statuses=["waiting"])
    end = time.monotonic() + 20
    while root("thread.child.status", thread_id=thread)["provider_status"] == "processing" and time.monotonic() < end:
        root.world.wait_for_change(0.5)
    pid = root.world.live.beat(thread).pid  # type: ignore[union-attr]
    used, objects, tips = _cpu_seconds(pid), _objects(root), root.world.store.tips()
    time.sleep(REST_SECONDS)
    percent = (_cpu_seconds(pid) - used) / REST_SECONDS * 100
    written = _objects(root) - objects + (root.world.store.tips() != tips)
    root("thread.child.stop", thread_id=thread)
    return [
        count_at_most(f"idle runner over {REST_SECONDS:g} s", round(percent, 2), 1, "% of a core"),
        Row("git objects written by it meanwhile", str(written), "-", float(written), "= 0", written == 0),
    ]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _objects(root: Actor) -> int:
    return sum(1 for one in (Path(root.world.repo) / ".git" / "objects").rglob("*") if one.is_file())
