"""One picture of state and lock book to judge by, with the caller's changes staged on top."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from codestrator import SCHEMA, ids
from codestrator.clock import Moment, rfc3339
from codestrator.errors import Busy, InvalidParams, NotFound, SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.ports import Move
from codestrator.store.documents import DOCUMENT_BYTES, LOCKS, REF_OF, STATE, Damage, encode
from codestrator.store.objects import row_of
from codestrator.store.picture import Picture

if TYPE_CHECKING:
    from codestrator.store.store import Store

D = TypeVar("D", bound=Document)
Change = tuple[type[Document], Document | None, bytes]


class Stamp(NamedTuple):
    """What the journal says of one operation."""

    subject: str
    op: str
    actor: str
    session: str | None
    thread: str | None
    machine: str

    def message(self, about: str) -> str:
        """The commit's message; `about` completes a subject that is a method's name alone."""
        subject = self.subject if " " in self.subject else f"{self.subject} {about}".rstrip()
        trailers = {
            "Op": self.op,
            "Actor": self.actor,
            "Session": self.session,
            "Thread": self.thread,
            "Machine": self.machine,
        }
        return subject + "\n\n" + "".join(f"{name}: {value}\n" for name, value in trailers.items() if value)


class Transaction:
    """Reads come from one commit of each ref; nothing is written before the store publishes what was staged."""

    def __init__(
        self,
        store: "Store",
        pictures: dict[str, Picture],
        now: Moment,
        *,
        machine: str,
        op: str = "",
        exclusive: bool = False,
    ) -> None:
        self._store = store
        self._pictures = pictures
        self._changes: dict[str, dict[str, Change]] = {STATE: {}, LOCKS: {}}
        self.now = now
        self.machine = machine
        self.op = op
        self.exclusive = exclusive
        self.read_refs: set[str] = set()
        self.before: list[Move] = []
        self.after: list[Move] = []
        self.order: tuple[Literal["state", "locks"], ...] = ("state", "locks")

    @property
    def db_version(self) -> int:
        """The operation counter of the state."""
        return self._pictures[STATE].counter

    @property
    def state_commit(self) -> str:
        return self._pictures[STATE].commit

    @property
    def book_commit(self) -> str:
        return self._pictures[LOCKS].commit

    @property
    def staged(self) -> bool:
        """Whether there is anything to publish."""
        return bool(self.before or self.after or any(self._changes.values()))

    @property
    def damaged(self) -> tuple[Damage, ...]:
        """An error for every document that cannot be read; all others can."""
        return tuple(error for ref in (STATE, LOCKS) for error in self._pictures[ref].damaged())

    def changes(self, ref: str) -> dict[str, Change]:
        return self._changes[ref]

    def _side(self, kind: type[Document]) -> tuple[Picture, dict[str, Change]]:
        ref = REF_OF[kind.REF]
        self.read_refs.add(ref)
        return self._pictures[ref], self._changes[ref]

    def get(self, kind: type[D], document_id: str) -> D | None:
        """The document, or None; a damaged one is an error that names it."""
        picture, changes = self._side(kind)
        found: D | None = changes[document_id][1] if document_id in changes else picture.get(kind, document_id)  # type: ignore[assignment]
        return found

    def require(self, kind: type[D], document_id: str) -> D:
        """The document; `NotFound` if there is none."""
        found = self.get(kind, document_id)
        if found is None:
            raise NotFound(f"no {kind.KIND} '{document_id}'", kind=kind.KIND, id=document_id)
        return found

    def put(self, document: D) -> D:
        """Stage a document, its storage fields filled in; equal content stages nothing."""
        kind = type(document)
        picture, changes = self._side(kind)
        old = self.get(kind, document.id)
        if old is not None and not document.residue and old.residue:
            document = document.but(residue=old.residue)
        if old is not None and _same(old, document):
            return old
        at = rfc3339(self.now.at)
        document = document.but(
            schema=max(SCHEMA, old.schema if old else 0),
            rev=picture.counter + 1,
            writer=self.machine,
            created_at=(old.created_at if old else document.created_at) or at,
            updated_at=at,
        )
        raw = encode(document)
        if len(raw) > DOCUMENT_BYTES:
            raise InvalidParams(
                f"{kind.KIND} '{document.id}' would have {len(raw)} bytes, expected at most {DOCUMENT_BYTES}",
                hint="Split it, or keep the bulk in files of the repository.",
                found=len(raw),
                expected=DOCUMENT_BYTES,
            )
        changes[document.id] = (kind, document, raw)
        return document

    def drop(self, kind: type[Document], document_id: str) -> None:
        """Stage the removal of a document; of one that is not there, nothing."""
        picture, changes = self._side(kind)
        if picture.get(kind, document_id) is not None:
            changes[document_id] = (kind, None, b"")
        else:
            changes.pop(document_id, None)

    def rows(self, kind: type[Document]) -> Iterator[Any]:
        """Id and row attributes of each document of a kind, in no order that means anything."""
        picture, changes = self._side(kind)
        yield from (row for row in picture.rows(kind) if row.id not in changes)
        yield from self._staged_rows(kind)

    def _staged_rows(self, kind: type[Document]) -> list[Any]:
        _, changes = self._side(kind)
        return [row_of(document) for of, document, _ in list(changes.values()) if of is kind and document is not None]

    def where(self, kind: type[Document], /, **equals: Any) -> list[Any]:
        """The rows whose attributes equal all that is given."""
        picture, changes = self._side(kind)
        (first, value), *others = equals.items()
        found = [row for row in picture.where(kind, first, value) if row.id not in changes]
        found += [row for row in self._staged_rows(kind) if getattr(row, first) == value]
        return [row for row in found if all(getattr(row, name) == wanted for name, wanted in others)]

    def all(self, kind: type[D]) -> list[D]:
        """Every readable document of a kind."""
        return list(self._readable(kind, self.rows(kind)))

    def found(self, kind: type[D], /, **equals: Any) -> list[D]:
        """The readable documents of `where`."""
        return list(self._readable(kind, self.where(kind, **equals)))

    def _readable(self, kind: type[D], rows: Iterable[Any]) -> Iterator[D]:
        """A row may come from the cache while its document is lost: then it is left out, and `damaged` names it."""
        for row in rows:
            try:
                document = self.get(kind, row.id)
            except (UnreadableState, SchemaNewer):
                continue
            if document is not None:
                yield document

    def starting(self, start: str, kinds: Iterable[type[Document]]) -> list[str]:
        """The ids of these kinds that begin so, sorted."""
        return sorted(row.id for kind in kinds for row in self.rows(kind) if row.id.startswith(start))

    def also_move(self, move: Move, *, first: bool = True) -> None:
        """Move another ref in the same publish, before (or after) our own; old == new only compares it."""
        (self.before if first else self.after).append(move)

    def must_still_be_gated(self) -> None:
        """Refuse with `busy` unless the gate is held: a lease's renewal by file could otherwise fall in between."""
        if not self.exclusive:
            raise Busy(
                "other writers kept the gate too long, expected to have it alone",
                hint="Call the same again in a few seconds.",
                waited_seconds=self._store.gate_lock.seconds,
            )

    def as_of(self, commit: str) -> "Transaction":
        """The state as it was at one of its earlier commits; `InvalidParams` for a commit that is none of it."""
        return self._store.as_of(self, commit)

    def about(self) -> str:
        """The id of the first document that is new here, for the journal's subject."""
        fresh = (
            document_id
            for ref in (STATE, LOCKS)
            for document_id, (kind, document, _) in self._changes[ref].items()
            if document is not None and document.rev and ids.is_whole(document_id) and self._is_new(kind, document_id)
        )
        return next(fresh, "")

    def _is_new(self, kind: type[Document], document_id: str) -> bool:
        return self._pictures[REF_OF[kind.REF]].get(kind, document_id) is None


def _same(old: Document, new: Document) -> bool:
    return old == new.but(
        schema=old.schema,
        rev=old.rev,
        writer=old.writer,
        created_at=old.created_at,
        updated_at=old.updated_at,
    )


def moves_of(transaction: Transaction, ours: dict[str, Move], seen: Sequence[Move]) -> list[Move]:
    """All refs to lock: the caller's first ones, ours in the transaction's order, its last ones, what was only read."""
    moved = [ours[REF_OF[name]] for name in transaction.order if REF_OF[name] in ours]
    return [*transaction.before, *moved, *transaction.after, *(one for one in seen if one.ref not in ours)]
