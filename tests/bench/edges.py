"""What a person and an agent wait for: the screens, the server's start, a call, and the server's memory."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.bench.fill import fill
from tests.bench.measure import Row, at_most, count_at_most, process_ms, python, repository

PROGRAM = [sys.executable, "-m", "codestrator"]

# A server with one tool that does nothing, on the same SDK and the same class as ours.
BARE = """
import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
import mcp_types as types

async def list_tools(ctx, params):
    schema = {"type": "object", "properties": {}}
    return types.ListToolsResult(tools=[types.Tool(name="nothing", description="Does nothing.", input_schema=schema)])

async def call_tool(ctx, params):
    return types.CallToolResult(content=[types.TextContent(type="text", text="{}")], structured_content={})

server = Server("bare", on_list_tools=list_tools, on_call_tool=call_tool)

async def main():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""


class Wire:
    """A server process spoken to in raw JSON-RPC lines, so that no client's own time is measured."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._number = 0

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while True:
            answer: dict[str, Any] = json.loads(_pipe(self.process.stdout).readline())
            if answer.get("id") == self._number:
                return answer

    def _send(self, message: dict[str, Any]) -> None:
        pipe = _pipe(self.process.stdin)
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    def start(self) -> float:
        """Milliseconds from the process's start to the answer of `tools/list`."""
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.ask("initialize", client)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.ask("tools/list", {})
        return (time.perf_counter() - self.begun) * 1000

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert not answer["result"].get("isError"), answer
        found: dict[str, Any] = answer["result"]["structuredContent"]
        return found

    def peak_kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    def stop(self) -> None:
        _pipe(self.process.stdin).close()
        self.process.wait(10)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def screens(folder: Path) -> list[Row]:
    """`status`, `brief` and `report` at 10,000 tasks beside the imports that they need; `-h` beside click."""
    repo = repository(folder / "repo")
    world = fill(repo, 10_000)
    world.close()
    session = _open(repo)
    base, status, brief, following, report = process_ms(
        python("import pygit2, click"),
        [*PROGRAM, "status"],
        [*PROGRAM, "brief", "--session", session],
        [*PROGRAM, "next", "--session", session],
        [*PROGRAM, "report", "-o", "-"],
        cwd=repo,
    )
    click, short = process_ms(python("import click"), [*PROGRAM, "-h"], cwd=repo)
    return [
        at_most("status at 10,000 tasks beside importing pygit2, click", status, base, 1.6),
        at_most("brief at 10,000 tasks beside importing pygit2, click", brief, base, 1.6),
        at_most("next at 10,000 tasks beside importing pygit2, click", following, base, 1.6),
        at_most("report at 10,000 tasks beside importing pygit2, click", report, base, 6),
        at_most("-h beside importing click", short, click, 1.5),
    ]


def _open(repo: Path) -> str:
    opened = subprocess.run(
        [*PROGRAM, "--json", "session", "open"], cwd=repo, check=True, capture_output=True, text=True
    ).stdout
    session: str = json.loads(opened)["result"]["session_context"]["session"]["id"]
    return session


def server(folder: Path) -> list[Row]:
    """From start to `tools/list`, and one `lock.acquire`, beside a server that does nothing."""
    repo = repository(folder / "repo")
    fill(repo, 1_000).close()
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(9):
        for command, found in (([*PROGRAM, "mcp"], ours), (python(BARE), bare)):
            wire = Wire(command, repo)
            found.append(wire.start())
            wire.stop()
    acquire, empty, mutation = _round_trips(repo)
    return [
        at_most("start to tools/list beside a bare server", min(ours), min(bare), 1.15),
        at_most("lock.acquire beside an empty call + 2 mutations", acquire, empty + 2 * mutation, 1.0),
    ]


def economy(folder: Path) -> list[Row]:
    """What an agent reads of its server: the tools with the instructions, and all results of one session."""
    from tests.edges import economy
    from tests.edges.wire import Wire as Client

    repo = repository(folder / "repo")

    def work(place: Path) -> str:
        (place / "login.py").write_text("x = 1\n", encoding="utf-8")
        for words in (["add", "."], ["commit", "-qm", "work"]):
            subprocess.run(["git", *words], cwd=place, check=True)
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=place, check=True, capture_output=True, text=True
        ).stdout.strip()

    one = Client(repo)
    try:
        surface = economy.surface(one)
        results = [(method, economy.tokens(result)) for method, result in economy.session(one, repo, work)]
    finally:
        one.finish()
    for method, size in results:
        print(f"economy: {method}: {size} tokens", file=sys.stderr)
    whole = sum(size for _, size in results)
    return [
        count_at_most("instructions and ten tools", surface, 3500, "tokens"),
        count_at_most(f"results of the {len(results)} calls of a session", whole, 3700, "tokens"),
    ]


def _round_trips(repo: Path) -> tuple[float, float, float]:
    """Median milliseconds of lock.acquire, of an empty call, and of one mutation in the library."""
    from tests.bench.store import toucher

    world = fill(repo, 1)
    touch = toucher(world.store)
    ours, bare = Wire([*PROGRAM, "mcp"], repo), Wire(python(BARE), repo)
    ours.start()
    bare.start()
    ours.call("orch_session", method="session.open", params={"user_request": "bench"})
    taken: dict[str, list[float]] = {"acquire": [], "empty": [], "mutation": []}
    for number in range(150):
        scope = {"scope_type": "file", "scope_path": f"src/{number}.py"}
        acts: dict[str, Callable[[], object]] = {
            "acquire": partial(ours.call, "orch_workspace", method="lock.acquire", params=scope),
            "empty": lambda: bare.call("nothing"),
            "mutation": touch,
        }
        for name, act in acts.items():
            begun = time.perf_counter()
            act()
            taken[name].append((time.perf_counter() - begun) * 1000)
    ours.stop()
    bare.stop()
    world.close()
    return tuple(statistics.median(taken[name]) for name in ("acquire", "empty", "mutation"))  # type: ignore[return-value]


def memory(folder: Path) -> list[Row]:
    """The server's peak memory after listing everything, beside a server that does nothing."""
    if not Path("/proc/self/status").exists():
        return []
    bare = Wire(python(BARE), folder)
    bare.start()
    limit = bare.peak_kilobytes() / 1024
    bare.stop()
    rows = []
    for tasks, bar in ((1_000, 1.5), (10_000, 3.0)):
        repo = repository(folder / str(tasks))
        fill(repo, tasks).close()
        wire = Wire([*PROGRAM, "mcp"], repo)
        wire.start()
        wire.call("orch_session", method="session.open", params={"user_request": "bench"})
        more: dict[str, Any] = {}
        while True:
            page = wire.call("orch_task", method="task.list", params={"limit": 1000} | more)
            if "next_cursor" not in page:
                break
            more = {"cursor": page["next_cursor"]}
        rows.append(at_most(f"peak memory with {tasks:,} tasks", wire.peak_kilobytes() / 1024, limit, bar, "MB"))
        wire.stop()
    return rows
