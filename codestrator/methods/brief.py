"""Where was I: everything an agent needs to go on after a restart or a compaction, within a budget of tokens."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import External, WrongState
from codestrator.methods import cases, dispatch, liveness, who
from codestrator.methods.dispatch import call
from codestrator.methods.fitting import fit
from codestrator.methods.places import path_of, worktree_of
from codestrator.methods.tasks import path_to, progress, steps_of
from codestrator.params import Params, SessionId, ThreadId
from codestrator.records import (
    ACTIVE,
    SESSION_ENDED,
    Checkpoint,
    Land,
    Lease,
    Message,
    Session,
    Task,
    Thread,
    Worktree,
)
from codestrator.table import ROOT_ROLES, may_call

CANDIDATES = 5


class Brief(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    thread_id: ThreadId | None = None
    token_budget: Annotated[int, Meta(ge=300, le=8000, description="4 bytes are a token")] = 1500


def brief(flow: Flow, want: Brief) -> dict[str, Any]:
    """Say where this session is, what its next step is and the exact next calls, after any restart or compaction."""
    tx = flow.read()
    if want.session_id is None and tx.caller.session_id is None:
        return fit(_without_session(tx), want.token_budget)
    session = who.session_of(tx, want.session_id)
    thread = tx.require(Thread, want.thread_id or tx.caller.thread_id or session.root_thread_id)
    if tx.caller.kind == "child" or thread.session_id != session.id:
        thread = who.thread_of(tx, want.thread_id, session)
    found: dict[str, Any] = {"session": _session(tx, session), "thread": _thread(flow, tx, session, thread)}
    found |= _work(tx, session, thread)
    if _misses_its_files(tx, session, found["thread"]):
        found["next_calls"] = [*_bring_back(tx, found["thread"]["worktree"]["id"]), *found["next_calls"]]
    if thread.id == session.root_thread_id and tx.where(Land, session_id=session.id):
        from codestrator.methods import landed  # only who lands pays for it

        found = landed.told(flow, tx, session, found)
    found["decisions"] = _decisions(tx, session, thread)
    found["leases"] = _leases(tx, session, thread)
    if thread.id == session.root_thread_id:
        found["children"] = [dispatch.entry(tx, one) for one in dispatch.of_session(tx, session)]
    found["directives"] = dispatch.directives(flow, tx, session, thread)
    if pending := tx.where(Message, receiver_thread_id=thread.id, status="pending"):
        found["inbox"] = len(pending)
    return fit({name: value for name, value in found.items() if value not in (None, [], {})}, want.token_budget)


def _session(tx: Tx, session: Session) -> dict[str, Any]:
    found = {"id": session.id, "status": session.status, "liveness": liveness.of_session(tx, session)}
    return found | ({"user_request": session.user_request} if session.user_request else {})


def _thread(flow: Flow, tx: Tx, session: Session, thread: Thread) -> dict[str, Any]:
    found: dict[str, Any] = {"id": thread.id, "role": thread.role, "status": thread.status}
    worktree = worktree_of(tx, session, thread)
    if worktree is None or worktree.status == "removed":
        return found
    path = path_of(tx, worktree)
    if path is None:
        found["worktree"] = {"id": worktree.id, "branch": worktree.branch, "status": "missing"}
        return found
    found["worktree"] = {"id": worktree.id, "path": worktree.places[tx.machine].path}
    try:
        commit, _, branch = flow.store.head(path)
        found["worktree"] |= {"branch": branch, "head": commit, "dirty": bool(flow.world.worktrees.changes(path))}
    except (External, WrongState):
        found["worktree"]["status"] = "lost"
    return found


def _misses_its_files(tx: Tx, session: Session, thread: dict[str, Any]) -> bool:
    """Whether a session at work on this machine has them only elsewhere; those of a `lost` folder are on its branch."""
    at_work = session.machine == tx.machine and session.status not in SESSION_ENDED
    is_root = thread["id"] == session.root_thread_id
    return at_work and is_root and bool(thread.get("worktree", {}).get("status") == "missing")


def _bring_back(tx: Tx, worktree_id: str) -> list[dict[str, Any]]:
    """What comes first where its files are not here, as after a taking that had to leave them out."""
    snapshot = tx.require(Worktree, worktree_id).latest_snapshot_id
    why = "its worktree is not here: bring its files back, and work in the folder that this names"
    return [call("rescue.restore", {"snapshot_id": snapshot, "into": "new"}, why)] if snapshot else []


def _work(tx: Tx, session: Session, thread: Thread) -> dict[str, Any]:
    """The case in work, or what could be begun; with the calls that go on from there."""
    if session.status in SESSION_ENDED:
        return {"next_calls": [call("session.open", {"intent": "auto"}, f"this session is {session.status}")]}
    if session.status == "awaiting_resume":
        return {
            "next_calls": [
                call("resume.candidates.attach", {"target_session_id": one}, "take up what it left")
                for one in suspended(tx, session.id)
            ]
        }
    role = thread.role if tx.caller.kind == "child" else ROOT_ROLES[0]
    task = cases.find_next(tx, session, thread) if may_call(role, "case.begin") else None
    if task is None:
        return {"next_calls": _without_work(tx, session, role)}
    mine = task.owner_thread_id == thread.id and task.status in ACTIVE
    found: dict[str, Any] = {"path": [*path_to(tx, task), {"id": task.id, "level": task.level, "title": task.title}]}
    found |= progress(task)
    if "next_step" in found:
        extra = {"acceptance": list(task.acceptance), "files": list(task.files)}
        found["next_step"] |= {name: value for name, value in extra.items() if value}
    found["next_calls"] = _next_calls(task, found.get("next_step"), mine)
    if checkpoint := tx.get(Checkpoint, task.latest_checkpoint_id):
        summary = {"id": checkpoint.id, "event": checkpoint.event, "commit": checkpoint.commit}
        found["checkpoint"] = summary | ({"summary": checkpoint.summary} if checkpoint.summary else {})
    return found


def _without_work(tx: Tx, session: Session, role: str) -> list[dict[str, Any]]:
    if role not in ROOT_ROLES:
        # Its end is told by its runner, from the last words of its turn.
        why = "nothing of yours is ready: do what your assignment says, ask, or end your turn with the result"
        return [call("thread.child.report", {"question": "…"}, why)]
    why = "nothing is ready; plan more, or close the session when all is done"
    ways = [call("task.create", {"level": "case"}, why), call("session.close", {}, "all is done")]
    if any(row.status == "done" for row in tx.where(Task, level="case", owner_session_id=session.id)):
        ways.insert(0, call("merge.main.request", {}, "its cases are done: ask to land them"))
    return dispatch.waited_for(tx, session) or ways


def _next_calls(task: Task, step: dict[str, Any] | None, mine: bool) -> list[dict[str, Any]]:
    if not mine:
        return [call("case.begin", {"case_id": task.id}, f"'{task.title}' is next")]
    if step:
        params = {"step_id": step["id"], "result": "pass|fail|skip|blocked", "evidence": {}}
        return [call("step.check", params, f"when '{step['title']}' is done, with its evidence")]
    if not task.steps:
        return [
            call("step.check", {"case_id": task.id, "step_title": "…", "result": "pass"}, "no step was planned yet")
        ]
    return [call("case.complete", {"case_id": task.id, "summary": "…"}, "all steps are checked")]


def _decisions(tx: Tx, session: Session, thread: Thread) -> list[dict[str, Any]]:
    is_root = thread.id == session.root_thread_id
    found = dispatch.decisions(tx, session) if is_root else []
    for row in tx.where(Task, owner_session_id=session.id, status="blocked"):
        if not is_root and row.owner_thread_id != thread.id:
            continue
        task = tx.require(Task, row.id)
        for step_id, step in steps_of(task):
            if step.status == "blocked":
                note = step.evidence.note if step.evidence else None
                again = call("step.check", {"step_id": step_id, "result": "pass|fail|skip"}, "once it is decided")
                found.append(
                    {"what": f"'{step.title}' is blocked", "why": note or "no reason given", "options": [again]}
                )
    if is_root:
        found += [_attach(tx, one) for one in suspended(tx, session.id)]
    return found


def _attach(tx: Tx, session_id: str) -> dict[str, Any]:
    session = tx.require(Session, session_id)
    option = call("resume.candidates.attach", {"target_session_id": session_id}, "take over its work")
    return {
        "what": f"'{session_id}' is suspended",
        "why": session.user_request or "its agent is gone and left work behind",
        "options": [option],
    }


def suspended(tx: Tx, but: str | None = None) -> list[str]:
    """Sessions of this machine whose agent is gone and that have work or a worktree, the longest silent first."""
    rows = [row for row in tx.rows(Session) if row.status not in SESSION_ENDED and row.id != but]
    gone = [one for row in rows if liveness.of_session(tx, one := tx.require(Session, row.id)) == "suspended"]
    gone = [one for one in gone if one.status != "awaiting_resume"]
    return [one.id for one in sorted(gone, key=lambda one: -liveness.silent_seconds(tx, one))[:CANDIDATES]]


def _leases(tx: Tx, session: Session, thread: Thread) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for lease in tx.found(Lease, session_id=session.id, state="held"):
        if thread.id not in (lease.thread_id, session.root_thread_id):
            continue
        if not liveness.lease_over(tx, lease):
            scope = f"{lease.scope_path} ({lease.scope_type})" if lease.scope_path else str(lease.target_branch)
            left = liveness.lease_seconds_left(tx, lease)
            found.append(
                {"domain": lease.domain, "scope": scope, "id": lease.id, "fence": lease.fence, "seconds_left": left}
            )
    for row in tx.where(Task, owner_session_id=session.id):
        claim = tx.require(Task, row.id).claim if row.status in ACTIVE else None
        if claim and not liveness.claim_over(tx, claim) and (thread.id in (claim.thread_id, session.root_thread_id)):
            left = liveness.claim_seconds_left(tx, claim)
            found.append({"domain": "claims", "scope": row.id, "fence": claim.fence, "seconds_left": left})
    return sorted(found, key=lambda one: one["seconds_left"])


def _without_session(tx: Tx) -> dict[str, Any]:
    """Nothing is open here: what could be taken up, and how to begin anew."""
    found: dict[str, Any] = {"next_calls": [call("session.open", {"intent": "auto"}, "no session is open here")]}
    if candidates := suspended(tx):
        found["decisions"] = [_attach(tx, one) for one in candidates]
    return found
