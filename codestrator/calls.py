"""One call: who asks, and what a rule (`Tx`) or an act on the world (`Flow`) is given in its hand."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msgspec import Struct

from codestrator import ids
from codestrator.clock import Moment, rfc3339
from codestrator.model import Document

if TYPE_CHECKING:
    from codestrator.ports import Live, Settings, World
    from codestrator.store.store import Store
    from codestrator.store.transaction import Stamp, Transaction

D = TypeVar("D", bound=Document)
T = TypeVar("T")
CallerKind = Literal["root", "child", "operator", "bystander"]


class Caller(Struct, frozen=True):
    """Who makes a call; `session_id` and `thread_id` are what `~` parameters default to."""

    kind: CallerKind
    role: str
    actor: str
    session_id: str | None = None
    thread_id: str | None = None

    @property
    def is_root(self) -> bool:
        """Whether it may do what a session's root may."""
        return self.kind in ("root", "operator")


class Seat(Struct):
    """What a process is, for as long as it runs: the sessions that it is root of, the newest last."""

    kind: CallerKind
    sessions: list[str] = []
    session_id: str | None = None
    thread_id: str | None = None
    role: str = "session-root"

    @property
    def default_session(self) -> str | None:
        return self.sessions[-1] if self.sessions else self.session_id

    def owns(self, session_id: str) -> bool:
        return session_id in self.sessions

    def take(self, session_id: str) -> None:
        """Become its root; the newest is the default."""
        if session_id in self.sessions:
            self.sessions.remove(session_id)
        self.sessions.append(session_id)

    def leave(self, session_id: str) -> None:
        if session_id in self.sessions:
            self.sessions.remove(session_id)


class Tx:
    """One picture to judge by, and the changes staged on top of it. It cannot act on anything but itself."""

    __slots__ = ("_base", "caller", "live", "now", "roots", "settings")

    def __init__(
        self, base: "Transaction", caller: Caller, live: "Live", settings: "Settings", roots: tuple[str, ...]
    ) -> None:
        self._base = base
        self.caller = caller
        self.live = live
        self.settings = settings
        self.roots = roots
        self.now: Moment = base.now

    @property
    def at(self) -> str:
        """The time of this call, as documents hold it."""
        return rfc3339(self.now.at)

    @property
    def op(self) -> str:
        return self._base.op

    @property
    def machine(self) -> str:
        return self._base.machine

    @property
    def base(self) -> "Transaction":
        """The store's own transaction, for what has to do with refs and history."""
        return self._base

    def as_of(self, commit: str) -> "Tx":
        """The same question put to an earlier state, named by its commit."""
        if commit == self._base.state_commit:
            return self
        return Tx(self._base.as_of(commit), self.caller, self.live, self.settings, self.roots)

    def mint(self, prefix: str) -> str:
        return ids.mint(prefix)

    def get(self, kind: type[D], document_id: str | None) -> D | None:
        return self._base.get(kind, document_id) if document_id else None

    def require(self, kind: type[D], document_id: str) -> D:
        return self._base.require(kind, document_id)

    def put(self, document: D) -> D:
        return self._base.put(document)

    def drop(self, kind: type[Document], document_id: str) -> None:
        self._base.drop(kind, document_id)

    def all(self, kind: type[D]) -> list[D]:
        return self._base.all(kind)

    def rows(self, kind: type[Document]) -> Iterator[Any]:
        return self._base.rows(kind)

    def where(self, kind: type[Document], /, **equals: Any) -> list[Any]:
        return self._base.where(kind, **equals)

    def found(self, kind: type[D], /, **equals: Any) -> list[D]:
        """The documents of `where`."""
        return self._base.found(kind, **equals)


class Flow:
    """An act on the world: opens its own publishes, before and after acting."""

    def __init__(
        self,
        world: "World",
        store: "Store",
        caller: Caller,
        seat: Seat,
        method: str,
        op: str,
        intent_id: str,
        digest: Callable[[], str],
    ) -> None:
        self.world = world
        self.store = store
        self.caller = caller
        self.seat = seat
        self.method = method
        self.op = op
        self.intent_id = intent_id
        self._digest = digest

    @cached_property
    def params_digest(self) -> str:
        """Of the parameters as they were given: only a call that is kept for its key, or has an intent, needs it."""
        return self._digest()

    @property
    def settings(self) -> "Settings":
        return self.world.settings

    def now(self) -> Moment:
        return self.world.now()

    def _tx(self, base: "Transaction") -> Tx:
        return Tx(base, self.caller, self.world.live, self.world.settings, (str(self.world.repo),))

    def read(self) -> Tx:
        return self._tx(self.store.read())

    def transact(self, act: Callable[[Tx], T], about: str = "", **how: Any) -> T:
        """Publish what `act` stages as one operation named after this method, or publish nothing."""
        return self.store.transact(lambda base: act(self._tx(base)), stamp=self.stamp(about), **how)

    def stamp(self, about: str = "") -> "Stamp":
        """What the journal says of a publish; each publish of one call has an operation id of its own."""
        from codestrator.store.transaction import Stamp

        op, self.op = self.op, ids.mint("op")
        return Stamp(
            subject=f"{self.method} {about}".rstrip(),
            op=op,
            actor=self.caller.actor,
            session=self.caller.session_id or (about if about.startswith("ses-") else None),  # one being opened
            thread=self.caller.thread_id,
            machine=self.world.settings.machine,
        )
