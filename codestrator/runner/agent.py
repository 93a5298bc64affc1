"""What the runner asks of an agent's program, whatever its kind, and what it hears from it."""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct


class TurnStarted(NamedTuple):
    turn_id: str


class Said(NamedTuple):
    """Readable progress, for the pane."""

    text: str


class Tokens(NamedTuple):
    """Tokens used so far, in all."""

    used: int


class TurnEnded(NamedTuple):
    """A turn's end: the agent's last words, or what went wrong; `lasting` where trying again is of no use."""

    outcome: Literal["completed", "interrupted", "failed"]
    message: str = ""
    error: str = ""
    lasting: bool = False


class Gone(NamedTuple):
    """The agent's program is over without having been asked to end."""

    status: int | None


Event = TurnStarted | Said | Tokens | TurnEnded | Gone
Events = queue.SimpleQueue[Any]  # the driver puts its own signals into the same queue


class AgentSettings(Struct, kw_only=True):
    """What an agent is brought up with."""

    program: list[str]
    folder: Path
    environment: dict[str, str]
    instructions: str = ""
    model: str | None = None
    sandbox: str = "workspace-write"
    writable_roots: list[str] = []
    mcp_command: list[str] = []
    override: dict[str, Any] = {}
    idle_seconds: float = 600
    repo: Path | None = None  # which may have role files of its own
    log: Callable[[str], None] = lambda line: None


class Agent(Protocol):
    """One agent's program; its reader threads put events into the queue that its constructor was given."""

    def start(self) -> None:
        """Bring the program up, bounded in time; `External` says what to do where it cannot."""
        ...

    def begin(self, prompt: str) -> None:
        """Start a turn; only when none runs."""
        ...

    def interrupt(self) -> None:
        """Cancel the turn that runs; returns at once, and `TurnEnded` follows within 10 s whatever the program does."""
        ...

    def resume(self) -> None:
        """Bring a program that is gone up again, with the same conversation."""
        ...

    def close(self) -> int | None:
        """End it and all that it started within 5 s; its exit status."""
        ...
