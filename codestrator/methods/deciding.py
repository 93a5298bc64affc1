"""What two machines could do at once is decided on the remote: pushed with a lease before it is true here."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, External, Offline
from codestrator.methods import syncing
from codestrator.ports import Contention, Move
from codestrator.programs import Push, Pushed
from codestrator.store.joining import is_ancestor

T = TypeVar("T")
TRIES = 6
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
                hint="Run git codestrator sync to see what is in the way.",
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
    forced: bool = False,
) -> T:
    """Publish what `act` stages there, then here; `act` runs again on what another machine published first.

    `forced`: here alone if it cannot be said whether it came there. It is the same commit, so both can be joined.
    """
    for _ in range(TRIES):
        share(flow, remote, ("state", "locks"))
        try:
            return flow.transact(act, about, order=order, mover=_Mover(flow, remote, forced), aside=True)
        except _Lost:
            continue
    raise Busy(
        f"'{remote}' had moved on {TRIES} times before it was asked, expected to be first once",
        hint="Call the same again.",
    )


class _Mover:
    """Moves refs on the remote, and only when they are accepted there, here."""

    def __init__(self, flow: Flow, remote: str, forced: bool) -> None:
        self._flow = flow
        self._remote = remote
        self._forced = forced

    def __call__(self, moves: Sequence[Move]) -> None:
        refs = self._flow.store.refs
        ours = [one for one in moves if one.new is not None and one.new != one.old]
        sent = [Push(one.ref, str(one.new), refs.read(syncing.tracking(self._remote, one.ref))) for one in ours]
        if any(one.seen and not is_ancestor(self._flow.store, one.seen, one.new) for one in sent):
            raise _Lost  # another process here has fetched meanwhile: a lease on that would overwrite it
        try:
            found = self._sent(sent)
        except Offline:
            if not self._forced:
                raise
            refs.move(moves)
            return
        if refused := next((one for one in found.values() if one.verdict == "refused"), None):
            raise External(
                f"'{self._remote}' declined it: {refused.words}",
                hint="Run git codestrator sync to see what is in the way.",
                program="git",
            )
        if any(one.verdict == "lost" for one in found.values()):
            raise _Lost
        for one in sent:
            syncing.track(self._flow, self._remote, one.ref, one.new)
        try:
            refs.move(moves)
        except Contention:  # it is decided: what was published here meanwhile is joined with it
            for one in sent:
                here = refs.read(one.ref)
                joined = syncing.joined_with(self._flow, self._remote, one.ref, here, one.new)
                syncing.adopt(self._flow, self._remote, one.ref, here, joined.commit)

    def _sent(self, sent: Sequence[Push]) -> dict[str, Pushed]:
        """What became of it; an answer that got lost is settled by reading the refs there."""
        remotes, seconds = self._flow.world.remotes, self._flow.settings.sync_timeout
        try:
            return remotes.send(self._remote, sent, seconds=seconds, atomic=True)
        except Offline:
            there = remotes.listed(self._remote, seconds=seconds)
            if all(there.get(one.ref) == one.seen for one in sent):
                raise  # it never came there, and nobody else was faster
            return {one.ref: Pushed("done" if there.get(one.ref) == one.new else "lost") for one in sent}
