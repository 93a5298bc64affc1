"""Worktrees beside the session's root: recorded, made, listed."""

from collections.abc import Callable
from pathlib import Path as Folder
from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import External, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.methods import liveness, names, paging, places, placing, who
from codestrator.methods.placing import Spot
from codestrator.params import Line, Paged, Params, Path, SessionId, Summary, TaskId, Title, WorktreeId
from codestrator.records import SESSION_ENDED, THREAD_ENDED, Session, Task, Thread, Worktree

Base = Annotated[Line, Meta(description="branch, tag or commit to begin at")]
OwnPath = Annotated[Path, Meta(description="under codestrator.worktreeRoot")]


class Create(Params, frozen=True, kw_only=True):
    branch: Line
    session_id: SessionId | None = None
    task_id: TaskId | None = None
    path: OwnPath | None = None
    base_ref: Base = "HEAD"
    create_on_disk: bool = False


class Spawn(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    parent_worktree_id: Annotated[WorktreeId | None, Meta(description="default: the session's root")] = None
    task_id: TaskId | None = None
    reason: Annotated[Summary | None, Meta(description="why; names the worktree if slug is not given")] = None
    slug: Annotated[Title | None, Meta(description="preferred name")] = None
    branch: Line | None = None
    path: OwnPath | None = None
    base_ref: Base | None = None
    create_on_disk: bool = True


class Listing(Paged, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    status: Literal["planned", "active", "closed", "removed", "lost"] | None = None
    include_removed: bool = False


def create(flow: Flow, want: Create) -> dict[str, Any]:
    """Record a branch of its own for a task, and make its worktree if asked to."""
    flow.world.worktrees.check_branch_name(want.branch)
    path = _path(flow, want.path) or placing.root_folder(flow) / want.branch.replace("/", "-").replace(" ", "-")
    base = _commit(flow, want.base_ref)
    session_id = who.active_session(flow.read(), want.session_id).id
    worktree_id = flow.read().mint("wt")

    def choose(tx: Tx) -> Spot:
        _check(tx, want)
        return placing.free_spot(flow, tx, path.name, base, want.branch, path)

    def record(tx: Tx, spot: Spot) -> dict[str, Any]:
        session = _check(tx, want)
        worktree = placing.new_worktree(
            flow, tx, spot, worktree_id, on_disk=want.create_on_disk, kind="task_branch",
            owner_session_id=session.id, task_id=want.task_id,
        )  # fmt: skip
        return {"worktree": places.shown_worktree(tx, worktree)}

    return placing.make(
        flow, choose, record, session_id=session_id, about=worktree_id, on_disk=want.create_on_disk, generated=False
    )


def spawn(flow: Flow, want: Spawn) -> dict[str, Any]:
    """Make a worktree with a branch of its own from another one of the session, to be merged back into it."""
    return make(flow, want, lambda tx, worktree_id: None)


def make(flow: Flow, want: Spawn, beside: Callable[[Tx, str], object]) -> dict[str, Any]:
    """The same; `beside` stages what is published with the worktree, or refuses it."""
    if want.branch:
        flow.world.worktrees.check_branch_name(want.branch)
    path = _path(flow, want.path)
    tx = flow.read()
    session = _check(tx, want)
    parent = _parent(tx, want, session)
    base = _commit(flow, want.base_ref or f"refs/heads/{parent.branch}")
    words, worktree_id = names.slug(want.slug, want.reason), tx.mint("wt")
    branch = want.branch or f"task/{session.id}/{{slug}}"

    def choose(tx: Tx) -> Spot:
        _parent(tx, want, _check(tx, want))
        return placing.free_spot(flow, tx, words, base, branch, path)

    def record(tx: Tx, spot: Spot) -> dict[str, Any]:
        _parent(tx, want, _check(tx, want))
        worktree = placing.new_worktree(
            flow, tx, spot, worktree_id, on_disk=want.create_on_disk, kind="task_branch", parent_worktree_id=parent.id,
            owner_session_id=session.id, task_id=want.task_id, reason=want.reason,
        )  # fmt: skip
        beside(tx, worktree_id)
        return {"worktree": places.shown_worktree(tx, worktree), "worktree_slug": spot.slug}

    return placing.make(
        flow, choose, record, session_id=session.id, about=worktree_id, on_disk=want.create_on_disk,
        generated=want.branch is None,
    )  # fmt: skip


def _check(tx: Tx, want: Create | Spawn) -> Session:
    if want.task_id:
        tx.require(Task, want.task_id)
    return who.active_session(tx, want.session_id)


def _commit(flow: Flow, revision: str) -> str:
    found = flow.world.worktrees.resolve(revision)
    if found is None:
        raise NotFound(
            f"no commit '{revision[:80]}', expected a branch, a tag or a commit",
            hint="Leave base_ref out for the default.",
            kind="commit",
            id=revision[:80],
        )
    return found


def _path(flow: Flow, given: str | None) -> Folder | None:
    """A given path as a folder; refused unless it lies under the folder for worktrees."""
    if given is None:
        return None
    root, found = placing.root_folder(flow), flow.world.repo / given
    if root.resolve() not in found.resolve().parents:
        raise InvalidParams(
            f"'path' is '{given}', expected one under '{flow.settings.worktree_root}'",
            field="path",
            found=given,
            expected=f"{flow.settings.worktree_root}/…",
        )
    return found


def _parent(tx: Tx, want: Spawn, session: Session) -> Worktree:
    parent_id = want.parent_worktree_id or session.session_root_worktree_id
    if parent_id is None:
        raise WrongState(
            f"'{session.id}' has no worktree yet, expected one to spawn from",
            hint="Attach a session with resume.candidates.attach first.",
            found=session.status,
            expected=["active_new", "active_resume"],
        )
    parent = tx.require(Worktree, parent_id)
    check_owner(tx, parent, session)
    if parent.status != "active" or parent.branch is None:
        raise WrongState(
            f"'{parent.id}' is '{parent.status}', expected an active worktree",
            hint="Choose another parent from worktree.list.",
            found=parent.status,
            expected=["active"],
        )
    return parent


def check_owner(tx: Tx, worktree: Worktree, session: Session, *, or_left: bool = False) -> None:
    """Refuse a worktree of another session; `or_left` allows one whose session has ended."""
    if worktree.owner_session_id == session.id:
        return
    owner = tx.get(Session, worktree.owner_session_id)
    if or_left and (owner is None or owner.status in SESSION_ENDED):
        return
    raise Forbidden(
        f"'{worktree.id}' belongs to '{worktree.owner_session_id or 'no session'}', expected '{session.id}'",
        hint="List the session's own with worktree.list.",
        role=tx.caller.role,
        needs="a worktree of its own session",
    )


def live_threads(tx: Tx, worktree: Worktree) -> list[str]:
    """The threads that work in it now; a root thread is as alive as its session."""
    found = []
    for thread in tx.found(Thread, worktree_id=worktree.id):
        session = tx.get(Session, thread.session_id)
        if thread.status in THREAD_ENDED or session is None:
            continue
        judged = liveness.of_session(tx, session)
        if judged == "live" or (thread.id != session.root_thread_id and judged != "ended"):
            found.append(thread.id)
    return sorted(found)


def listing(flow: Flow, want: Listing) -> dict[str, Any]:
    """List worktrees, newest first, with what they have checked out and how far they are from their parent."""
    tx = flow.read()
    if want.session_id:
        tx.require(Session, want.session_id)

    def listed(then: Tx) -> list[tuple[Worktree, dict[str, Any]]]:
        found = [(one, places.shown_worktree(then, one)) for one in then.all(Worktree)]
        if want.session_id:
            found = [pair for pair in found if pair[0].owner_session_id == want.session_id]
        if want.status:
            found = [pair for pair in found if pair[1]["status"] == want.status]
        elif not want.include_removed:
            found = [pair for pair in found if pair[0].status != "removed"]
        return sorted(found, key=lambda pair: (pair[0].created_at, pair[0].id), reverse=True)

    return paging.page(tx, want, listed, lambda then, pair: _item(flow, then, *pair))


def _item(flow: Flow, tx: Tx, worktree: Worktree, shown: dict[str, Any]) -> dict[str, Any]:
    folder = places.path_of(tx, worktree)
    exists = folder is not None and folder.is_dir()
    item: dict[str, Any] = {
        "worktree": shown,
        "path": shown.get("path"),
        "exists": exists,
        "live_threads": live_threads(tx, worktree),
        "latest_snapshot_id": worktree.latest_snapshot_id,
    }
    if folder is None or not exists or (flow.world.bare and worktree.kind == "main"):
        return item
    try:
        head = flow.store.head(folder)[0]
        item |= {"head": head, "dirty": bool(flow.world.worktrees.changes(folder))}
    except (External, WrongState):
        return item  # a folder that is no worktree any more
    parent = tx.get(Worktree, worktree.parent_worktree_id)
    other = flow.store.refs.read(f"refs/heads/{parent.branch}") if parent and parent.branch else None
    if other:
        item["ahead"] = len(flow.world.worktrees.ahead(head, other)) if head != other else 0
        item["behind"] = len(flow.world.worktrees.ahead(other, head)) if head != other else 0
    return item
