"""The making of a worktree: name, branch, folder and documents, or none of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.errors import CodestratorError, Conflict
from codestrator.methods import intents, names, places
from codestrator.records import Intent, Place, Session, Worktree

T = TypeVar("T")


class Spot(NamedTuple):
    """A name that is free: `path` is absolute, `base` the commit that the branch begins at."""

    slug: str
    branch: str
    path: Path
    base: str


def main_worktree(flow: Flow, tx: Tx, base: str, branch: str | None) -> Worktree:
    """The document of the main worktree, made when it is first needed."""
    found = next(iter(tx.found(Worktree, kind="main")), None) or Worktree(
        id=tx.mint("wt"), slug="main", kind="main", base_commit=base, branch=branch, status="active",
        merge_state="attached",
    )  # fmt: skip
    return tx.put(found.but(places=found.places | {tx.machine: Place(path=".", status="active")}))


def root_folder(flow: Flow) -> Path:
    """Where worktrees are made."""
    return flow.world.repo / flow.settings.worktree_root


def stored_path(flow: Flow, path: Path) -> str:
    """Relative to the repository where it lies inside."""
    return str(path.relative_to(flow.world.repo)) if flow.world.repo in path.parents else str(path)


def is_taken(flow: Flow, tx: Tx, spot: Spot) -> str:
    """What of a spot is in use already: `branch`, `path`, `slug` or nothing."""
    if flow.store.refs.read(f"refs/heads/{spot.branch}") is not None:
        return "branch"
    if spot.path.exists() or spot.path.is_symlink():
        return "path"
    path = stored_path(flow, spot.path)
    for intent in intents.planned(tx):
        if intent.args.get("action") == "make_worktree" and path == intent.args.get("path"):
            return "path"
    for row in tx.rows(Worktree):
        if row.status != "removed" and (row.branch == spot.branch or row.slug == spot.slug):
            return "branch" if row.branch == spot.branch else "slug"
        place = tx.require(Worktree, row.id).places.get(tx.machine) if row.status != "removed" else None
        if place is not None and place.path == path:
            return "path"
    return ""


def free_spot(flow: Flow, tx: Tx, words: str, base: str, branch: str, path: Path | None = None) -> Spot:
    """The first of 64 names that is free; `branch` has `{slug}` where the name goes, or is given and taken as it is."""
    for slug in names.attempts(words):
        spot = Spot(slug, branch.replace("{slug}", slug), path or root_folder(flow) / slug, base)
        why = is_taken(flow, tx, spot)
        if not why:
            return spot
        if (why == "branch" and "{slug}" not in branch) or (why == "path" and path is not None):
            found = branch if why == "branch" else stored_path(flow, spot.path)
            raise Conflict(f"{why} '{found}' is taken, expected a free one", hint="Give another one.", found=found)
    raise Conflict(
        f"'{words}' and {names.ATTEMPTS - 1} more names after it are taken, expected a free one",
        hint="Give another name.",
        found=words,
    )


def new_worktree(flow: Flow, tx: Tx, spot: Spot, worktree_id: str, *, on_disk: bool = True, **fields: Any) -> Worktree:
    """Stage the document of a worktree that has been made at that spot."""
    place = Place(path=stored_path(flow, spot.path), status="active" if on_disk else "planned")
    return tx.put(
        Worktree(
            id=worktree_id,
            slug=spot.slug,
            branch=spot.branch,
            base_commit=spot.base,
            status="active" if on_disk else "planned",
            merge_state="active",
            places={tx.machine: place},
            **fields,
        )
    )


def make(
    flow: Flow,
    choose: Callable[[Tx], Spot],
    record: Callable[[Tx, Spot], T],
    *,
    session_id: str,
    about: str,
    on_disk: bool = True,
    generated: bool = True,
) -> T:
    """Reserve a name, make branch and folder, publish what `record` stages: all of it, or nothing is left.

    `generated` names are chosen again when somebody else makes the branch in between.
    """
    intents.settle(flow, "make_worktree")
    for _ in range(names.ATTEMPTS):
        spot, intent_id = flow.transact(lambda tx: _reserve(flow, tx, choose, session_id, on_disk), about)
        made = _Making(flow, spot, intent_id, about)
        if made.act(session_id, on_disk):
            return made.record(record)
        made.end("reversed")
        if not generated:
            break
    raise Conflict(f"branch '{spot.branch}' is taken, expected a free name", hint="Give another.", found=spot.branch)


class _Making(NamedTuple):
    """One try at one spot, after its intent was published."""

    flow: Flow
    spot: Spot
    intent_id: str
    about: str

    def end(self, state: str, **outcome: Any) -> None:
        self.flow.transact(lambda tx: intents.end(tx, self.intent_id, state, **outcome), self.about)

    def act(self, session_id: str, on_disk: bool) -> bool:
        """Make branch and folder; False if somebody else has made the branch."""
        worktrees, spot = self.flow.world.worktrees, self.spot
        try:
            if not worktrees.reserve_branch(spot.branch, spot.base):
                return False
        except CodestratorError as error:
            self.end("failed", message=error.message)
            raise
        try:
            if on_disk:
                worktrees.add(spot.path, spot.branch, reason=f"{places.LOCKED} {session_id}")
        except CodestratorError as error:
            worktrees.delete_branch(spot.branch, spot.base)  # the folder, if it is there, may be another's
            self.end("failed", message=error.message)
            raise
        return True

    def record(self, record: Callable[[Tx, Spot], T]) -> T:
        """Publish what was made; where that fails it is unmade."""

        def act(tx: Tx) -> T:
            result = record(tx, self.spot)
            intents.end(tx, self.intent_id, "done")
            return result

        try:
            return self.flow.transact(act, self.about)
        except CodestratorError as error:
            self.flow.world.worktrees.discard(self.spot.path, self.spot.branch, self.spot.base)
            self.end("failed", message=error.message)
            raise


def _reserve(flow: Flow, tx: Tx, choose: Callable[[Tx], Spot], session_id: str, on_disk: bool) -> tuple[Spot, str]:
    spot = choose(tx)
    args = {"slug": spot.slug, "branch": spot.branch, "path": stored_path(flow, spot.path), "base": spot.base}
    return spot, intents.plan(flow, tx, "make_worktree", session_id=session_id, on_disk=on_disk, **args).id


def reverse(flow: Flow, intent: Intent) -> intents.Publish | None:
    """Undo a making that was not recorded; what somebody has changed there since is theirs and stays."""
    args = intent.args
    path = flow.world.repo / str(args["path"])
    there = next((one.branch for one in flow.world.worktrees.folders() if one.path == path), None)
    if there in (None, args["branch"]):
        flow.world.worktrees.discard(path, str(args["branch"]), str(args["base"]))
    else:
        flow.world.worktrees.delete_branch(str(args["branch"]), str(args["base"]))
    tx = flow.read()
    kept = there == args["branch"] and path.exists()
    # Git may outlive the process that started it and still be writing: looked at again by the next call.
    if kept and tx.now.at - parse(intent.created_at) < intents.UNKNOWN_PROCESS:
        return None
    if intent.session_id and tx.get(Session, intent.session_id) is None:
        flow.world.live.leave(intent.session_id)
    outcome = {"kept": str(args["path"])} if kept else {}
    return lambda tx: intents.end(tx, intent.id, "reversed", **outcome)
