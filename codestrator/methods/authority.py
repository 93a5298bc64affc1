"""Who grants: this clone's lock book, or, under authority `remote`, the book and the state on the remote.

There a grant is pushed before it is true here, so of two machines one gets it. What a machine holds is renewed by one
push for all of it; another one judges it by whether that has changed on its own clock, never by the time it names.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, Conflict, External, Offline
from codestrator.ids import mint_body
from codestrator.methods import leases, liveness
from codestrator.records import SESSION_ENDED, Fence, Lease, Session

T = TypeVar("T")
RENEWER = "renewal"
SESSION_SECONDS = 180  # the least that a session's time counts for between machines
OWN_SHARE = 0.9  # of its time, after which a holder stops by itself: others wait for 1.1 of it


def is_remote(flow: Flow) -> bool:
    return flow.settings.authority == "remote"


def publish(flow: Flow, act: Callable[[Tx], T], about: str = "", **how: Any) -> T:
    """Publish a grant, a release or a transfer where that is decided.

    `Offline` under authority `remote` if there is no connection: nothing is granted then. `Conflict` where clones of
    one remote do not agree about who grants.
    """
    if not is_remote(flow):
        _check_agreed(flow.read())
        return flow.transact(act, about, **how)

    def staged(tx: Tx) -> T:
        _agree(tx)
        _check_agreed(tx)
        found = act(tx)
        _renew(tx)
        return found

    from codestrator.methods import deciding, sync  # who grants alone need not load it

    order, local = how.get("order", ("state", "locks")), how.get("mover")
    return deciding.decided(flow, sync.remote_of(flow, None), staged, about, order, local=local)


def refresh(flow: Flow) -> None:
    """While waiting for another machine: see what it has released."""
    if is_remote(flow):
        from codestrator.methods import deciding, sync

        deciding.share(flow, sync.remote_of(flow, None), ("state", "locks"), direction="fetch")


def renew(flow: Flow) -> None:
    """Renew all that this machine holds in one push, if a third of its time has passed; one process a machine does."""
    if not is_remote(flow) or not flow.store.initialised or not flow.world.live.take(RENEWER):
        return
    tx = flow.read()
    if any(_age(tx, one.id) * 3 >= _seconds(one) for one in _living(tx)):
        publish(flow, lambda tx: None)


def keep(flow: Flow, session_id: str) -> None:
    """Before a write that a claim or lock of the session guards: renew it when it is due.

    `Offline` once the last renewal is so old that another machine may take over soon.
    """
    if not is_remote(flow):
        return
    session = flow.read().get(Session, session_id)
    if session is None or _age(flow.read(), session_id) * 3 < _seconds(session):
        return
    try:
        publish(flow, lambda tx: None, "renewal")
    except (Busy, External, Offline) as error:  # what else is wrong is said at once
        if _age(flow.read(), session_id) < OWN_SHARE * _seconds(session):
            return
        raise Offline(
            f"'{session_id}' could not be renewed on '{flow.settings.remote}' in time, expected it within "
            f"{OWN_SHARE * _seconds(session):.0f} s: {error.message}",
            hint="Restore the connection, then call again; what is written now could be another's by then.",
            remote=flow.settings.remote,
        ) from error


def settle(flow: Flow) -> None:
    """From now on grants are decided as this clone has it set, if nothing is held by the other rule."""
    if is_remote(flow):
        publish(flow, lambda tx: None, "authority")
    elif agreed(flow.read()) == "remote":
        flow.transact(_agree, "authority")


def agreed(tx: Tx) -> str:
    """Who grants in this repository, as the lock book has it."""
    fence = tx.get(Fence, "fence")
    return fence.authority if fence else "local"


def goes_over(tx: Tx) -> bool:
    """Whether this clone's next grant makes the book say what is set here: the remote, and nothing is held yet."""
    return tx.settings.authority == "remote" and not leases.held(tx)


def _agree(tx: Tx) -> None:
    if agreed(tx) != tx.settings.authority and not leases.held(tx):
        fence = tx.get(Fence, "fence") or Fence(id="fence")
        tx.put(fence.but(authority=tx.settings.authority))


def _check_agreed(tx: Tx) -> None:
    if (authority := agreed(tx)) != tx.settings.authority:
        raise Conflict(
            f"locks of this repository are granted under authority '{authority}', this clone has "
            f"codestrator.authority '{tx.settings.authority}', expected both to be the same",
            hint=f"Run git config codestrator.authority {authority}; or release all locks, then call workspace.init.",
            found=tx.settings.authority,
            expected=authority,
        )


def _living(tx: Tx) -> list[Session]:
    """The sessions of this machine whose processes are alive."""
    found = [one for one in tx.found(Session, machine=tx.machine) if one.status not in SESSION_ENDED]
    return [one for one in found if liveness.of_session(tx, one) == "live"]


def _seconds(session: Session) -> int:
    return max(SESSION_SECONDS, session.heartbeat_timeout_seconds)


def _age(tx: Tx, session_id: str) -> float:
    """Seconds since the beginning of its last renewal that the remote took; long ago if there was none."""
    lease = tx.get(Lease, liveness.session_lease(session_id))
    if lease is None or lease.machine != tx.machine or lease.boot_id != tx.now.boot_id:
        return float("inf")
    return (tx.now.boot_ms - lease.beat) / 1000


def _renew(tx: Tx) -> None:
    """Stage a beat for everything alive here: the sessions, and the locks that they hold."""
    alive = {one.id: one for one in _living(tx)}
    for session in alive.values():
        lease_id = liveness.session_lease(session.id)
        fence = before.fence if (before := tx.get(Lease, lease_id)) else 1
        given = liveness.granted(tx, session.id, session.root_thread_id, fence, _seconds(session))
        tx.put(Lease(id=lease_id, domain="sessions", **given))
    for lease in leases.held(tx):
        if lease.domain != "sessions" and lease.session_id in alive and lease.machine == tx.machine:
            beat = {"renewed_at": tx.at, "beat": tx.now.boot_ms, "boot_id": tx.now.boot_id, "nonce": mint_body()}
            tx.put(lease.but(**beat))
