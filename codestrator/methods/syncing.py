"""The rounds of one sync: look, fetch, join, push with a lease on what was seen, and only then move what is here."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from codestrator.calls import Flow
from codestrator.decoding import decoder
from codestrator.errors import NeedsPerson, Offline, UnreadableState
from codestrator.methods import books, quiet, shared_rescue
from codestrator.methods.fetching import bring
from codestrator.ports import Move
from codestrator.programs import Push, Pushed
from codestrator.store.documents import LOCKS, STATE

NOTES = "refs/notes/codestrator"
REFS = {"state": STATE, "locks": LOCKS, "notes": NOTES}
# Data goes before what names it: whoever reads the state may look for its snapshots.
ORDER = ("notes", "locks", "state")
MOST_ROUNDS = 12
REST_SECONDS, MOST_DOUBLINGS = 0.05, 4
ADOPT_TRIES = 20
Verdict = Literal[
    "up_to_date", "fetched", "pushed", "merged", "republished", "rewritten", "diverged", "refused", "offline"
]


class Remembered(Struct):
    """What this machine knows of its last sync with a remote, in its private folder."""

    verdicts: dict[str, str] = {}


class Item(Struct):
    """What became of one ref."""

    ref: str
    verdict: Verdict = "up_to_date"
    detail: str | None = None
    local: str | None = None
    remote: str | None = None


class Step(NamedTuple):
    """What is to be done for a ref in one round: the commit both sides are to have, and whether there, and here."""

    verdict: Verdict
    commit: str
    seen: str | None
    sends: bool
    adopt: bool


def _shown(item: Item) -> dict[str, Any]:
    if item.verdict == "up_to_date" and item.detail is None:
        return {"ref": item.ref, "verdict": item.verdict}
    return {name: value for name, value in msgspec.to_builtins(item).items() if value is not None}


def tracking(remote: str, ref: str) -> str:
    """Where it is kept what a remote last said of a ref."""
    return f"refs/codestrator-remote/{remote}/{'notes' if ref == NOTES else ref.removeprefix('refs/codestrator/')}"


def _file(remote: str) -> str:
    return f"sync/{remote.replace('/', '%2f')}.json"


def beat_of(remote: str) -> str:
    """The live file whose beat is the last sync with a remote: rewritten in place, at next to no cost."""
    return f"sync-{remote.encode().hex()}"


def remembered(flow: Flow, remote: str) -> Remembered:
    raw = flow.world.files.read(_file(remote))
    try:
        return decoder(Remembered).decode(raw) if raw else Remembered()
    except (msgspec.MsgspecError, UnicodeError):
        return Remembered()


def apart(flow: Flow, remote: str, ref: str) -> dict[str, int]:
    """How many commits each side has that the other had not when it was last heard of."""
    here, there = flow.store.refs.read(ref), flow.store.refs.read(tracking(remote, ref))
    return {"ahead": _count(flow, here, there), "behind": _count(flow, there, here)}


def _count(flow: Flow, of: str | None, without: str | None) -> int:
    if of is None:
        return 0
    return int(flow.world.git.run("rev-list", "--count", of, *([f"^{without}"] if without else [])))


def track(flow: Flow, remote: str, ref: str, commit: str) -> None:
    """Keep in mind what the remote has now."""
    place = tracking(remote, ref)
    flow.store.adopt(Move(place, flow.store.refs.read(place), commit))


def hold(flow: Flow, remote: str, ref: str, commit: str) -> None:
    """Keep a ref on what is not local yet: a push may take seconds, and `git gc --prune=now` none."""
    track(flow, remote, f"refs/codestrator/pushing/{ref.rpartition('/')[2]}", commit)


def adopt(flow: Flow, remote: str, ref: str, old: str | None, new: str) -> str:
    """Move what is here; if it moved meanwhile, join that with what the other side has now. What is here then."""
    for _ in range(ADOPT_TRIES):
        if flow.store.adopt(Move(ref, old, new)):
            return new
        old = flow.store.refs.read(ref)
        new = books.joined(flow, remote, ref, old, new).commit
    return str(old)


def pause(flow: Flow, rounds: int, begun_ms: int) -> float:
    """Seconds before the next round: a random part of what the last one took, doubled with each (Ethernet's way)."""
    share = int(flow.read().mint("op")[3:5], 36) / 36**2
    took = max(REST_SECONDS, (flow.now().boot_ms - begun_ms) / 1000)
    return float(took * 2 ** min(rounds, MOST_DOUBLINGS) * share)


class Sync:
    """One sync with one remote."""

    def __init__(
        self, flow: Flow, remote: str, names: Sequence[str], *, direction: str, seconds: int, most_seconds: int
    ) -> None:
        self._flow = flow
        self._remote = remote
        self._seconds = seconds
        self._end = flow.now().boot_ms + 1000 * most_seconds
        self._fetches, self._pushes = direction != "push", direction != "fetch"
        self._rescue = "rescue" in names
        self._names = [name for name in ORDER if name in names]
        self._items = {REFS[name]: Item(REFS[name]) for name in ("state", "locks", "notes") if name in names}
        self._snapshots = Item(shared_rescue.ALL)
        self._unanswered = False

    def shown(self) -> list[dict[str, Any]]:
        items = [*self._items.values(), *([self._snapshots] if self._rescue else [])]
        return [_shown(one) for one in items]

    def plan(self) -> list[dict[str, Any]]:
        """What a run would do, as far as it can be told without fetching."""
        there = self._listed()
        for ref, item in self._items.items():
            here, seen = self._flow.store.refs.read(ref), there.get(ref)
            item.local, item.remote = here, seen
            if here == seen:
                continue
            known = self._flow.store.refs.read(tracking(self._remote, ref))
            if seen is None:
                item.verdict = "republished" if known else "pushed"
            elif here and self._flow.store.objects.is_ancestor(seen, here):
                item.verdict = "pushed"
            else:
                item.verdict = "fetched" if here is None or here == known else "merged"
        if self._rescue:
            self._say_snapshots(shared_rescue.planned(self._flow, there, self._fetches, self._pushes))
        return self.shown()

    def run(self) -> int:
        """All rounds; how many it took. A ref that is never quiet is told as it is then, and left to the next sync."""
        pending = [REFS[name] for name in self._names]
        rounds, begun = 0, 0
        while rounds < MOST_ROUNDS and (rounds == 0 or pending):
            if rounds and not self._rest(rounds, begun):
                break
            rounds, begun = rounds + 1, self._flow.now().boot_ms
            try:
                there = self._listed()
                if rounds == 1 and self._rescue:
                    self._share_snapshots(there)
                pending = self._round(pending, there)
            except Offline as error:
                self._offline(pending, error, first=rounds == 1)
                pending = []
        for ref in pending:
            self._say(ref, "refused", f"others were first in each of {rounds} rounds; run it again")
        self._remember(rounds < MOST_ROUNDS and not pending)
        if self._flow.store.initialised:
            books.note_first_sight(self._flow)
        return rounds

    def _listed(self) -> dict[str, str]:
        return self._flow.world.remotes.listed(self._remote, seconds=self._left())

    def _left(self) -> float:
        """Seconds that the next network call may take."""
        return max(1.0, min(self._seconds, (self._end - self._flow.now().boot_ms) / 1000))

    def _rest(self, rounds: int, begun: int) -> bool:
        """Wait before the next round, ever longer and never as long as another machine; False when time is up."""
        seconds = pause(self._flow, rounds, begun)
        if self._flow.now().boot_ms + 1000 * seconds >= self._end:
            return False
        return not self._flow.world.cancelled.wait(seconds)

    def _share_snapshots(self, there: dict[str, str]) -> None:
        ways = (self._fetches, self._pushes)
        self._say_snapshots(shared_rescue.share(self._flow, self._remote, there, *ways, left=self._left))

    def _say_snapshots(self, found: shared_rescue.Shared) -> None:
        item = self._snapshots
        if found.refused:
            item.verdict, item.detail = "refused", found.refused
        elif found.damaged:
            item.verdict, item.detail = "diverged", found.damaged
        elif found.fetched or found.pushed:
            item.verdict = "fetched" if not found.pushed else "merged" if found.fetched else "pushed"
            item.detail = f"{found.fetched} fetched, {found.pushed} pushed"

    def _round(self, pending: Sequence[str], there: dict[str, str]) -> list[str]:
        """One look, fetch and push; the refs that have to be looked at again."""
        damaged = self._fetch(pending, there)
        for ref, reason in damaged.items():
            self._say(ref, "diverged", reason)
        readable = [ref for ref in pending if ref not in damaged]
        steps = {ref: step for ref in readable if (step := self._judged(ref, there.get(ref)))}
        pushes = [Push(ref, step.commit, step.seen) for ref, step in steps.items() if step.sends]
        for ref, step in steps.items():
            if step.sends and step.adopt:
                hold(self._flow, self._remote, ref, step.commit)
        found = self._pushed(pushes) if pushes else {}
        return [ref for ref, step in steps.items() if self._settled(ref, step, found.get(ref))]

    def _fetch(self, pending: Sequence[str], there: dict[str, str]) -> dict[str, str]:
        """Bring what is new there; what is damaged, with the reason."""
        refs = self._flow.store.refs
        new = [ref for ref in pending if ref in there and there[ref] != refs.read(ref)]
        wanted = [
            (ref, tracking(self._remote, ref)) for ref in new if there[ref] != refs.read(tracking(self._remote, ref))
        ]
        before = {ref: refs.read(place) for ref, place in wanted}
        damaged = bring(self._flow, self._remote, wanted, left=self._left)
        for ref, place in (one for one in wanted if one[0] not in damaged):
            known, now = before[ref], refs.read(place)
            there[ref] = now or there[ref]
            if known and now and not self._flow.store.objects.is_ancestor(known, now):
                self._say(ref, "rewritten", f"the history there does not contain '{known[:12]}', which was seen before")
        return damaged

    def _judged(self, ref: str, seen: str | None) -> Step | None:
        """What is to be done; None where nothing is, or nothing can be."""
        store, item = self._flow.store, self._items[ref]
        here = store.refs.read(ref)
        item.local, item.remote = here, seen
        if here == seen:
            if seen is not None and store.refs.read(tracking(self._remote, ref)) != seen:
                track(self._flow, self._remote, ref, seen)  # who pushed it died before it could be noted
            return None
        if seen is None:
            assert here is not None
            known = store.refs.read(tracking(self._remote, ref))
            return Step("republished" if known else "pushed", here, None, True, False) if self._pushes else None
        if here and store.objects.is_ancestor(seen, here):
            return Step("pushed", here, seen, True, False) if self._pushes else None
        if not self._fetches:
            self._say(ref, "diverged", "the remote has moved on; run it with direction both")
            return None
        return self._joined(ref, here, seen)

    def _joined(self, ref: str, here: str | None, seen: str) -> Step | None:
        try:
            joined = books.joined(self._flow, self._remote, ref, here, seen)
        except (NeedsPerson, UnreadableState) as error:
            names = error.details.get("documents") or [error.details.get("document", "")]
            self._say(ref, "diverged", f"{error.message} ({', '.join(map(str, names[:10]))})"[:1000])
            return None
        if joined.rejected:
            names = ", ".join(str(one.details.get("document")) for one in joined.rejected[:5])
            self._say(ref, None, f"left out as unreadable: {names}")
        if joined.commit == seen:
            return Step("fetched", seen, seen, False, True)
        return Step("merged", joined.commit, seen, self._pushes, True)

    def _pushed(self, pushes: Sequence[Push]) -> dict[str, Pushed]:
        """What became of each; an answer that got lost is settled by reading the refs there."""
        remotes = self._flow.world.remotes
        try:
            return remotes.send(self._remote, pushes, seconds=self._left())
        except Offline:
            there = self._listed()
            done, lost = Pushed("done"), Pushed("lost")
            found = {one.ref: done if self._has(there.get(one.ref), one.new) else lost for one in pushes}
            if self._unanswered and done not in found.values():
                raise  # it lets itself be read, but twice it took nothing
            self._unanswered = True
            return found

    def _has(self, there: str | None, new: str) -> bool:
        return there is not None and self._flow.store.objects.is_ancestor(new, there)

    def _settled(self, ref: str, step: Step, pushed: Pushed | None) -> bool:
        """Make it local; whether another round is needed."""
        if pushed and pushed.verdict == "lost":
            return True
        if pushed and pushed.verdict == "refused":
            hint = "; git config codestrator.refPrefix refs/heads/codestrator/ keeps it on branches there"
            self._say(ref, "refused", f"{pushed.words}{hint}")
        else:
            self._say(ref, step.verdict, None)
            track(self._flow, self._remote, ref, step.commit if step.sends else str(step.seen))
        before = self._items[ref].local
        again = step.adopt and adopt(self._flow, self._remote, ref, before, step.commit) != step.commit
        item = self._items[ref]
        item.local = self._flow.store.refs.read(ref)
        item.remote = (
            step.seen if pushed and pushed.verdict == "refused" else (step.commit if step.sends else step.seen)
        )
        return again and self._pushes

    def _say(self, ref: str, verdict: Verdict | None, detail: str | None) -> None:
        """A later round does not make less of what an earlier one did."""
        item = self._items[ref]
        weight: tuple[Verdict, ...] = (
            "up_to_date", "fetched", "pushed", "republished", "merged", "rewritten", "offline", "refused", "diverged"
        )  # fmt: skip
        if verdict and weight.index(verdict) > weight.index(item.verdict):
            item.verdict = verdict
        if detail:
            item.detail = detail

    def _offline(self, pending: Sequence[str], error: Offline, *, first: bool) -> None:
        for ref in pending:
            self._say(ref, "offline", error.message)
        if first and self._rescue and self._snapshots.verdict == "up_to_date":
            self._snapshots.verdict, self._snapshots.detail = "offline", error.message

    def _remember(self, settled: bool) -> None:
        known = remembered(self._flow, self._remote)
        now = Remembered(known.verdicts | {one.ref: one.verdict for one in self._items.values()})
        if now != known:
            self._flow.world.files.write(_file(self._remote), msgspec.json.encode(now))
        if not all(one.verdict == "offline" for one in self._items.values()):
            self._flow.world.live.renew(beat_of(self._remote))
        if settled and self._flow.store.initialised:
            quiet.note(self._flow, self._remote, {ref: tracking(self._remote, ref) for ref in self._items})
