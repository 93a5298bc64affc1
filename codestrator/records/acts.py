"""Acts in the world: what a process began, and the page that was written of the state."""

from typing import Annotated, Any, ClassVar, Literal

from codestrator.model import IMMUTABLE, Document, group

LIFE, FILE = group("life"), group("file")


class Intent(Document, frozen=True, kw_only=True):
    """An act begun: what to look for if the process that wrote this died, or the receipt of a keyed call."""

    KIND: ClassVar[str] = "intent"
    ROW: ClassVar[tuple[str, ...]] = ("state", "machine", "session_id", "method", "ended_at")

    method: Annotated[str, IMMUTABLE]
    machine: Annotated[str, IMMUTABLE]
    params_digest: Annotated[str, IMMUTABLE]
    state: Annotated[Literal["planned", "done", "failed", "reversed"], LIFE]
    session_id: Annotated[str | None, IMMUTABLE] = None
    pid: Annotated[int, IMMUTABLE] = 0
    process_started_at: Annotated[str, IMMUTABLE] = ""
    args: Annotated[dict[str, Any], IMMUTABLE] = {}
    ended_at: Annotated[str | None, LIFE] = None
    outcome: Annotated[dict[str, Any] | None, LIFE] = None


class Mirror(Document, frozen=True, kw_only=True):
    """The page of the state that was written last; `digest` is of its content without the version."""

    KIND: ClassVar[str] = "mirror"

    md_version: Annotated[int, FILE]
    md_path: Annotated[str, FILE]
    digest: Annotated[str, FILE]
