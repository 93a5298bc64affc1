"""Which live worktrees would conflict if they were merged now, uncommitted work included; nothing is merged."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.decoding import decoder
from codestrator.methods import leases, overlap, paging, places, removing, who
from codestrator.params import Paged, SessionId, WorktreeId
from codestrator.records import SESSION_ENDED, Lease, Rescue, Scope, Session, Worktree

SECONDS = 20.0
AT_ONCE = 16  # pairs for one run of git: between two runs the time is looked at
CACHE = "cache/forecast"
CACHED = 4_000


class Forecast(Paged, frozen=True, kw_only=True):
    session_id: Annotated[SessionId | None, Meta(description="only pairs with a worktree of it")] = None
    worktree_ids: tuple[WorktreeId, ...] = ()
    include_target: bool = True
    include_clean: bool = False


class Head(NamedTuple):
    """A live worktree, or the branch where it lands, at what would be merged of it."""

    name: str
    session_id: str | None
    commit: str
    from_snapshot: bool


Files = list[dict[str, str]]
Pair = tuple[Head, Head]


def forecast(flow: Flow, want: Forecast) -> dict[str, Any]:
    """Say which live worktrees would conflict with each other or where they land, and who works under whose lock.

    Uncommitted work counts as far as the newest snapshot has it. Nothing is written into branches or folders.
    """
    tx = flow.read()
    if want.session_id:
        who.session_of(tx, want.session_id)
    worktrees = _live(tx, want)
    heads = [head for one in worktrees if (head := _head(flow, tx, one)) is not None]
    pairs = list(_pairs(flow, tx, want, worktrees, heads))
    found, truncated = _merged(flow, pairs)
    shown = [_item(pair, files) for pair, files in found if files or want.include_clean]
    result = paging.page(tx, want, lambda then: shown, lambda then, one: one)
    result |= {"pairs_checked": len(found), "scopes": _scopes(flow, tx, worktrees, heads)}
    return result | ({"truncated": True} if truncated else {})


def _live(tx: Tx, want: Forecast) -> list[Worktree]:
    """Worktrees on this machine whose session is at work, in the order of their making."""
    for worktree_id in want.worktree_ids:
        tx.require(Worktree, worktree_id)
    found = []
    for one in tx.found(Worktree, status="active"):
        session = tx.get(Session, one.owner_session_id)
        at_work = one.kind != "main" and session is not None and session.status not in SESSION_ENDED
        if at_work and (not want.worktree_ids or one.id in want.worktree_ids):
            found.append(one)
    return sorted(found, key=lambda one: (one.created_at, one.id))


def _head(flow: Flow, tx: Tx, worktree: Worktree) -> Head | None:
    """Its branch, with the newest snapshot on top where that was taken of this very head."""
    commit = flow.store.refs.read(f"refs/heads/{worktree.branch}") if worktree.branch else None
    if commit is None:
        return None
    snapshot = tx.get(Rescue, worktree.latest_snapshot_id)
    folder = places.path_of(tx, worktree)
    dirty = snapshot is not None and folder is not None and folder.is_dir()
    if snapshot and dirty and snapshot.head == commit and flow.world.worktrees.changes(folder):  # type: ignore[arg-type]
        return Head(worktree.id, worktree.owner_session_id, snapshot.commit, True)
    return Head(worktree.id, worktree.owner_session_id, commit, False)


def _pairs(flow: Flow, tx: Tx, want: Forecast, worktrees: list[Worktree], heads: list[Head]) -> Iterator[Pair]:
    """Every two worktrees, and each session's root with its target."""
    for one, two in combinations(heads, 2):
        if want.session_id in (None, one.session_id, two.session_id):
            yield one, two
    if not want.include_target:
        return
    by_name = {head.name: head for head in heads}
    for worktree in worktrees:
        target = removing.target_branch(flow, tx, worktree) if worktree.kind == "session_root" else None
        tip = flow.store.refs.read(f"refs/heads/{target}") if target else None
        if tip and worktree.id in by_name and want.session_id in (None, worktree.owner_session_id):
            yield by_name[worktree.id], Head(str(target), None, tip, False)


def _merged(flow: Flow, pairs: list[Pair]) -> tuple[list[tuple[Pair, Files]], bool]:
    """Each pair with its conflicts, from the cache or by git, in their order; whether the time ran out before all."""
    known = _cached(flow)
    todo = [pair for pair in dict.fromkeys(pairs) if _key(pair) not in known]
    begun, truncated = flow.now().boot_ms, False
    for start in range(0, len(todo), AT_ONCE):
        left = SECONDS - (flow.now().boot_ms - begun) / 1000
        if left <= 0 or flow.world.cancelled.is_set():
            truncated = True
            break
        some = todo[start : start + AT_ONCE]
        results = flow.world.branches.conflicts([(one.commit, two.commit) for one, two in some], seconds=left)
        if results is None:
            truncated = True
            break
        known |= {_key(pair): [list(one) for one in found] for pair, found in zip(some, results, strict=True)}
    if todo:
        _keep(flow, known)
    done = [pair for pair in pairs if _key(pair) in known]
    return [(pair, [{"path": path, "kind": kind} for path, kind in known[_key(pair)]]) for pair in done], truncated


def clashes(flow: Flow, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """For each two commits the files that would conflict if they were merged; what was found once is kept.

    Pairs that git did not get to in time are left out; a landing finds out by itself.
    """
    asked = [(Head("", None, one, False), Head("", None, two, False)) for one, two in pairs]
    found, _ = _merged(flow, asked)
    return {(one.commit, two.commit): [file["path"] for file in files] for (one, two), files in found}


def _key(pair: Pair) -> str:
    return f"{pair[0].commit} {pair[1].commit}"


def _cached(flow: Flow) -> dict[str, list[list[str]]]:
    """What merging two commits gave is so for ever; a file that cannot be read is an empty one."""
    try:
        return decoder(dict[str, list[list[str]]]).decode(flow.world.files.read(CACHE) or b"{}")
    except msgspec.MsgspecError:
        return {}


def _keep(flow: Flow, known: dict[str, list[list[str]]]) -> None:
    newest = dict(list(known.items())[-CACHED:])
    flow.world.files.write(CACHE, msgspec.json.encode(newest))


def _item(pair: Pair, files: Files) -> dict[str, Any]:
    one, two = pair
    return {
        "a": one.name,
        "b": two.name,
        "conflicts": bool(files),
        "files": files,
        "a_head": one.commit,
        "b_head": two.commit,
        "from_snapshot": {"a": one.from_snapshot, "b": two.from_snapshot},
    }


def _scopes(flow: Flow, tx: Tx, worktrees: list[Worktree], heads: list[Head]) -> list[dict[str, Any]]:
    """Files changed in one worktree under a path that another session has locked."""
    held = leases.held(tx, "paths")
    found = []
    by_name = {head.name: head for head in heads}
    for worktree in worktrees:
        foreign = [one for one in held if one.session_id != worktree.owner_session_id]
        head = by_name.get(worktree.id)
        if not foreign or head is None:
            continue
        changed = flow.world.branches.changed(worktree.base_commit, head.commit)
        for lease in foreign:
            if files := [name for name in changed if _under(name, lease)]:
                found.append({"lock_id": lease.id, "worktree_id": worktree.id, "files": files[:100]})
    return found


def _under(name: str, lease: Lease) -> bool:
    return overlap.overlaps(Scope(scope_type="file", scope_path=name), lease, fold=False)
