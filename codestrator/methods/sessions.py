"""Sessions: opened with a worktree of their own, kept alive, listed, shown with what belongs to them."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Unsupported, WrongState
from codestrator.methods import candidates, intents, liveness, names, paging, places, placing, pointing, who
from codestrator.model import shown
from codestrator.params import Paged, Params, SessionId, Summary, Title
from codestrator.records import ACTIVE, SESSION_ENDED, Lease, Session, Task, Thread, Worktree

ROOT_MODE = "caller_cli"
NOTE = "work in the session's root worktree; the viewer appears with the first child"
CANDIDATES_SHOWN = 20


class Open(Params, frozen=True, kw_only=True):
    agent_role: Title = "codex"
    owner: Annotated[Title | None, Meta(description="default: git's user.name")] = None
    terminal_fingerprint: Title | None = None
    intent: Annotated[
        Literal["new_work", "resume_work", "auto"],
        Meta(description="auto: new work, with what can be resumed listed; resume_work makes no worktree"),
    ] = "auto"
    heartbeat_timeout_seconds: Annotated[int, Meta(ge=10, le=86400)] = 60
    user_request: Annotated[Summary | None, Meta(description="what is to be done; names the worktree")] = None
    worktree_name: Annotated[Title | None, Meta(description="preferred name of the worktree")] = None
    always_branch: Annotated[bool, Meta(description="only true is offered")] = True
    max_children: Annotated[int, Meta(ge=1, le=16)] | None = None


class Heartbeat(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None


class Listing(Paged, frozen=True, kw_only=True):
    include_closed: bool = False


class Context(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None


def open(flow: Flow, want: Open) -> dict[str, Any]:
    """Open a session with a branch and a worktree of its own, or one that waits to take over another's work.

    The worktree begins at the commit checked out in the main worktree; uncommitted changes there stay there.
    """
    if not want.always_branch:
        raise Unsupported(
            "always_branch 'false' is not offered, expected true",
            hint="Leave it out: every session works on a branch of its own.",
            field="always_branch",
            found=False,
            offered=[True],
        )
    new = Opening(flow, want)
    if not flow.world.live.take(new.session_id):
        raise WrongState(f"'{new.session_id}' is in use, expected a new id", hint="Call session.open again.")
    try:
        session = new.to_resume() if want.intent == "resume_work" else new.with_worktree()
    except BaseException:
        flow.world.live.leave(new.session_id)
        raise
    if flow.seat.kind == "root":
        flow.seat.take(session.id)
    else:  # a command line ends with its call; what keeps its session alive is the beat
        flow.world.live.renew(session.id)
    return _opened(flow, want, session)


class Opening:
    """The ids of a session to be, chosen once, and the documents that make it."""

    def __init__(self, flow: Flow, want: Open) -> None:
        mint = flow.read().mint
        self.flow, self.want = flow, want
        self.base, self.branch = _base(flow)
        self.owner = want.owner or flow.world.git.config("user.name") or "unknown"
        self.session_id, self.thread_id, self.worktree_id = mint("ses"), mint("thr"), mint("wt")

    def to_resume(self) -> Session:
        return self.flow.transact(self.stage, self.session_id)

    def with_worktree(self) -> Session:
        words = names.slug(self.want.worktree_name, self.want.user_request)
        branch = f"task/{self.session_id}/{{slug}}"
        return placing.make(
            self.flow,
            lambda tx: placing.free_spot(self.flow, tx, words, self.base, branch),
            self.stage,
            session_id=self.session_id,
            about=self.session_id,
        )

    def stage(self, tx: Tx, spot: placing.Spot | None = None) -> Session:
        main = placing.main_worktree(self.flow, tx, self.base, self.branch)
        if spot:
            placing.new_worktree(
                self.flow,
                tx,
                spot,
                self.worktree_id,
                kind="session_root",
                parent_worktree_id=main.id,
                owner_session_id=self.session_id,
                reason=self.want.user_request,
            )
        tx.put(self._thread(tx, spot))
        return tx.put(self._session(tx, main, spot))

    def _thread(self, tx: Tx, spot: placing.Spot | None) -> Thread:
        return Thread(
            id=self.thread_id,
            session_id=self.session_id,
            role="session-root",
            title="root",
            objective=self.want.user_request,
            machine=tx.machine,
            status="running",
            started_at=tx.at,
            worktree_id=self.worktree_id if spot else None,
        )

    def _session(self, tx: Tx, main: Worktree, spot: placing.Spot | None) -> Session:
        want = self.want
        return Session(
            id=self.session_id,
            agent_role=want.agent_role,
            owner=self.owner,
            intent="resume_work" if want.intent == "resume_work" else "new_work",
            base_commit=self.base,
            base_branch=self.branch,
            main_worktree_id=main.id,
            session_root_worktree_id=self.worktree_id if spot else None,
            root_thread_id=self.thread_id,
            machine=tx.machine,
            heartbeat_timeout_seconds=want.heartbeat_timeout_seconds,
            max_children=want.max_children or tx.settings.max_children,
            status="active_new" if spot else "awaiting_resume",
            runtime_state="root_local_active" if spot else "root_local_ready",
            terminal_fingerprint=want.terminal_fingerprint,
            user_request=want.user_request,
            worktree_slug=spot.slug if spot else None,
            tmux_session_name=names.viewer(self.flow.world.repo.name, spot.slug) if spot else None,
        )


def _base(flow: Flow) -> tuple[str, str | None]:
    """Commit and branch (None: detached) that the main worktree, or the bare repository, has checked out."""
    if not flow.world.bare:
        commit, _, branch = flow.store.head(flow.world.repo)
        return commit, branch
    if not flow.world.git.config("codestrator.worktreeRoot"):
        raise WrongState(
            f"'{flow.world.repo}' is bare and has no place for worktrees, expected codestrator.worktreeRoot",
            hint="Set it with git config codestrator.worktreeRoot <folder>.",
            found="bare",
            expected="codestrator.worktreeRoot",
        )
    head = flow.world.worktrees.resolve("HEAD")
    if head is None:
        raise WrongState(f"'{flow.world.repo}' has no commit yet, expected one", hint="Make a first commit.")
    return head, flow.world.git.try_run("symbolic-ref", "--quiet", "--short", "HEAD")[1].strip() or None


def _opened(flow: Flow, want: Open, session: Session) -> dict[str, Any]:
    tx = flow.read()
    context = context_of(tx, session)
    parts = {name: context[name] for name in ("session", "main_worktree", "session_root_worktree", "root_thread")
             if name in context}  # fmt: skip
    result: dict[str, Any] = {"session_context": parts, "root_mode": ROOT_MODE}
    if want.intent != "new_work":
        found = candidates.candidates(tx, session.id)[:CANDIDATES_SHOWN]
        result["resume_candidates"] = [candidates.show(tx, one) for one in found]
    if want.intent == "resume_work":
        return result | {"action_required": "select_resume_candidate"}
    result |= {
        "worktree_slug": session.worktree_slug,
        "viewer_tmux_session": session.tmux_session_name,
        "child_attach_hint": f"tmux attach -r -t {session.tmux_session_name}",
        "note": NOTE,
        "viewer_ready": False,
    }
    changes = [] if flow.world.bare else flow.world.worktrees.changes(flow.world.repo)
    if changes:
        result["warnings"] = [
            f"the main worktree has {len(changes)} uncommitted changes, first '{changes[0]}'; they are not in the "
            "session's worktree"
        ]
    return result


def heartbeat(tx: Tx, want: Heartbeat) -> dict[str, Any]:
    """Keep a session alive; a running server does so by itself."""
    session = who.active_session(tx, want.session_id)
    if session.machine != tx.machine:
        raise WrongState(
            f"'{session.id}' runs on machine '{session.machine}', expected '{tx.machine}'",
            hint="Take it over with resume.candidates.attach.",
            found=session.machine,
            expected=tx.machine,
        )
    tx.live.renew(session.id)
    if session.status == "opened":
        session = tx.put(session.but(status="active_new"))
    return {"session": session, "liveness": liveness.of_session(tx, session)}


def listing(flow: Flow, want: Listing) -> dict[str, Any]:
    """List sessions, newest first, with their liveness, leases and active cases."""
    tx = flow.read()

    def listed(then: Tx) -> list[Session]:
        found = then.all(Session)
        if not want.include_closed:
            found = [one for one in found if one.status not in SESSION_ENDED]
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    result = paging.page(tx, want, listed, lambda then, one: _item(flow, then, one))
    if left := [one for one in intents.planned(tx) if intents.left_over(flow, tx, one)]:
        result["intents"] = left
    return result


def _item(flow: Flow, tx: Tx, session: Session) -> dict[str, Any]:
    name, ended = session.tmux_session_name, session.status in SESSION_ENDED
    cases = tx.found(Task, owner_session_id=session.id, level="case")
    claims = [case for case in cases if case.claim and case.claim.session_id == session.id]
    leases = tx.found(Lease, session_id=session.id, state="held")
    held = sum(not liveness.lease_over(tx, one) for one in leases)
    held += sum(not liveness.claim_over(tx, case.claim) for case in claims if case.claim)
    # Asked only where tmux was ever set up: asking costs more than all the rest.
    here = session.machine == tx.machine and not ended and session.runtime_state.startswith("tmux_")
    return {
        "session": shown(session),
        "liveness": liveness.of_session(tx, session),
        "tmux_alive": bool(here and name and flow.world.tmux.session_alive(name)),
        "held_leases": held,
        "active_cases": sum(case.status in ACTIVE for case in cases),
    }


def context(tx: Tx, want: Context) -> dict[str, Any]:
    """Show a session with its worktrees, root thread, current ref and liveness."""
    return context_of(tx, who.session_of(tx, want.session_id))


def context_of(tx: Tx, session: Session) -> dict[str, Any]:
    """A session and what belongs to it."""
    root = tx.get(Thread, session.root_thread_id)
    found: dict[str, Any] = {"session": shown(session)}
    for name in ("main_worktree", "session_root_worktree"):
        worktree = tx.get(Worktree, getattr(session, f"{name}_id"))
        if worktree is not None:
            found[name] = places.shown_worktree(tx, worktree)
    if root is not None:
        found["root_thread"] = shown(root)
        if root.ref is not None:
            found["current_ref"] = pointing.shown_ref(root)
    return found | {"liveness": liveness.of_session(tx, session)}
