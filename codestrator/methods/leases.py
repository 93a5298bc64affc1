"""The leases of the lock book as callers see them, and the sweeping of those that are over."""

from math import ceil
from typing import Any

from codestrator.calls import Tx
from codestrator.methods import liveness, overlap, waiting
from codestrator.records import Lease, Session

TOMBSTONES = 50
FORGOTTEN_SECONDS = 24 * 3600


def held(tx: Tx, domain: str = "all", session_id: str | None = None) -> list[Lease]:
    """The leases of the book that are not over."""
    rows = [row for row in tx.where(Lease, state="held") if domain in ("all", row.domain)]
    leases = [tx.require(Lease, row.id) for row in rows if session_id in (None, row.session_id)]
    return list(liveness.not_over(tx, leases))


def renew(tx: Tx, lease: Lease, ttl_seconds: int) -> None:
    """By file, without a git object; what was promised before is never shortened."""
    left = ceil(liveness.seconds_left(tx, lease, liveness.lease_file(lease)))
    tx.live.renew(liveness.lease_file(lease), ttl_seconds=max(ttl_seconds, left))


def sweep(tx: Tx) -> None:
    """Drop what need not be told any more: old tombstones, those who wait no more, leases whose owner ended.

    One that merely lapsed stays for a day, for its owner may still renew it.
    """
    waiting.sweep(tx)
    known = [tx.require(Lease, row.id) for row in tx.where(Lease, state="held")]
    stays = {lease.id for lease in liveness.not_over(tx, known)}
    for lease in (one for one in known if one.id not in stays):
        file = liveness.lease_file(lease)
        if not -FORGOTTEN_SECONDS < liveness.seconds_left(tx, lease, file) <= 0:
            tx.drop(Lease, lease.id)
            tx.live.leave(file)
    dead = sorted((row for row in tx.rows(Lease) if row.state != "held" and row.domain == "paths"), key=_by_fence)
    for row in dead[:-TOMBSTONES]:
        tx.drop(Lease, row.id)


def _by_fence(row: Any) -> tuple[int, str]:
    return row.fence, row.id


def scope_of(scope: overlap.Scoped) -> dict[str, Any]:
    return {"scope_type": scope.scope_type, "scope_path": scope.scope_path}


def shown(tx: Tx, lease: Lease) -> dict[str, Any]:
    """A lease as callers see it."""
    left = liveness.lease_seconds_left(tx, lease) if lease.state == "held" else 0
    return {
        "id": lease.id,
        "domain": lease.domain,
        "state": lease.state,
        **scope_of(lease),
        "target_branch": lease.target_branch,
        "land_id": lease.land_id,
        "session_id": lease.session_id,
        "thread_id": lease.thread_id,
        "machine": lease.machine,
        "fence": lease.fence,
        "granted_at": lease.granted_at,
        "lease_until": liveness.until(tx, left),
        "ttl_seconds": lease.ttl_seconds,
        "seconds_left": left,
    }


def holder(tx: Tx, lease: Lease) -> dict[str, Any]:
    left = liveness.lease_seconds_left(tx, lease)
    return {
        "lock_id": lease.id,
        "scope": scope_of(lease),
        "session_id": lease.session_id,
        "thread_id": lease.thread_id,
        "fence": lease.fence,
        "lease_until": liveness.until(tx, left),
        "seconds_left": left,
    }


def owner(tx: Tx, held: liveness.Held) -> dict[str, Any]:
    session = tx.get(Session, held.session_id)
    return {
        "session_id": held.session_id,
        "thread_id": held.thread_id,
        "owner": session.owner if session else None,
        "machine": held.machine,
        "liveness": liveness.of_session(tx, session) if session else "ended",
    }
