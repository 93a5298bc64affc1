"""Codex as two tools of an agent of the Agents SDK: `codex` begins a conversation, `codex-reply` goes on in one.

The tools take what those of `codex mcp-server` took, which current Codex has no more. They are served in this
process, over one app-server; it works in one conversation at a time, so calls that come together take turns.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
from agents.mcp import MCPServer
from mcp.types import CallToolResult, GetPromptResult, ListPromptsResult, TextContent, Tool
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from codestrator import text
from codestrator.decoding import convert
from codestrator.errors import CodestratorError, Forbidden, InvalidParams, NotFound
from codestrator.runner.agent import AgentSettings, Event, Events, Gone, Said, Tokens, TurnEnded
from codestrator.runner.conversations import Conversations

SANDBOXES = ("read-only", "workspace-write", "danger-full-access")  # each allows what those before it do
ASK_AGAIN_SECONDS = 0.2
Words = Annotated[str, Meta(min_length=1, description="What Codex is to do, in full: it sees nothing else of yours.")]


class Tuning(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Codex settings that a call may change; those that say what Codex may do are not among them."""

    model_reasoning_effort: str | None = None
    model_reasoning_summary: str | None = None
    model_verbosity: str | None = None


class Start(Struct, forbid_unknown_fields=True, rename="kebab"):
    prompt: Words
    cwd: Annotated[str | None, Meta(description="Folder to work in, inside the worktree. Default: the worktree.")] = (
        None
    )
    model: Annotated[str | None, Meta(description="Codex's model. Default: as configured.")] = None
    sandbox: Annotated[
        Literal["read-only", "workspace-write", "danger-full-access"] | None,
        Meta(description="At most what this agent was given, which is the default."),
    ] = None
    approval_policy: Annotated[
        Literal["never"] | None, Meta(description="Nobody is there to approve: what is not allowed is refused.")
    ] = None
    config: Annotated[Tuning | None, Meta(description="Codex settings for this conversation.")] = None
    base_instructions: Annotated[str | None, Meta(description="Replaces Codex's own instructions.")] = None
    developer_instructions: Annotated[str | None, Meta(description="Added to Codex's instructions.")] = None


class Reply(Struct, forbid_unknown_fields=True):
    prompt: Words
    conversation: Annotated[str, Meta(description="The threadId that `codex` returned.")] = field(name="threadId")


TOOLS: dict[str, tuple[type[Start] | type[Reply], str]] = {
    "codex": (
        Start,
        "Let Codex, a coding agent, work in the worktree until it is done. Returns its last words and a threadId.",
    ),
    "codex-reply": (Reply, "Go on in a conversation with Codex. It remembers all of it."),
}


class CodexBridge(MCPServer):
    """The two tools; what Codex says and uses while one is called goes to `tell`, from any thread."""

    def __init__(self, settings: AgentSettings, tell: Callable[[Event], None]) -> None:
        super().__init__()
        self._settings = settings
        self._tell = tell
        self._heard: Events = queue.SimpleQueue()
        model = settings.override.get("codex_model")
        self._codex = Conversations(replace(settings, model=str(model) if model else None), self._heard)
        self._hands = ThreadPoolExecutor(1, "codex")  # what blocks is done by it, one thing after another
        self._one = asyncio.Lock()
        self._end: asyncio.Future[TurnEnded | Gone] | None = None
        self._ears: threading.Thread | None = None
        self._used: dict[str, int] = {}
        self._closing = False

    @property
    def name(self) -> str:
        return "codex"

    @property
    def conversation(self) -> str:
        """The threadId of the conversation that was last worked in."""
        return self._codex.at_hand

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._ears = threading.Thread(target=self._listen, args=(loop,), name="codex ears", daemon=True)
        self._ears.start()
        await loop.run_in_executor(self._hands, self._codex.start)

    async def cleanup(self) -> None:
        await self.close()

    async def close(self) -> int | None:
        """End Codex and all that it started; its exit status."""
        self._closing = True
        idle = asyncio.create_task(asyncio.to_thread(self._hands.shutdown, cancel_futures=True))
        status = await asyncio.to_thread(self._codex.close)
        while not idle.done():  # it was coming up, and may be there only now
            await asyncio.wait({idle}, timeout=ASK_AGAIN_SECONDS)
            status = await asyncio.to_thread(self._codex.close)
        self._heard.put(None)
        if self._ears:
            await asyncio.to_thread(self._ears.join, 1.0)
        return status

    async def quiet(self) -> None:
        """Wait until no call is being worked on."""
        async with self._one:
            pass

    async def list_tools(self, run_context: Any = None, agent: Any = None) -> list[Tool]:
        return [Tool(name=name, description=about, input_schema=_schema(kind)) for name, (kind, about) in TOOLS.items()]

    async def call_tool(
        self, tool_name: str, arguments: dict[str, Any] | None, meta: dict[str, Any] | None = None
    ) -> CallToolResult:
        """One turn of Codex; cancelling the call ends the turn, for which `quiet` waits."""
        cut = asyncio.Event()
        work = asyncio.create_task(self._called(tool_name, arguments or {}, cut))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cut.set()
            raise

    async def list_prompts(self) -> ListPromptsResult:
        return ListPromptsResult(prompts=[])

    async def get_prompt(self, name: str, arguments: dict[str, Any] | None = None) -> GetPromptResult:
        raise NotFound(f"no prompt '{name}', expected none to be asked for", hint="Use the tools.", kind="prompt")

    async def _called(self, tool: str, arguments: dict[str, Any], cut: asyncio.Event) -> CallToolResult:
        try:
            call = self._understood(tool, arguments)
            async with self._one:
                return await self._turn(call, cut)
        except CodestratorError as error:
            return _refusal(f"{error.message}. {error.hint or ''}".strip())

    async def _turn(self, call: Start | Reply, cut: asyncio.Event) -> CallToolResult:
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        breaking = asyncio.create_task(self._break_off(cut))
        try:
            await loop.run_in_executor(self._hands, self._begin, call, cut)
            return _result(await self._end, self.conversation)
        finally:
            breaking.cancel()
            self._end = None

    def _understood(self, tool: str, arguments: dict[str, Any]) -> Start | Reply:
        kind, _ = TOOLS.get(tool, (None, ""))
        if kind is None:
            raise NotFound(f"no tool '{tool}', expected one of: {', '.join(TOOLS)}", kind="tool", id=tool)
        try:
            call = convert(arguments, kind)
        except msgspec.ValidationError as error:
            raise InvalidParams(f"{tool}: {error}", hint="Call it again as its schema says.") from None
        if isinstance(call, Reply) and not self._codex.known(call.conversation):
            raise NotFound(
                f"no conversation '{text.one_line(call.conversation)[:80]}', expected a threadId that codex returned",
                hint="Begin one with codex.",
                kind="threadId",
            )
        return call

    def _begin(self, call: Start | Reply, cut: asyncio.Event) -> None:
        """What comes before the turn may take long, so a call that is given up meanwhile begins none."""
        prompt = call.prompt
        if isinstance(call, Reply):
            self._codex.go_on(call.conversation)
        else:
            prompt = self._placed(call)
            self._codex.begin_anew(_chosen(call, self._settings))
        if cut.is_set() or self._closing:
            self._heard.put(TurnEnded("interrupted"))
            return
        self._tell(Said(f"> codex: {text.shorten(text.one_line(prompt), 200)}"))
        self._codex.begin(prompt)

    def _placed(self, call: Start) -> str:
        """The prompt, with the folder to work in: Codex itself, given one, would write it down as trusted."""
        folder = self._settings.folder.resolve()
        place = (folder / (call.cwd or "")).resolve()
        if not place.is_relative_to(folder) or not place.is_dir():
            raise InvalidParams(
                f"codex: cwd '{text.one_line(call.cwd or '')[:200]}' is no folder inside '{folder}'",
                hint="Leave cwd out to work in the worktree.",
                field="cwd",
            )
        return call.prompt if place == folder else f"Work in the folder `{place.relative_to(folder)}`.\n\n{call.prompt}"

    async def _break_off(self, cut: asyncio.Event) -> None:
        """A turn that has not yet begun cannot be ended: ask until it is."""
        await cut.wait()
        while True:
            self._codex.interrupt()
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: hand on what Codex says."""
        while (event := self._heard.get()) is not None:
            if isinstance(event, Said):
                self._tell(event)
            elif isinstance(event, Tokens):
                self._used[self.conversation] = event.used
                self._tell(Tokens(sum(self._used.values())))
            elif isinstance(event, TurnEnded | Gone):
                loop.call_soon_threadsafe(self._ended, event)

    def _ended(self, end: TurnEnded | Gone) -> None:
        if self._end and not self._end.done():
            self._end.set_result(end)


def _schema(kind: type[Start] | type[Reply]) -> dict[str, Any]:
    _, shapes = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = shapes.pop(kind.__name__)
    return schema | ({"$defs": shapes} if shapes else {})


def _chosen(call: Start, settings: AgentSettings) -> dict[str, Any]:
    """What a conversation is begun with, in the app-server's words; the guide goes to each."""
    most = settings.sandbox
    if call.sandbox and SANDBOXES.index(call.sandbox) > SANDBOXES.index(most):
        raise Forbidden(
            f"codex: sandbox '{call.sandbox}' allows more than this agent was given, expected at most '{most}'",
            hint="Leave sandbox out.",
            needs=most,
        )
    chosen = {
        "model": call.model,
        "sandbox": call.sandbox,
        "config": msgspec.to_builtins(call.config) if call.config else None,
        "baseInstructions": call.base_instructions,
        "developerInstructions": call.developer_instructions
        and "\n\n".join(filter(None, (settings.instructions, call.developer_instructions))),
    }
    return {name: value for name, value in chosen.items() if value}


def _result(end: TurnEnded | Gone, conversation: str) -> CallToolResult:
    """For the model, which sees only the text and goes on with the threadId."""
    go_on = f"threadId: {conversation} (to go on in this conversation, call codex-reply with it)"
    if isinstance(end, TurnEnded) and end.outcome == "completed":
        words = TextContent(type="text", text=f"{end.message}\n\n{go_on}".strip())
        return CallToolResult(content=[words], structured_content={"threadId": conversation, "content": end.message})
    if isinstance(end, Gone):
        return _refusal(f"Codex ended with status {end.status} in the middle of its turn. {go_on}")
    if end.outcome == "interrupted":
        return _refusal(f"Codex's turn was interrupted. {go_on}")
    again = "Trying again is of no use: say so and end." if end.lasting else go_on
    return _refusal(f"Codex's turn failed: {end.error}. {again}")


def _refusal(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=words)], is_error=True)
