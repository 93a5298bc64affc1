"""Reads the state and the lock book, and publishes changes to them: one picture, one commit, compare-and-swap."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pygit2

from codestrator import SCHEMA
from codestrator.clock import Clock, rfc3339
from codestrator.errors import Busy, InvalidParams, NotFound, UnreadableState, WrongState
from codestrator.model import Document
from codestrator.ports import Contention, Git, Move
from codestrator.store.configuration import checked_out, open_repository
from codestrator.store.documents import LOCKS, STATE, Layout, newer
from codestrator.store.founding import make, rest
from codestrator.store.gate import Gate
from codestrator.store.journal import Operation, journal
from codestrator.store.objects import Node, Objects, cannot_write
from codestrator.store.picture import Picture
from codestrator.store.refs import Refs
from codestrator.store.rowcache import WORTH_WRITING, RowCache
from codestrator.store.tips import Tip, Tips
from codestrator.store.transaction import Stamp, Transaction, moves_of

if TYPE_CHECKING:
    from codestrator.store.upkeep import Upkeep

T = TypeVar("T")
Mover = Callable[[Sequence[Move]], None]
ASIDE_TRIES = 3
WRITE_TRIES = 4  # `git gc` removes empty folders of objects, also one that is about to be written into


class Store:
    """The documents of one repository.

    `git` gives the git program once it is needed; `patience_seconds` bounds the redoing of a publish that lost a race.
    """

    def __init__(
        self,
        common_dir: Path,
        kinds: Mapping[str, type[Document]],
        clock: Clock,
        git: Callable[[], Git],
        *,
        machine: str,
        durable: bool = False,
        gate_seconds: float = 5.0,
        patience_seconds: float = 10.0,
    ) -> None:
        self.common_dir = common_dir
        self.machine = machine
        self._patience = patience_seconds
        self._clock = clock
        private = common_dir / "codestrator"
        self.objects = Objects(common_dir, RowCache(private / "cache", kinds), durable=durable)
        self.refs = Refs(self.objects, common_dir, durable=durable)
        self.gate_lock = Gate(private / "gate", gate_seconds)
        self._git = git
        self.recent = Tips(private / "tips")
        self._layouts = {ref: Layout(ref, kinds) for ref in (STATE, LOCKS)}
        self._latest: dict[str, Picture] = {}

    @cached_property
    def upkeep(self) -> "Upkeep":
        from codestrator.store.upkeep import Upkeep  # what only reads needs none

        return Upkeep(self.common_dir, open_repository, self._git)

    @property
    def repo(self) -> pygit2.Repository:
        return self.objects.repo

    def gate(self) -> AbstractContextManager[bool]:
        """Keep other writers waiting; yields False if it was not got in `gate_seconds`."""
        return self.gate_lock()

    @property
    def initialised(self) -> bool:
        return None not in self.tips()

    def tips(self) -> tuple[str | None, str | None]:
        """The commits of state and lock book now."""
        return self.refs.read(STATE), self.refs.read(LOCKS)

    def glance(self) -> object:
        """Something that differs once state or lock book has moved, for a fiftieth of what reading the tips costs."""
        return self.refs.glance(STATE, LOCKS)

    def initialise(self) -> bool:
        """Make the two refs where they are missing; whether any was made."""
        give_up = time.monotonic() + self._patience
        return any([make(self, ref, name, give_up) for ref, name in ((STATE, "state"), (LOCKS, "locks"))])

    def _picture(self, ref: str) -> Picture:
        tip = self.refs.read(ref)
        if tip is None:
            self.refuse_vanished(ref)
            raise WrongState(
                "this repository has no codestrator state, expected one that was initialised",
                hint="Call workspace.init.",
                found="no state",
                expected="initialised",
            )
        latest = self._latest.get(ref)
        if latest is None or latest.commit != tip:
            latest = self._latest[ref] = self.read_commit(ref, tip)
        return latest

    def refuse_vanished(self, ref: str) -> None:
        """A ref that is not there, but was: making a new one would hide what it held."""
        last = next((tip.state if ref == STATE else tip.locks for tip in self.recent.recent()), None)
        if last is not None:
            raise UnreadableState(
                f"'{ref}' has vanished, expected it at '{last}' or later",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                ref=ref,
                document=ref,
                reason="the ref is missing",
                last_seen=last,
            )

    def layout(self, ref: str) -> Layout:
        return self._layouts[ref]

    @property
    def git(self) -> Git:
        return self._git()

    def adopt(self, move: Move) -> bool:
        """Take a commit over that another machine has had accepted; False, with nothing moved, if ours has moved."""
        with self.gate() as held:
            try:
                self.refs.move([move])
            except Contention:
                if held and move.ref.startswith("refs/codestrator/"):
                    self.refs.break_stale(move.ref)
                return False
        state, locks = self.tips()
        self.recent.note(Tip(rfc3339(self._clock.now().at), str(state), str(locks)))
        return True

    def read_commit(self, ref: str, commit: str) -> Picture:
        """What one commit of a ref holds; `UnreadableState` or `SchemaNewer` where that is no state of ours."""
        try:
            found = self.objects.commit(commit)
            root = self.objects.node(found.tree_id.raw)
            picture = Picture(self.objects, self._layouts[ref], commit, found.commit_time, root)
            schema = picture.schema()
        except (KeyError, ValueError, msgspec.MsgspecError, pygit2.GitError) as error:
            raise UnreadableState(
                f"commit '{commit}' of '{ref}' is missing or damaged, expected the state",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                ref=ref,
                document=commit,
                reason=str(error)[:200],
            ) from None
        if schema > SCHEMA:
            raise newer(ref, "meta", schema)
        return picture

    def read(self, at: str | None = None) -> Transaction:
        """What is there now, or as one operation (its id) left it."""
        transaction = self._begin()
        if at is None:
            return transaction
        for operation in self.journal():
            if operation.op.startswith(at):
                return self.as_of(transaction, operation.commit)
        raise NotFound(
            f"no operation '{at}' in the journal", hint="List operations with journal.list.", kind="operation", id=at
        )

    def _begin(self, op: str = "", exclusive: bool = False) -> Transaction:
        pictures = {ref: self._picture(ref) for ref in (STATE, LOCKS)}
        return Transaction(self, pictures, self._clock.now(), machine=self.machine, op=op, exclusive=exclusive)

    def as_of(self, transaction: Transaction, commit: str) -> Transaction:
        """The same question to an earlier commit of the state."""
        if not self._is_ours(transaction.state_commit, commit):
            raise InvalidParams(
                f"'{commit}' is not a commit of the state, expected one of '{STATE}'",
                hint="Ask for the first page again.",
                field="cursor",
                found=commit,
            )
        pictures = {STATE: self.read_commit(STATE, commit), LOCKS: self._picture(LOCKS)}
        return Transaction(self, pictures, transaction.now, machine=self.machine)

    def _is_ours(self, tip: str, commit: str) -> bool:
        """Whether the commit is in the history of the tip; counters rise, so the walk ends where they pass it."""
        try:
            wanted = self.objects.commit(commit)
        except (KeyError, ValueError):
            return False
        waiting, seen = [self.objects.commit(tip)], set()
        while waiting:
            one = waiting.pop()
            if one.id == wanted.id:
                return True
            if one.id not in seen and one.commit_time > wanted.commit_time:
                seen.add(one.id)
                waiting += [self.objects.commit(str(parent)) for parent in one.parent_ids if parent in self.repo]
        return False

    def transact(
        self,
        act: Callable[[Transaction], T],
        *,
        stamp: Stamp,
        mover: Mover | None = None,
        order: tuple[str, ...] | None = None,
        aside: bool = False,
        elsewhere: bool = False,
    ) -> T:
        """Run `act` on the newest picture and publish what it stages, as one operation or not at all.

        `act` runs again when another writer was first, for at most `patience_seconds`, then `Busy`. Staging nothing
        publishes nothing. `mover` moves the refs in place of the store when some are the user's; `aside`: it may take
        its time, so no other writer waits for it, unless it has lost a few times. `elsewhere`: it asks another machine,
        so nobody ever waits for it, and what is decided there need not be kept apart from renewals by file.
        """
        give_up = time.monotonic() + self._patience
        tries_aside = ASIDE_TRIES if aside else 0
        while True:
            self.objects.prepare()
            with nullcontext(False) if tries_aside or elsewhere else self.gate() as held:
                transaction = self._begin(stamp.op, held or elsewhere)
                if order:
                    transaction.order = order  # type: ignore[assignment]  # the names of our two refs
                result = act(transaction)
                if not transaction.staged:
                    return result
                try:
                    self._publish(transaction, stamp, mover or self.refs.move)
                    return result
                except Contention as lost:
                    self._lost(lost, held, give_up)
            tries_aside = max(0, tries_aside - 1)
            time.sleep(rest())

    def _lost(self, lost: Contention, held: bool, give_up: float) -> None:
        self._latest.clear()
        if held:
            for ref in (STATE, LOCKS):
                self.refs.break_stale(ref)
        if time.monotonic() > give_up:
            raise Busy(
                f"publishing lost the race for {self._patience:g} s, last at '{lost}', expected to win it",
                hint="Call the same again in a few seconds.",
                waited_seconds=self._patience,
            ) from None

    def _publish(self, transaction: Transaction, stamp: Stamp, mover: Mover) -> None:
        ours, pictures = self._written(transaction, stamp.message(transaction.about()))
        seen = [Move(ref, now, now) for ref in sorted(transaction.read_refs) for now in [_tip(transaction, ref)]]
        mover(moves_of(transaction, ours, seen))
        for picture in pictures:
            self._latest[picture.layout.ref] = picture
        state, locks = (ours[ref].new if ref in ours else _tip(transaction, ref) for ref in (STATE, LOCKS))
        self.recent.note(Tip(rfc3339(transaction.now.at), str(state), str(locks)))
        documents = sum(len(transaction.changes(ref)) for ref in ours)
        if documents >= WORTH_WRITING:  # a bulk: the next process need not read all of it
            self.objects.rowcache.learn(documents)
            for picture in pictures:
                self.objects.rowcache.keep(picture)
        self.upkeep.after({picture.layout.ref: picture.counter for picture in pictures}, documents)

    def _written(self, transaction: Transaction, message: str) -> tuple[dict[str, Move], list[Picture]]:
        """The new commits, their refs not moved yet; written again where git's tidying took a folder from under us."""
        for more in reversed(range(WRITE_TRIES)):
            ours: dict[str, Move] = {}
            pictures: list[Picture] = []
            try:
                for ref in (STATE, LOCKS):
                    if changes := transaction.changes(ref):
                        old = self._picture_of(transaction, ref)
                        root = old.rewritten(changes)
                        commit = self.commit(root, [old.commit], old.counter + 1, message)
                        ours[ref] = Move(ref, old.commit, commit)
                        pictures.append(Picture(self.objects, old.layout, commit, old.counter + 1, root))
                break
            except (OSError, pygit2.GitError) as error:
                if not more:
                    raise cannot_write(self.common_dir, error) from error
        return ours, pictures

    def _picture_of(self, transaction: Transaction, ref: str) -> Picture:
        return transaction._pictures[ref]

    def commit(self, root: Node, parents: list[str], counter: int, message: str) -> str:
        """Author: the user, now. Committer date: the counter, so that `git log --all` shows the user's work first."""
        now = int(self._clock.now().at.timestamp())
        try:
            user = self.repo.default_signature
            name, email = user.raw_name, user.raw_email
        except (KeyError, ValueError, pygit2.GitError):
            name, email = b"codestrator", b"codestrator@localhost"
        lines = [b"tree " + root.oid.hex().encode(), *(b"parent " + one.encode() for one in parents)]
        for role, seconds in ((b"author", now), (b"committer", counter)):
            lines.append(b"%s %s <%s> %d +0000" % (role, name, email, seconds))
        return self.objects.write_commit(b"\n".join(lines) + b"\n\n" + message.encode())

    def journal(self, start: str | None = None) -> Iterator[Operation]:
        """The operations on the state, newest first, from the tip or a given commit on."""
        return journal(self.objects, self._layouts[STATE], start or self._picture(STATE).commit)

    def book_journal(self, start: str | None = None) -> Iterator[Operation]:
        """The operations on the lock book, newest first."""
        return journal(self.objects, self._layouts[LOCKS], start or self._picture(LOCKS).commit)

    def head(self, folder: Path) -> tuple[str, str, str | None]:
        """Commit, tree and branch (None: detached) checked out in a worktree; `WrongState` where there is no commit."""
        head = checked_out(folder)
        branch = head.removeprefix("ref:").strip() if head.startswith("ref:") else None
        commit = self.refs.read(branch) if branch else head
        if commit is None:
            raise WrongState(f"'{folder}' has no commit checked out, expected one", hint="Make a first commit.")
        tree = str(self.objects.commit(commit).tree_id)
        return commit, tree, branch.removeprefix("refs/heads/") if branch else None

    def maintain(self) -> None:
        """Pack what was written since the last time, now; `External` when the disk is full or not writable."""
        try:
            self.upkeep.maintain()
        except (OSError, pygit2.GitError) as error:
            raise cannot_write(self.common_dir, error) from error

    def close(self) -> None:
        """End what runs in the background, and let go of the repository."""
        if "upkeep" in self.__dict__:
            self.upkeep.close()
        self.objects.close()


def _tip(transaction: Transaction, ref: str) -> str:
    return transaction.state_commit if ref == STATE else transaction.book_commit
