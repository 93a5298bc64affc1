"""The lock book: leases, who waits for one, and the counter that fences come from."""

from typing import Annotated, ClassVar, Literal

from codestrator.model import IMMUTABLE, LOG, MAX, SCALAR, SECONDS, Document, Part


class Lease(Document, frozen=True, kw_only=True):
    """An entry of the lock book; what `Hold` says, and its scope. Released or lost ones stay a while, to be told."""

    KIND: ClassVar[str] = "lock"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("paths", "merge", "sessions")
    ROW: ClassVar[tuple[str, ...]] = ("domain", "session_id", "state", "fence")
    WHOLE: ClassVar[str] = "fence"

    domain: Annotated[Literal["paths", "merge", "sessions"], IMMUTABLE]
    session_id: Annotated[str, SCALAR]
    machine: Annotated[str, SCALAR]
    fence: Annotated[int, MAX]
    ttl_seconds: Annotated[int, SCALAR, SECONDS]
    granted_at: Annotated[str, SCALAR]
    renewed_at: Annotated[str, SCALAR]
    beat: Annotated[int, SCALAR]
    boot_id: Annotated[str, SCALAR]
    nonce: Annotated[str, SCALAR]
    op: Annotated[str, SCALAR]
    state: Annotated[Literal["held", "released", "lost"], SCALAR] = "held"
    thread_id: Annotated[str | None, SCALAR] = None
    scope_type: Annotated[Literal["file", "prefix"] | None, IMMUTABLE] = None
    scope_path: Annotated[str | None, IMMUTABLE] = None
    target_branch: Annotated[str | None, IMMUTABLE] = None
    land_id: Annotated[str | None, SCALAR] = None


class Scope(Part, frozen=True, kw_only=True):
    scope_type: Literal["file", "prefix"]
    scope_path: str


class Waiter(Document, frozen=True, kw_only=True):
    """Someone who waits for path locks, in the order of `since` (the fence counter when it came, then id)."""

    KIND: ClassVar[str] = "waiter"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("waiters",)

    session_id: Annotated[str, IMMUTABLE]
    machine: Annotated[str, IMMUTABLE]
    scopes: Annotated[tuple[Scope, ...], LOG]
    place: Annotated[int, IMMUTABLE]
    until_boot_ms: Annotated[int, SCALAR]
    until: Annotated[str, SCALAR]
    boot_id: Annotated[str, SCALAR]
    thread_id: Annotated[str | None, IMMUTABLE] = None


class Fence(Document, frozen=True, kw_only=True):
    """The counter that every grant of the lock book takes its number from; it never decreases."""

    KIND: ClassVar[str] = "fence"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("",)

    value: Annotated[int, MAX] = 0
    authority: Annotated[Literal["local", "remote"], SCALAR] = "local"
