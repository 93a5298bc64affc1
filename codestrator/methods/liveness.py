"""Alive or over: sessions, claims and leases, judged without trusting a wall clock while the machine is up."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from math import ceil
from typing import Any, Literal, Protocol

from codestrator.calls import Tx
from codestrator.clock import parse, rfc3339
from codestrator.ids import mint_body
from codestrator.ports import Beat
from codestrator.records import REVIEW_OPEN, SESSION_ENDED, THREAD_ENDED, Hold, Lease, Review, Session, Thread

Liveness = Literal["live", "suspended", "away", "ended"]


class Held(Protocol):
    """What `Hold` and `Lease` have in common."""

    @property
    def session_id(self) -> str: ...
    @property
    def thread_id(self) -> str | None: ...
    @property
    def machine(self) -> str: ...
    @property
    def ttl_seconds(self) -> int: ...
    @property
    def renewed_at(self) -> str: ...
    @property
    def beat(self) -> int: ...
    @property
    def boot_id(self) -> str: ...


def silent_seconds(tx: Tx, session: Session) -> float:
    """How long ago the session's last sign of life was; on the clock of this boot where it is of this boot."""
    return _age(tx, tx.live.beat(session.id) or Beat("", 0, session.updated_at or session.created_at))


def of_session(tx: Tx, session: Session) -> Liveness:
    """`live`, `suspended`, `away` (another machine's, so its silence proves nothing) or `ended`."""
    if session.status in SESSION_ENDED:
        return "ended"
    if session.machine != tx.machine:
        return _elsewhere(tx, session)
    if tx.live.held(session.id) or silent_seconds(tx, session) <= session.heartbeat_timeout_seconds:
        return "live"
    return "suspended"


def session_lease(session_id: str) -> str:
    """The lease by which other machines know that a session is alive, under authority `remote`."""
    return f"sessions/{session_id}"


def _elsewhere(tx: Tx, session: Session) -> Liveness:
    """By the renewals that the remote has taken, if they are decided there; else silence proves nothing."""
    lease = tx.get(Lease, session_lease(session.id)) if tx.settings.authority == "remote" else None
    if lease is None:
        return "away"
    return "live" if seconds_left(tx, lease, lease_file(lease)) > 0 else "suspended"


def _age(tx: Tx, beat: Beat) -> float:
    if beat.boot_id == tx.now.boot_id:
        return max(0.0, (tx.now.boot_ms - beat.boot_ms) / 1000)
    return max(0.0, (tx.now.at - parse(beat.at)).total_seconds())


def seconds_left(tx: Tx, hold: Held, *names: str) -> float:
    """Until its time has passed, counted from its last renewal: its own, or the newest beat of the live files named.

    That of another machine counts from when it was first seen here: clocks of two machines are never compared.
    """
    if hold.machine != tx.machine:
        beats = [beat for name in names if (beat := tx.live.beat(name))]
        return max((beat.ttl_seconds - _age(tx, beat) for beat in beats), default=patience(hold))
    left = hold.ttl_seconds - _age(tx, Beat(hold.boot_id, hold.beat, hold.renewed_at))
    for beat in (tx.live.beat(name) for name in names):
        if beat is not None:
            left = max(left, (beat.ttl_seconds or hold.ttl_seconds) - _age(tx, beat))
    return left


def patience(hold: Held) -> int:
    """How many seconds a lease of another machine is honoured, from first sight: its renewals never leave there."""
    return ceil(1.1 * hold.ttl_seconds)


def _ended(tx: Tx, hold: Held) -> bool:
    """State is master: what a closed session or an ended thread held is over at once."""
    session = tx.get(Session, hold.session_id)
    thread = tx.get(Thread, hold.thread_id)
    gone = session is None or session.status in SESSION_ENDED
    return gone or (thread is not None and thread.status in THREAD_ENDED)


def live_name(tx: Tx, hold: Held) -> str:
    """Whose live file renews a claim: the thread's, or its session's for the root thread."""
    session = tx.get(Session, hold.session_id)
    if hold.thread_id is None or (session and session.root_thread_id == hold.thread_id):
        return hold.session_id
    return hold.thread_id


def claim_over(tx: Tx, claim: Hold) -> bool:
    """A claim is over when its owner has ended or is suspended, or its time has passed and nobody holds its lock."""
    if _ended(tx, claim):
        return True
    session = tx.require(Session, claim.session_id)
    if session.machine != tx.machine:
        return of_session(tx, session) == "suspended"  # never under `local`, where silence proves nothing
    name = live_name(tx, claim)
    if tx.live.held(name):
        return False
    return of_session(tx, session) == "suspended" or seconds_left(tx, claim, name) <= 0


def claim_seconds_left(tx: Tx, claim: Hold) -> int:
    """Whole seconds; a claim whose process is alive always has its full time before it."""
    name = live_name(tx, claim)
    return claim.ttl_seconds if tx.live.held(name) else max(0, int(seconds_left(tx, claim, name)))


def not_over(tx: Tx, leases: Iterable[Lease]) -> Iterator[Lease]:
    """Those leases of the book that are not over; each owner is looked at once."""
    ended: dict[tuple[str, str | None], bool] = {}
    for one in leases:
        if one.state != "held":
            continue
        owner = (one.session_id, one.thread_id)
        if owner not in ended:
            ended[owner] = _ended(tx, one)
        if not ended[owner] and not _lapsed(tx, one):
            yield one


def lease_over(tx: Tx, lease: Lease) -> bool:
    """A lease of the book is over when it was given back or lost, its owner has ended, or its time has passed."""
    return next(not_over(tx, (lease,)), None) is None


def _lapsed(tx: Tx, lease: Lease) -> bool:
    # The book first: most leases have time left there, and a file is read for the others only.
    away = lease.machine != tx.machine
    lapsed = (away or seconds_left(tx, lease) <= 0) and seconds_left(tx, lease, lease_file(lease)) <= 0
    return lapsed and not (lease.domain == "merge" and _reviewed(tx, lease))


def _reviewed(tx: Tx, lease: Lease) -> bool:
    """A merge lock lasts while a reviewer that was started under it is alive."""
    rows = [row for row in tx.where(Review, session_id=lease.session_id) if row.state in REVIEW_OPEN]
    return any(row.reviewer_thread_id and tx.live.held(row.reviewer_thread_id) for row in rows)


def lease_seconds_left(tx: Tx, lease: Lease) -> int:
    return max(0, int(seconds_left(tx, lease, lease_file(lease))))


def lease_file(lease: Lease) -> str:
    """The live file that renews it, of this grant alone."""
    return f"{lease.id.replace('/', '-').replace('%', '_')}.{lease.fence}"


def until(tx: Tx, seconds: float) -> str:
    """A wall clock time for display."""
    return rfc3339(tx.now.at + timedelta(seconds=seconds))


def granted(tx: Tx, session_id: str, thread_id: str | None, fence: int, ttl_seconds: int) -> dict[str, Any]:
    """What every claim and lease says of its grant, which is now and here."""
    return {
        "session_id": session_id,
        "thread_id": thread_id,
        "machine": tx.machine,
        "fence": fence,
        "ttl_seconds": ttl_seconds,
        "granted_at": tx.at,
        "renewed_at": tx.at,
        "beat": tx.now.boot_ms,
        "boot_id": tx.now.boot_id,
        "nonce": mint_body(),
        "op": tx.op,
    }


def renewed(tx: Tx, hold: Hold) -> Hold:
    """The same hold, its time counted from now."""
    return hold.but(renewed_at=tx.at, beat=tx.now.boot_ms, boot_id=tx.now.boot_id)


def shown_claim(tx: Tx, claim: Hold, case_id: str) -> dict[str, object]:
    """A claim as callers see it."""
    left = claim_seconds_left(tx, claim)
    return {
        "id": f"claims/{case_id}",
        "domain": "claims",
        "case_id": case_id,
        "session_id": claim.session_id,
        "thread_id": claim.thread_id,
        "machine": claim.machine,
        "fence": claim.fence,
        "granted_at": claim.granted_at,
        "lease_until": until(tx, left),
        "ttl_seconds": claim.ttl_seconds,
        "seconds_left": left,
    }
