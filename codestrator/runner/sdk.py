"""An agent of the OpenAI Agents SDK that leads one Codex, which it holds as a tool.

Its own instructions are those of its role file; the guide of its role is Codex's, which does the work.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from typing import Any

import openai
from agents import Agent, RunConfig, Runner, RunResultStreaming, set_tracing_disabled
from agents.exceptions import MaxTurnsExceeded
from agents.mcp import MCPServerManager, MCPServerStdio, create_static_tool_filter
from agents.models.openai_provider import OpenAIProvider

from codestrator import guides, table, text
from codestrator.errors import CodestratorError, External, InvalidParams
from codestrator.runner.agent import AgentSettings, Event, Events, Gone, Said, Tokens, TurnEnded, TurnStarted
from codestrator.runner.bridge import CodexBridge
from codestrator.runner.heard import Heard, mended
from codestrator.runner.program import surroundings

START_SECONDS = 130.0  # Codex and our MCP server come up side by side, each within its own limit
CONNECT_SECONDS = 60.0
REACH_SECONDS = 20.0
CALL_SECONDS = 120.0
LOOK_SECONDS = 5.0
CUT_SECONDS = 9.0
CLOSE_SECONDS = 4.5
MODEL_CALLS = 100  # in one turn
LASTING_STATUS = frozenset({400, 401, 403, 404, 422})
# No model may call a tool of this name; the other tools offer the same methods.
NAMES_NO_MODEL_TAKES = ["orchestrator.call"]


class SdkAgent:
    """The agent as its driver sees it; it lives in a thread of its own, its conversation outlives that."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        self._events = events
        self._life = Life(settings, events.put)
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self) -> None:
        set_tracing_disabled(True)  # else the SDK sends what the agent does to OpenAI
        self._up()

    def begin(self, prompt: str) -> None:
        if not self._life.order(lambda: self._life.begin(prompt)):
            self._events.put(Gone(self._life.status))

    def interrupt(self) -> None:
        self._life.order(self._life.interrupt)

    def resume(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._up()

    def close(self) -> int | None:
        self._closing = True
        self._life.order(self._life.end)
        if self._thread:
            self._thread.join(CLOSE_SECONDS + 0.4)
        return self._life.status

    def _up(self) -> None:
        ready = Future[None]()
        self._thread = threading.Thread(target=self._live, args=(ready,), name="agents sdk", daemon=True)
        self._thread.start()
        try:
            ready.result(START_SECONDS)
        except NotInTime:
            self.close()
            raise External(
                f"the agent was not up after {START_SECONDS:g} s, expected Codex and its tools to start",
                hint="Look at the thread's log; doctor.check tells whether Codex works here.",
                program="codex",
            ) from None

    def _live(self, ready: Future[None]) -> None:
        """In the thread: the whole life. Its end is news unless it was asked for or told as a bad start."""
        try:
            asyncio.run(self._life.live(ready))
        except asyncio.CancelledError:
            pass
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
                return
            self._events.put(Said(f"! {text.one_line(repr(error))}"))
        if not self._closing:
            self._events.put(Gone(self._life.status))


class Life:
    """The agent inside its event loop; only `order` may be called from elsewhere."""

    def __init__(self, settings: AgentSettings, tell: Callable[[Event], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._environment = surroundings(settings.environment)
        role = self._environment.get("CODESTRATOR_THREAD_ROLE") or table.WORKER
        self._role = guides.role_file(role, settings.repo)
        self._model_calls = _model_calls(settings.override)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[Any] | None = None
        self._history: list[Any] = []
        self._turns = 0
        self._used = self._used_by_codex = 0
        self.status: int | None = None

    def order(self, what: Callable[[], object]) -> bool:
        """Have something done in the loop; whether there is one."""
        loop = self._loop
        with suppress(RuntimeError):  # it has just been closed
            if loop:
                loop.call_soon_threadsafe(what)
                return True
        return False

    def begin(self, prompt: str) -> None:
        self._cut = asyncio.Event()
        self._prompts.put_nowait((prompt, self._cut))

    def interrupt(self) -> None:
        self._cut.set()

    def end(self) -> None:
        if self._main:
            self._main.cancel()

    async def live(self, ready: "Future[None]") -> None:
        """Bring everything up, work through the turns that are begun, end everything."""
        self._prompts = asyncio.Queue[tuple[str, asyncio.Event]]()
        self._cut = asyncio.Event()
        self._main = asyncio.current_task()
        self._bridge = CodexBridge(self._settings, self._told_by_codex)
        self._servers = self._our_servers()
        self._client = self._model_server()
        self._loop = asyncio.get_running_loop()
        try:
            await self._up()
            ready.set_result(None)
            while True:
                await self._turn(*await self._prompts.get())
        finally:
            self._loop = None
            await self._close()

    async def _up(self) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._bridge.connect())
                both.create_task(self._servers.connect_all())
        except BaseExceptionGroup as group:
            raise _bad_start(group) from None
        self._agent = Agent(
            name=self._role.display_name,
            instructions=self._role.instructions,
            model=self._settings.model or self._role.model or self._environment.get("OPENAI_DEFAULT_MODEL") or None,
            mcp_servers=[self._bridge, *self._servers.active_servers],
        )

    async def _close(self) -> None:
        """All at once, within the limit; what is not over then goes with the process."""
        codex = asyncio.create_task(self._bridge.close())
        rest = [asyncio.create_task(one) for one in (self._servers.cleanup_all(), self._client.close())]
        await asyncio.wait({codex, *rest}, timeout=CLOSE_SECONDS)
        if codex.done() and not codex.cancelled() and not codex.exception():
            self.status = codex.result()

    def _our_servers(self) -> MCPServerManager:
        servers = []
        if self._settings.mcp_command:
            program, *arguments = self._settings.mcp_command
            server = MCPServerStdio(
                {
                    "command": program,
                    "args": arguments,
                    "cwd": self._settings.folder,
                    # It must not import what the agent wrote into its working folder.
                    "env": self._environment | {"PYTHONSAFEPATH": "1"},
                },
                name="codestrator",
                client_session_timeout_seconds=CALL_SECONDS,
                tool_filter=create_static_tool_filter(blocked_tool_names=NAMES_NO_MODEL_TAKES),
            )
            servers.append(server)
        return MCPServerManager(
            servers,
            connect_timeout_seconds=CONNECT_SECONDS,
            cleanup_timeout_seconds=CLOSE_SECONDS,
            strict=True,
            connect_in_parallel=True,
        )

    def _model_server(self) -> openai.AsyncOpenAI:
        """The one that the environment names; one of somebody's own may need no key."""
        return openai.AsyncOpenAI(
            api_key=self._environment.get("OPENAI_API_KEY", "").strip() or "none",
            base_url=self._environment.get("OPENAI_BASE_URL", "").strip() or None,
            timeout=openai.Timeout(self._settings.idle_seconds, connect=REACH_SECONDS),
        )

    async def _turn(self, prompt: str, cut: asyncio.Event) -> None:
        """One turn, which ends by itself or is cut off; either way it is remembered."""
        self._turns += 1
        self._tell(TurnStarted(f"turn-{self._turns}"))
        talk = Talk(Heard(self._tell, self._settings.log), [*self._history, {"role": "user", "content": prompt}])
        task = asyncio.create_task(self._talked(talk))
        cutter = asyncio.create_task(cut.wait())
        try:
            await asyncio.wait({task, cutter}, return_when=asyncio.FIRST_COMPLETED)
            end = task.result() if task.done() else await self._cut_off(task)
        finally:
            task.cancel()
            cutter.cancel()
        self._history = talk.remembered(self._bridge.conversation)
        self._count(talk)
        self._tell(end)

    async def _cut_off(self, task: "asyncio.Task[TurnEnded]") -> TurnEnded:
        task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CUT_SECONDS):
                await asyncio.wait({task})
                await self._bridge.quiet()
        return TurnEnded("interrupted")

    async def _talked(self, talk: "Talk") -> TurnEnded:
        try:
            await self._look_at_servers()
            talk.result = result = Runner.run_streamed(
                self._agent,
                talk.given,
                max_turns=self._model_calls,
                run_config=RunConfig(
                    model_provider=OpenAIProvider(openai_client=self._client, use_responses=True),
                    tracing_disabled=True,
                ),
            )
            async for event in result.stream_events():
                talk.heard.event(event)
                self._count(talk)
            return TurnEnded("completed", str(result.final_output or ""))
        except asyncio.CancelledError:
            if talk.result:
                talk.result.cancel()
            raise
        except MaxTurnsExceeded:
            words = f"the agent called its model {self._model_calls} times in this turn, which is its limit"
            return TurnEnded("failed", error=f"{words} (max_turns in agent_override)", lasting=True)
        except Exception as error:
            return TurnEnded("failed", error=self._words(error), lasting=_lasting(error))

    def _words(self, error: Exception) -> str:
        words = text.one_line(str(error)) or repr(error)
        if isinstance(error, openai.APIConnectionError):
            words += f" ({self._client.base_url}: {text.one_line(str(error.__cause__ or 'no answer'))})"
        return words

    async def _look_at_servers(self) -> None:
        """Our MCP server may be gone since the last turn."""
        for server in self._servers.active_servers:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await server.list_tools()
            except Exception:
                await self._servers.reconnect(failed_only=False)

    def _told_by_codex(self, event: Event) -> None:
        if isinstance(event, Tokens):
            self._used_by_codex = event.used
            self._tell(Tokens(self._used + self._used_by_codex))
        else:
            self._tell(event)

    def _count(self, talk: "Talk") -> None:
        more = talk.uncounted()
        if more:
            self._used += more
            self._tell(Tokens(self._used + self._used_by_codex))


class Talk:
    """One turn's run: what it was given, what is heard of it."""

    def __init__(self, heard: Heard, given: list[Any]) -> None:
        self.heard = heard
        self.given = given
        self.result: RunResultStreaming | None = None
        self._counted = 0

    def uncounted(self) -> int:
        """Tokens used since this was last asked."""
        before = self._counted
        self._counted = self.result.context_wrapper.usage.total_tokens if self.result else 0
        return self._counted - before

    def remembered(self, conversation: str) -> list[Any]:
        """The conversation with this turn in it."""
        note = "This call was broken off."
        if conversation:
            note += f" Codex keeps what it did: to go on, call codex-reply with threadId: {conversation}"
        return mended(self.result.to_input_list() if self.result else self.given, self.heard.items, note)


def _model_calls(override: Mapping[str, Any]) -> int:
    found = override.get("max_turns", MODEL_CALLS)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise InvalidParams(
            f"'agent_override' has max_turns {found!r}, expected a whole number from 1",
            hint="Leave it out for the default.",
            field="agent_override",
            found=str(found),
        )
    return found


def _lasting(error: Exception) -> bool:
    """Whether the model server would answer the same again."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in LASTING_STATUS or error.code == "insufficient_quota"
    return False


def _bad_start(error: BaseException) -> CodestratorError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CodestratorError):
        return error
    return External(
        f"the agent's tools did not come up: {text.one_line(str(error)) or repr(error)}, expected their server",
        hint="Try the server by hand: `git codestrator mcp` in the worktree.",
        program="git-codestrator",
    )
