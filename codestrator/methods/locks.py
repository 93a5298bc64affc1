"""Path locks: leases of files and prefixes in the lock book, granted all or none, first come, first served."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden, InvalidParams, LockHeld, StaleFence, WrongState
from codestrator.ids import mint_body
from codestrator.methods import authority, leases, liveness, overlap, waiting, who
from codestrator.methods.paging import page
from codestrator.params import LockId, Paged, Params, Path, SessionId
from codestrator.records import ACTIVE, Lease, Session, Task, Waiter

Ttl = Annotated[int, Meta(ge=1, le=86400, description="the lease ends so long after its last renewal")]
ScopeType = Literal["file", "prefix"]


class Wish(Params, frozen=True, kw_only=True):
    """A scope that a caller names."""

    scope_type: ScopeType
    scope_path: Path


class Acquire(Params, frozen=True, kw_only=True):
    scope_type: ScopeType | None = None
    scope_path: Annotated[Path | None, Meta(description="'.' as prefix is the whole repository")] = None
    scopes: Annotated[tuple[Wish, ...], Meta(max_length=64, description="instead: all of them or none, 1 to 64")] = ()
    owner_session: SessionId | None = None
    ttl_seconds: Ttl = 600
    wait_seconds: waiting.WaitSeconds = 0


class Heartbeat(Params, frozen=True, kw_only=True):
    lock_id: LockId
    ttl_seconds: Ttl = 600
    fence: int | None = None


class Release(Params, frozen=True, kw_only=True):
    lock_id: LockId
    fence: int | None = None


class Listing(Paged, frozen=True, kw_only=True):
    domain: Literal["paths", "merge", "claims", "sessions", "all"] = "paths"
    session_id: SessionId | None = None
    overlaps: Wish | None = None
    include_waiters: bool = True


class _Ask:
    """One acquire: what is asked for, by whom; judged anew on each picture."""

    def __init__(self, flow: Flow, want: Acquire) -> None:
        self.want = want
        self.scopes = _asked(want)
        self.fold = overlap.folds(flow)
        self.seconds = waiting.bounded(want.wait_seconds)
        self.waiter_id = f"waiters/{mint_body()}" if self.seconds else ""

    def look(self, tx: Tx) -> None:
        """Read one picture: what the session has of it already, what is missing, and who is in the way."""
        session = who.active_session(tx, self.want.owner_session)
        thread = who.thread_of(tx, None, session)
        self.entry = waiting.Entry(self.waiter_id, session.id, thread.id, self.scopes)
        self.held = [tx.require(Lease, row.id) for row in tx.where(Lease, domain="paths", state="held")]
        self.own: list[Lease] = []
        self.missing: list[Wish] = []
        for scope in self.scopes:
            mine = [one for one in self.held if one.session_id == session.id and self._same(one, scope)]
            live = [one for one in mine if not liveness.lease_over(tx, one)]
            self.own += live[:1]
            self.missing += [] if live else [scope]
        self.touched = [one for one in self.held if any(self._overlaps(one, scope) for scope in self.missing)]
        self.over = [one for one in self.touched if liveness.lease_over(tx, one)]
        self.blocking = [one for one in self.touched if one not in self.over and one.session_id != session.id]
        self.ahead = waiting.ahead(tx, self.entry, self.missing, fold=self.fold)

    def _same(self, one: overlap.Scoped, two: overlap.Scoped) -> bool:
        return overlap.same(one, two, fold=self.fold)

    def _overlaps(self, one: overlap.Scoped, two: overlap.Scoped) -> bool:
        return overlap.overlaps(one, two, fold=self.fold)

    @property
    def free(self) -> bool:
        return not self.blocking and not self.ahead

    def blocked_by(self, tx: Tx) -> list[dict[str, Any]]:
        return [leases.holder(tx, one) for one in self.blocking] + [_ahead(tx, one) for one in self.ahead]

    def grant(self, tx: Tx) -> dict[str, Any]:
        """Renew what the session has, and put what it has not yet under one new number."""
        if self.own or self.over:
            tx.base.must_still_be_gated()
        for lease in self.own:
            leases.renew(tx, lease, self.want.ttl_seconds)
        fresh = self._put(tx) if self.missing else []
        waiting.leave(tx, self.waiter_id)
        items = [*self.own, *fresh]
        items.sort(key=lambda one: next(n for n, scope in enumerate(self.scopes) if self._same(one, scope)))
        shown = [leases.shown(tx, one) for one in items]
        result = {
            "granted": True,
            "items": shown,
            "count": len(shown),
            "fence": max(one.fence for one in items),
            "lease_until": min(one["lease_until"] for one in shown),
        }
        return result | ({"lock": shown[0]} if len(shown) == 1 else {})

    def _put(self, tx: Tx) -> list[Lease]:
        fence = waiting.next_fence(tx)
        for lease in self.over:
            tx.put(lease.but(state="lost"))
            tx.live.leave(liveness.lease_file(lease))
        leases.sweep(tx)
        return [
            tx.put(_lease(tx, scope, self.entry.session_id, self.entry.thread_id, fence, self.want.ttl_seconds))
            for scope in self.missing
        ]


def acquire(flow: Flow, want: Acquire) -> dict[str, Any]:
    """Lock files or prefixes, all or none, for the caller's session.

    A scope the session holds already is renewed, never shortened. With wait_seconds it waits its turn; after waiting
    in vain the answer is granted false with timed_out true.
    """
    ask = _Ask(flow, want)

    def act(tx: Tx) -> dict[str, Any] | None:
        ask.look(tx)
        if ask.free:
            return ask.grant(tx)
        if not ask.seconds:
            raise _held(tx, ask)
        waiting.join(tx, ask.entry, ask.seconds)
        return None

    about = " ".join(scope.scope_path for scope in ask.scopes[:3])
    return authority.publish(flow, act, about) or _wait(flow, ask, about)


def _wait(flow: Flow, ask: _Ask, about: str) -> dict[str, Any]:
    def act(tx: Tx) -> dict[str, Any] | None:
        ask.look(tx)
        return ask.grant(tx) if ask.free else None

    def last(tx: Tx) -> dict[str, Any]:
        ask.look(tx)
        if ask.free and not flow.world.cancelled.is_set():
            return ask.grant(tx)
        waiting.leave(tx, ask.waiter_id)
        return {
            "granted": False,
            "timed_out": True,
            "position": len(ask.ahead) + 1,
            "blocked_by": ask.blocked_by(tx),
        }

    try:
        for _ in flow.world.waiting(ask.seconds):
            authority.refresh(flow)
            ask.look(flow.read())
            if ask.free and (granted := authority.publish(flow, act, about)):
                return granted
        return authority.publish(flow, last, about)
    except BaseException:
        authority.publish(flow, lambda tx: waiting.leave(tx, ask.waiter_id), about)
        raise


def heartbeat(flow: Flow, want: Heartbeat) -> dict[str, Any]:
    """Renew a path lock; one that lapsed too, unless it was granted to another since."""
    return authority.publish(flow, lambda tx: _renewed(tx, want), want.lock_id)


def _renewed(tx: Tx, want: Heartbeat) -> dict[str, Any]:
    lease = _owned(tx, want.lock_id, want.fence)
    if lease.state == "released":
        raise WrongState(
            f"'{lease.id}' is 'released', expected 'held'",
            hint="Call lock.acquire again.",
            found="released",
            expected=["held"],
        )
    who.active_session(tx, lease.session_id)
    tx.base.must_still_be_gated()
    leases.renew(tx, lease, want.ttl_seconds)
    return {"lock": leases.shown(tx, lease), "seconds_left": liveness.lease_seconds_left(tx, lease)}


def release(flow: Flow, want: Release) -> dict[str, Any]:
    """Give a path lock back; one that lapsed or was given back before, with the same answer."""
    fold = overlap.folds(flow)

    def act(tx: Tx) -> tuple[Lease, dict[str, Any] | None]:
        lease = _owned(tx, want.lock_id, want.fence)
        if lease.state == "held":
            lease = tx.put(lease.but(state="released"))
            leases.sweep(tx)
        due = [one for one in waiting.line(tx) if waiting.touching(one, [lease], fold=fold)]
        return lease, waiting.shown(tx, due[0]) if due else None

    lease, next_waiter = authority.publish(flow, act, f"{want.lock_id}")
    flow.world.live.leave(liveness.lease_file(lease))
    return {"lock": leases.shown(flow.read(), lease), "next_waiter": next_waiter}


def listing(flow: Flow, want: Listing) -> dict[str, Any]:
    """List who holds and who waits: path locks, the merge locks, claims of cases, sessions."""
    fold = want.overlaps is not None and overlap.folds(flow)
    tx = flow.read()
    result = page(tx, want, lambda then: _listed(then, want, fold), lambda then, one: one)
    if want.include_waiters and want.domain in ("paths", "all"):
        near = [want.overlaps] if want.overlaps else None
        result["waiters"] = [
            waiting.shown(tx, one)
            for one in waiting.line(tx)
            if want.session_id in (None, one.session_id) and (near is None or waiting.touching(one, near, fold=fold))
        ]
    return result


def _listed(tx: Tx, want: Listing, fold: bool) -> list[dict[str, Any]]:
    found = [
        leases.shown(tx, lease) | {"holder": leases.owner(tx, lease)}
        for lease in leases.held(tx, want.domain, want.session_id)
        if want.overlaps is None or overlap.overlaps(lease, want.overlaps, fold=fold)
    ]
    if want.domain in ("claims", "all") and want.overlaps is None:
        found += [
            liveness.shown_claim(tx, task.claim, task.id) | {"holder": leases.owner(tx, task.claim)}
            for status in ACTIVE
            for task in tx.found(Task, status=status)
            if task.claim and want.session_id in (None, task.claim.session_id)
            if not liveness.claim_over(tx, task.claim)
        ]
    return sorted(found, key=lambda one: (str(one["granted_at"]), str(one["id"])))


def _asked(want: Acquire) -> list[Wish]:
    one = want.scope_type is not None or want.scope_path is not None
    if one == bool(want.scopes) or (one and not (want.scope_type and want.scope_path)):
        raise InvalidParams(
            "lock.acquire got " + ("both" if want.scopes else "not one whole scope") + ", expected either scope_type "
            "with scope_path, or scopes",
            field="scopes" if want.scopes else "scope_path",
            expected="scope_type and scope_path, or scopes",
        )
    asked = list(want.scopes)
    if want.scope_type and want.scope_path:
        asked = [Wish(scope_type=want.scope_type, scope_path=want.scope_path)]
    if any(scope.scope_type == "file" and scope.scope_path == "." for scope in asked):
        raise InvalidParams(
            "'scope_path' is '.', expected a file",
            hint="Use scope_type 'prefix' for the whole repository.",
            field="scope_path",
            found=".",
            expected="a file",
        )
    return list(dict.fromkeys(asked))


def _lease(tx: Tx, scope: Wish, session_id: str, thread_id: str, fence: int, ttl_seconds: int) -> Lease:
    return Lease(
        id=tx.mint("lock"),
        domain="paths",
        scope_type=scope.scope_type,
        scope_path=scope.scope_path,
        **liveness.granted(tx, session_id, thread_id, fence, ttl_seconds),
    )


def _owned(tx: Tx, lock_id: str, fence: int | None) -> Lease:
    """The caller's lease, also one that is over; refused where it is another's, or was granted to another since."""
    lease = tx.require(Lease, lock_id)
    thread_id = tx.caller.thread_id
    if (mine := tx.get(Session, tx.caller.session_id)) and lease.state == "held":
        who.check_not_taken(mine, lock_id, lease, fence)
    if not who.owns(tx, lease.session_id) or (tx.caller.kind == "child" and lease.thread_id != thread_id):
        raise Forbidden(
            f"'{lock_id}' is held by '{lease.thread_id or lease.session_id}', expected a lock of the caller",
            hint="Wait for it: call lock.acquire with wait_seconds.",
            role=tx.caller.role,
            needs="its owner",
        )
    if lease.state == "lost" or fence not in (None, lease.fence):
        current = _taker(tx, lease)
        raise StaleFence(
            f"fence {lease.fence if fence is None else fence} on '{lock_id}' is out of date, current is "
            + (f"{current.fence} held by '{current.session_id}'" if current else str(lease.fence)),
            hint="Call lock.list with overlaps to see who has it now.",
            given=lease.fence if fence is None else fence,
            current=current.fence if current else lease.fence,
            holder=leases.holder(tx, current) if current else None,
        )
    return lease


def _taker(tx: Tx, lease: Lease) -> Lease | None:
    """Who has the lock of that lease now."""
    if lease.state == "held":
        return lease
    newer = [one for one in leases.held(tx, lease.domain) if one.fence > lease.fence and overlap.overlaps(one, lease)]
    return max(newer, key=lambda one: one.fence, default=None)


def _ahead(tx: Tx, waiter: Waiter) -> dict[str, Any]:
    left = waiting.seconds_left(tx, waiter)
    return {
        "waiting": True,
        "scope": leases.scope_of(waiter.scopes[0]),
        "session_id": waiter.session_id,
        "thread_id": waiter.thread_id,
        "seconds_left": left,
    }


def _held(tx: Tx, ask: _Ask) -> LockHeld:
    holders = ask.blocked_by(tx)
    inside: Sequence[overlap.Scoped] = [*ask.blocking, *(one for waiter in ask.ahead for one in waiter.scopes)]
    scope, asked = next(
        (one, two) for one in inside for two in ask.missing if overlap.overlaps(one, two, fold=ask.fold)
    )
    verb = "held" if ask.blocking else "awaited before"
    left = max(one["seconds_left"] for one in holders)
    return LockHeld(
        f"'{scope.scope_path}' ({scope.scope_type}) is {verb} by '{holders[0]['session_id']}' "
        f"for {holders[0]['seconds_left']} s, asked for {asked.scope_type} '{asked.scope_path}'",
        hint="Wait in line: call lock.acquire with wait_seconds 50; or choose another case, see task.ready.",
        holders=holders,
        retry_after_seconds=max(1, left),
    )
