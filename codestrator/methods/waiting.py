"""Waits that end, and the line of those who wait for path locks: first come, first served."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.methods import liveness, overlap
from codestrator.records import SESSION_ENDED, Fence, Scope, Session, Waiter

LONGEST_SECONDS = 49  # one less than a call may last: its answer must still be published
GRACE_SECONDS = 10  # how long an entry outlives its wait, should its process die

WaitSeconds = Annotated[int, Meta(ge=0, description="at most 50, more counts as 50; ends early when there is news")]
T = TypeVar("T")


def bounded(seconds: int) -> int:
    return min(seconds, LONGEST_SECONDS)


def first(flow: Flow, seconds: int, look: Callable[[Tx], T | None]) -> T | None:
    """What `look` finds now or within so many seconds, asked anew after each change; None when the time ran out."""
    found = look(flow.read())
    if found is None and seconds:
        for _ in flow.world.waiting(bounded(seconds)):
            if (found := look(flow.read())) is not None:
                break
    return found


class Entry(NamedTuple):
    """Someone in the line, as the one who joins it knows itself."""

    id: str
    session_id: str
    thread_id: str
    scopes: Sequence[overlap.Scoped]


def fence_value(tx: Tx) -> int:
    """The number of the newest grant of the book."""
    fence = tx.get(Fence, "fence")
    return fence.value if fence else 0


def next_fence(tx: Tx) -> int:
    """Stage the number of a new grant."""
    fence = tx.get(Fence, "fence") or Fence(id="fence")
    return tx.put(fence.but(value=fence.value + 1)).value


def join(tx: Tx, entry: Entry, seconds: int) -> None:
    """Stand in line behind all who came before; standing there already changes nothing."""
    if tx.get(Waiter, entry.id) is not None:
        return
    lasts = seconds + GRACE_SECONDS
    tx.put(
        Waiter(
            id=entry.id,
            session_id=entry.session_id,
            thread_id=entry.thread_id,
            machine=tx.machine,
            scopes=tuple(
                Scope(scope_type=scope.scope_type or "file", scope_path=scope.scope_path or "")
                for scope in entry.scopes
            ),
            place=max([fence_value(tx), *(one.place + 1 for one in tx.all(Waiter))]),
            until_boot_ms=tx.now.boot_ms + lasts * 1000,
            until=liveness.until(tx, lasts),
            boot_id=tx.now.boot_id,
        )
    )


def leave(tx: Tx, entry_id: str) -> None:
    if entry_id:
        tx.drop(Waiter, entry_id)


def sweep(tx: Tx) -> None:
    """Drop the entries of those who wait no more."""
    for waiter in tx.all(Waiter):
        if not is_waiting(tx, waiter):
            tx.drop(Waiter, waiter.id)


def is_waiting(tx: Tx, waiter: Waiter) -> bool:
    session = tx.get(Session, waiter.session_id)
    if session is None or session.status in SESSION_ENDED:
        return False
    if waiter.boot_id == tx.now.boot_id:
        return tx.now.boot_ms < waiter.until_boot_ms
    return tx.now.at < parse(waiter.until)


def line(tx: Tx) -> list[Waiter]:
    """All who wait, in the order in which they came."""
    waiters = [waiter for waiter in tx.all(Waiter) if is_waiting(tx, waiter)]
    return sorted(waiters, key=lambda waiter: (waiter.place, waiter.id))


def ahead(tx: Tx, entry: Entry, scopes: Sequence[overlap.Scoped], *, fold: bool) -> list[Waiter]:
    """Those of other sessions who came before and wait for something that overlaps."""
    found = []
    for waiter in line(tx):
        if waiter.id == entry.id:
            break
        if waiter.session_id != entry.session_id and touching(waiter, scopes, fold=fold):
            found.append(waiter)
    return found


def touching(waiter: Waiter, scopes: Sequence[overlap.Scoped], *, fold: bool) -> bool:
    return any(overlap.overlaps(one, two, fold=fold) for one in waiter.scopes for two in scopes)


def seconds_left(tx: Tx, waiter: Waiter) -> int:
    """How long the wait can last at most."""
    if waiter.boot_id == tx.now.boot_id:
        left = (waiter.until_boot_ms - tx.now.boot_ms) / 1000
    else:
        left = (parse(waiter.until) - tx.now.at).total_seconds()
    return max(0, int(left) - GRACE_SECONDS)


def shown(tx: Tx, waiter: Waiter) -> dict[str, Any]:
    """Someone in the line as callers see it."""
    return {
        "session_id": waiter.session_id,
        "thread_id": waiter.thread_id,
        "machine": waiter.machine,
        "scopes": list(waiter.scopes),
        "since": waiter.created_at,
        "until": waiter.until,
        "seconds_left": seconds_left(tx, waiter),
    }
