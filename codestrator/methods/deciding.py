"""What two machines could do at once is decided on the remote: pushed with a lease before it is true here."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import TypeVar

from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, Conflict, External, Offline, Unsupported
from codestrator.methods import books, syncing
from codestrator.ports import Contention, Move
from codestrator.programs import Push, Pushed

T = TypeVar("T")
Mover = Callable[[Sequence[Move]], None]
MOST_SECONDS = 40
DATA = ("rescue", "notes")


class _Lost(Exception):
    """The remote has moved meanwhile."""


def share(flow: Flow, remote: str, names: Sequence[str], *, direction: str = "both") -> "syncing.Sync":
    """One sync of some refs; `Offline` if the remote does not answer, `External` if it declines them."""
    seconds = flow.settings.sync_timeout
    sync = syncing.Sync(flow, remote, names, direction=direction, seconds=seconds, most_seconds=MOST_SECONDS)
    sync.run()
    for one in sync.shown():
        if one["verdict"] in ("offline", "refused", "diverged"):
            kind = Offline if one["verdict"] == "offline" else External
            raise kind(
                f"'{one['ref']}' could not be shared with '{remote}': {one.get('detail', one['verdict'])}",
                hint="See what is in the way: git codestrator sync.",
                remote=remote,
                after_seconds=seconds,
            )
    return sync


def decided(
    flow: Flow,
    remote: str,
    act: Callable[[Tx], T],
    about: str,
    order: tuple[str, ...] = ("state", "locks"),
    *,
    local: Mover | None = None,
    forced: bool = False,
) -> T:
    """Publish what `act` stages there, then here; `act` runs again on what another machine published first.

    `forced`: here alone if it cannot be said whether it came there. It is the same commit, so both can be joined.
    """
    end = flow.now().boot_ms + 1000 * MOST_SECONDS
    mover = _Mover(flow, remote, local, forced=forced)
    found: list[T] = []

    def once(tx: Tx) -> T:
        found[:] = [act(tx)]
        return found[0]

    for tries in count(1):
        begun = flow.now().boot_ms
        share(flow, remote, ("state", "locks"))
        if mover.was_accepted():
            return found[0]
        try:
            return flow.transact(once, about, order=order, mover=mover, elsewhere=True)
        except _Lost:
            pause = syncing.pause(flow, tries, begun)
        if flow.now().boot_ms + 1000 * pause > end or flow.world.cancelled.wait(pause):
            break
    raise Busy(
        f"'{remote}' had moved on {tries} times before it was asked, expected to be first once",
        hint="Call the same again.",
        waited_seconds=MOST_SECONDS,
    )


class _Mover:
    """Moves refs on the remote, and only when they are accepted there, here."""

    def __init__(self, flow: Flow, remote: str, local: Mover | None, *, forced: bool) -> None:
        self._forced = forced
        self._flow = flow
        self._remote = remote
        self._local = local or flow.store.refs.move
        self._asked: list[Move] = []
        self._atomic = True

    def was_accepted(self) -> bool:
        """Whether what was sent last is there after all, below what others did since; then the branches follow here."""
        store, mine = self._flow.store, [one for one in self._asked if one.ref in syncing.REFS.values()]
        if not mine or not all(store.objects.is_ancestor(str(one.new), str(store.refs.read(one.ref))) for one in mine):
            return False
        self._bring_branches()
        return True

    def _bring_branches(self) -> None:
        if branches := [one for one in self._asked if one.ref not in syncing.REFS.values()]:
            with suppress(Contention):  # the user moved it in this moment: their next pull brings the rest
                self._local(branches)

    def __call__(self, moves: Sequence[Move]) -> None:
        refs = self._flow.store.refs
        ours = [one for one in moves if one.new is not None and one.new != one.old]
        self._asked = ours
        sent = [Push(one.ref, str(one.new), self._seen(one)) for one in ours]
        if any(one.seen and not self._flow.store.objects.is_ancestor(one.seen, one.new) for one in sent):
            raise _Lost  # another process here has fetched meanwhile: a lease on that would overwrite it
        for one in sent:
            syncing.hold(self._flow, self._remote, one.ref, one.new)
        try:
            found = self._sent(sent)
        except Offline:
            if not self._forced:
                raise
            self._local(moves)
            return
        if refused := next((one for one in found.values() if one.verdict == "refused"), None):
            raise External(
                f"'{self._remote}' declined it: {refused.words}",
                hint="See what is in the way: git codestrator sync.",
                program="git",
            )
        if any(one.verdict == "lost" for one in found.values()):
            self._refuse_branch(ours, found)
            raise _Lost
        mine = [one for one in sent if one.ref in syncing.REFS.values()]
        for one in mine:
            syncing.track(self._flow, self._remote, one.ref, one.new)
        try:
            self._local(moves)
        except Contention:  # it is decided: what was published here meanwhile is joined with it
            for one in mine:
                here = refs.read(one.ref)
                joined = books.joined(self._flow, self._remote, one.ref, here, one.new)
                syncing.adopt(self._flow, self._remote, one.ref, here, joined.commit)
            self._bring_branches()

    def _seen(self, move: Move) -> str | None:
        """Where the remote had it last; a branch of the user must be there as it is here."""
        if move.ref not in syncing.REFS.values():
            return move.old
        return self._flow.store.refs.read(syncing.tracking(self._remote, move.ref))

    def _refuse_branch(self, moves: Sequence[Move], found: dict[str, Pushed]) -> None:
        for move in moves:
            own = found[move.ref]
            if move.ref not in syncing.REFS.values() and own.verdict == "lost" and "atomic" not in own.words:
                name = move.ref.removeprefix("refs/heads/")
                raise Conflict(
                    f"'{name}' on '{self._remote}' is not at '{str(move.old)[:12]}', expected it where it is here",
                    hint=f"Bring both together with git pull and git push {self._remote} {name}, then call again.",
                    found=own.words,
                    expected=move.old,
                )

    def _sent(self, sent: Sequence[Push]) -> dict[str, Pushed]:
        """What became of it; an answer that got lost is settled by reading the refs there."""
        remotes, seconds = self._flow.world.remotes, self._flow.settings.sync_timeout
        try:
            return remotes.send(self._remote, sent, seconds=seconds, atomic=self._atomic)
        except Unsupported:
            if self._flow.settings.authority == "remote":
                raise  # a fence that moves apart from what it guards is none
            self._atomic = False
            return self._sent(sent)
        except Offline:
            there = remotes.listed(self._remote, seconds=seconds)
            mine = [one for one in sent if one.ref in syncing.REFS.values()]  # what goes with them moved with them
            if all(there.get(one.ref) == one.seen for one in mine):
                raise  # it never came there, and nobody else was faster
            done = all(there.get(one.ref) == one.new for one in mine)
            return {one.ref: Pushed("done") if done else Pushed("lost", "atomic") for one in sent}
