"""The MCP server on standard input and output: ten tools over the table, each call in a thread of its own.

It is the only module that imports `mcp`. It knows nothing of what a method does: it unpacks a call, hands it to the
registry and shows the result or the refusal.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from codestrator import __version__, ids, registry, table
from codestrator.calls import Seat
from codestrator.clock import rfc3339
from codestrator.edges import context, descriptions
from codestrator.edges.codex import conversations
from codestrator.edges.unpacking import unpack
from codestrator.errors import CodestratorError, Internal

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

    from codestrator.world import LocalWorld

RENEW_SECONDS = 20.0
# Far above what one agent has under way, so that calls that wait for a lock never hold up one that does not.
CALLS_AT_ONCE = 256
END_SECONDS = 10.0
TOOLS = (*(group.tool for group in table.GROUPS), table.CATCH_ALL)
ANNOTATIONS = types.ToolAnnotations(destructive_hint=False, open_world_hint=False)


def serve(folder: Path, thread_file: Path | None = None) -> None:
    """Answer one client over standard input and output until it closes them.

    As a root that works in `folder`; with a thread's private file as that child; started for a child without a good
    file, only for what reads.
    """
    gc.freeze()  # what was imported stays: never look through it again
    gc.enable()
    asyncio.run(_serve(Desk(folder, _seat(folder, thread_file))))


def _seat(folder: Path, thread_file: Path | None) -> Seat:
    """A root; a child by its file, which must then be good, or by the one its environment names; or a bystander."""
    marks = os.environ if thread_file is None else {context.THREAD_FILE: str(thread_file)}
    if not any(marks.get(name) for name in (context.THREAD_FILE, context.RUNNER_MODE, context.THREAD_ROLE)):
        return Seat("root")
    from codestrator.world import open_world

    world = open_world(folder)
    try:
        return context.marked_seat(world, marks) or Seat("root")
    except CodestratorError as error:
        if thread_file is not None:
            raise
        print(f"codestrator: this server only answers what reads: {error}", file=sys.stderr)
        return Seat("bystander")
    finally:
        world.close()


async def _serve(desk: "Desk") -> None:
    async def list_tools(
        ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[_shown(tool) for tool in descriptions.tools(desk.seat.role, desk.seat.kind)]
        )

    async def call_tool(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"unknown tool '{params.name[:80]}', expected {', '.join(TOOLS)}")
        return await desk.answer(params.name, params.arguments or {}, params.meta)

    server: Server[Any] = Server(
        "codestrator",
        version=__version__,
        title="codestrator",
        instructions=descriptions.instructions(desk.seat.kind),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    _end_tidily_on_signals(desk)
    # While it lasts, file descriptor 1 leads to standard error, for this process and its children.
    async with stdio_server() as (reading, writing):
        try:
            await server.run(Messages(reading, writing), writing, server.create_initialization_options())
        finally:
            desk.close()


def _shown(tool: descriptions.Tool) -> types.Tool:
    return types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema, annotations=ANNOTATIONS)


def _end_tidily_on_signals(desk: "Desk") -> None:
    """Close before ending: the thread that reads standard input cannot be woken, so the loop would never end."""

    def end(number: signal.Signals) -> None:
        desk.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)


class Messages:
    """The messages of a client; a line that is none is answered: its sender would else wait in vain."""

    def __init__(
        self, reading: "ReadStream[SessionMessage | Exception]", writing: "WriteStream[SessionMessage]"
    ) -> None:
        self._reading = reading
        self._writing = writing

    @property
    def last_context(self) -> Any:
        return getattr(self._reading, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        return await self._message(self._reading.receive)

    async def __anext__(self) -> SessionMessage | Exception:
        return await self._message(self._reading.__anext__)

    async def _message(self, take: Callable[[], Awaitable[SessionMessage | Exception]]) -> SessionMessage | Exception:
        while isinstance(item := await take(), Exception):
            if answer := unreadable(item):
                await self._writing.send(SessionMessage(answer))
        return item

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        await self._reading.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def unreadable(error: Exception) -> types.JSONRPCError | None:
    """The answer to a line that is no message, under its id where one can be made out; none for a blank line."""
    errors: Callable[[], list[dict[str, Any]]] | None = getattr(error, "errors", None)  # pydantic's
    told: list[dict[str, Any]] = errors() if errors else [{"input": None, "msg": str(error)}]
    found, code = told[0], types.INVALID_REQUEST
    line = next((one["input"] for one in told if one.get("type") == "missing"), found["input"])  # the whole of it
    if isinstance(line, str) and found.get("type", "json_invalid") == "json_invalid":
        if not line.strip():
            return None
        code = types.PARSE_ERROR
        try:
            line = json.loads(line)  # laxer than the reader: it takes half a character, and deeper values
        except (ValueError, RecursionError):
            line = None
    number = line.get("id") if isinstance(line, dict) else None
    known = number if isinstance(number, int | str) and not isinstance(number, bool) else None
    refusal = types.ErrorData(code=code, message=f"not a message of JSON-RPC 2.0: {found['msg'][:200]}")
    return types.JSONRPCError(jsonrpc="2.0", id=known, error=refusal)


class Desk:
    """This process's side of its calls: its seat, its world, opened when first needed, and the calls under way."""

    def __init__(self, folder: Path, seat: Seat, *, renew_seconds: float = RENEW_SECONDS) -> None:
        self.seat = seat
        self._folder = folder
        self._renew_seconds = renew_seconds
        self._world: LocalWorld | None = None
        self._opening = threading.Lock()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, "call")
        self._under_way: dict[Future[Any], threading.Event] = {}

    async def answer(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> types.CallToolResult:
        """Run one call in a thread; when the client cancels it, the thread is told, and its result is dropped."""
        cancelled = threading.Event()
        call = self._pool.submit(self.call, tool, arguments, cancelled, meta)
        self._under_way[call] = cancelled
        call.add_done_callback(lambda done: self._under_way.pop(done, None))
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        cancelled: threading.Event,
        meta: Mapping[str, Any] | None = None,
    ) -> types.CallToolResult:
        """Run one call here; whatever it raises becomes a refusal. `meta`: what the client says of itself."""
        method = tool
        try:
            method, given = unpack(tool, arguments)
            found = registry.call(self.world().for_call(cancelled), self.seat, method, given)
            conversations.note(self.world(), self.seat, meta)
            return success(found)
        except CodestratorError as error:
            return refusal(error)
        except Exception as error:
            return refusal(self._report(method, error))

    def world(self) -> "LocalWorld":
        """This process's world; where there is no repository each call is refused anew, and may succeed later."""
        with self._opening:
            if self._world is None:
                from codestrator.world import open_world  # the list of tools does not have to wait for git

                self._world = open_world(self._folder)
                threading.Thread(target=self._keep_alive, args=(self._world,), name="renewal", daemon=True).start()
                if self.seat.kind == "root":
                    self._under_way[self._pool.submit(self._recover, self._world)] = self._over
            return self._world

    def _recover(self, world: "LocalWorld") -> None:
        """Settle what dead processes left, beside the calls; the server's end waits for it like for a call.

        Not for a child or a bystander: they judge nobody, and must not find themselves dead.
        """
        try:
            registry.recover(world.for_call(self._over))
        except Exception as error:
            told = error if isinstance(error, CodestratorError) else self._report("recovery", error)
            print(f"codestrator: what dead processes left was not settled: {told}", file=sys.stderr)

    def _keep_alive(self, world: "LocalWorld") -> None:
        """Beat for the sessions that this process is root of, until it ends."""
        while not self._over.wait(self._renew_seconds):
            if not world.there:
                continue  # moved, or its disk is away for a while
            self._settle(world)
            for session_id in tuple(self.seat.sessions):
                try:
                    if world.live.mine(session_id):
                        world.live.renew(session_id)
                except (CodestratorError, OSError) as error:
                    print(f"codestrator: '{session_id}' was not renewed: {error}", file=sys.stderr)

    def _settle(self, world: "LocalWorld") -> None:
        """Make the states of children true whose runner is gone; a child looks after nobody."""
        if self.seat.kind != "root":
            return
        try:
            registry.reconcile(world.for_call(self._over))
        except Exception as error:
            told = error if isinstance(error, CodestratorError) else self._report("reconcile", error)
            print(f"codestrator: children were not looked after: {told}", file=sys.stderr)

    def _report(self, method: str, error: Exception) -> Internal:
        """Write what happened where the user can find it; what the call was given stays out of it."""
        number = ids.mint("op")
        text = f"codestrator {__version__}, {method}, {number}\n" + "".join(traceback.format_exception(error))
        place = None
        try:
            if self._world:
                head = rfc3339(self._world.now().at) + " "
                self._world.files.write(f"reports/{number}.txt", (head + text).encode("utf-8", "backslashreplace"))
                place = str(self._world.files.root / "reports" / f"{number}.txt")
        except CodestratorError as unwritten:
            text += f"{unwritten}\n"
        if place is None:
            print(text, file=sys.stderr)
        return Internal(
            f"'{method[:80]}' met something unforeseen ({type(error).__name__}), nothing was published",
            hint="Read the report and send it to the project; other calls go on working.",
            report=place or "standard error",
        )

    def close(self) -> None:
        """Cancel what waits, let what acts come to its end for a while, then write notes and give all locks back."""
        if self._over.is_set():
            return
        self._over.set()
        left = dict(self._under_way)
        for cancelled in left.values():
            cancelled.set()
        wait(left, timeout=END_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._world:
            self._world.close()


def success(found: Mapping[str, Any]) -> types.CallToolResult:
    line, plain = _as_json(found)
    return types.CallToolResult(content=[types.TextContent(type="text", text=line)], structured_content=plain)


def refusal(error: CodestratorError) -> types.CallToolResult:
    """The error object, and for a model that reads text only its code, message and hint."""
    _, plain = _as_json(error.as_dict())
    told = f"{plain['code']}: {plain['message']}" + (f"\n{plain['hint']}" if "hint" in plain else "")
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=told)], structured_content=plain, is_error=True
    )


def _as_json(found: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """One line of JSON and the plain values it holds; a half of a character (a file name can have one) becomes `?`."""
    try:
        encoded = msgspec.json.encode(found)
    except UnicodeEncodeError:
        encoded = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    plain: dict[str, Any] = msgspec.json.decode(encoded)
    return encoded.decode(), plain
