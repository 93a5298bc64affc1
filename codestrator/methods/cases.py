"""Work on a case: begin (and take over), check its steps, complete; the claim that keeps others out meanwhile."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.clock import rfc3339
from codestrator.errors import Conflict, Forbidden, InvalidParams, StaleFence, WrongState
from codestrator.methods import liveness, who
from codestrator.methods.changing import ready_ids
from codestrator.methods.places import Spot, missing_files, spot_of
from codestrator.methods.pointing import point, shown_ref
from codestrator.methods.ready import first_ready
from codestrator.methods.tasks import (
    Plan,
    path_to,
    plan_steps,
    progress,
    shown_step,
    shown_task,
    status_of,
    steps_of,
    unfinished_dependencies,
)
from codestrator.params import CaseId, Json, Params, Path, SessionId, Short, StepId, Summary, ThreadId, Title
from codestrator.records import ACTIVE, Checkpoint, Evidence, Session, Step, Task, Thread

CLAIM_SECONDS = 600
Line = tuple[str, Mapping[str, Any]]
Result = Literal["pass", "fail", "skip", "blocked"]
MEANS = {
    "passed": "pass",
    "ok": "pass",
    "done": "pass",
    "success": "pass",
    "failed": "fail",
    "error": "fail",
    "skipped": "skip",
}
STATUS: dict[str, Literal["done", "failed", "skipped", "blocked"]] = {
    "pass": "done",
    "fail": "failed",
    "skip": "skipped",
    "blocked": "blocked",
}
Event = Literal["case.begin", "step.check", "case.complete", "manual", "handoff", "land"]
T = TypeVar("T")


class Contract(NamedTuple):
    """What a case is begun with."""

    input_contract: dict[str, Any] | None = None
    fixtures: tuple[str, ...] = ()
    required_files: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def record_checkpoint(
    tx: Tx, session: Session, thread: Thread, spot: Spot, event: Event, lines: list[Line], **fields: Any
) -> Checkpoint:
    """Stage a checkpoint; `lines` gets its note, to be added once this is published."""
    checkpoint = tx.put(
        Checkpoint(
            id=tx.mint("cp"),
            session_id=session.id,
            thread_id=thread.id,
            event=event,
            commit=spot.commit,
            tree=spot.tree,
            dirty=spot.dirty,
            worktree_id=spot.worktree_id,
            **fields,
        )
    )
    lines.append(note_of(checkpoint))
    return checkpoint


def note_of(checkpoint: Checkpoint) -> Line:
    """The line that `git log --notes=codestrator` shows at a checkpoint's commit; of the checkpoint alone."""
    line: dict[str, Any] = {"cp": checkpoint.id, "event": checkpoint.event, "at": checkpoint.created_at}
    line |= {"case": checkpoint.case_id, "step": checkpoint.step_id, "summary": checkpoint.summary}
    data = checkpoint.data or {}
    if checkpoint.event == "step.check":
        evidence = data.get("evidence", {})
        line["result"] = data.get("result")
        line["evidence"] = {k: evidence[k] for k in ("command", "exit_status") if k in evidence} or None
    return checkpoint.commit, {name: value for name, value in line.items() if value is not None}


class Called(Params, frozen=True, kw_only=True):
    """What all calls about a case say of the caller."""

    session_id: SessionId | None = None
    thread_id: ThreadId | None = None


def _caller(tx: Tx, want: Called) -> tuple[Session, Thread]:
    session = who.active_session(tx, want.session_id)
    return session, who.thread_of(tx, want.thread_id, session)


def publish(flow: Flow, want: Called, about: str, act: Callable[[Tx, Session, Thread, Spot, list[Line]], T]) -> T:
    """Look at the worktree, publish what `act` stages as one operation, then add the notes of its checkpoints."""
    picture = flow.read()
    spot = spot_of(flow, picture, *_caller(picture, want))
    lines: list[Line] = []

    def once(tx: Tx) -> T:
        lines.clear()
        return act(tx, *_caller(tx, want), spot, lines)

    found = flow.transact(once, about)
    for line in lines:
        flow.world.notes.add(*line)
    return found


class Begin(Called, frozen=True, kw_only=True):
    case_id: CaseId
    input_contract: Json | None = None
    fixtures: Annotated[tuple[Short, ...], Meta(description="'case:<id>' must be finished, others are notes")] = ()
    required_files: tuple[Path, ...] = ()
    steps: Annotated[tuple[Title, ...], Meta(description="planned if there are none yet")] = ()
    reopen: Annotated[bool, Meta(description="root: a case that is done")] = False


def begin(flow: Flow, want: Begin) -> dict[str, Any]:
    """Claim a case and start or resume work on it."""
    contract = Contract(want.input_contract, want.fixtures, want.required_files, want.steps)

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        task, former = claim(
            tx, tx.require(Task, want.case_id), session, thread, spot, contract, lines, reopen=want.reopen
        )
        thread = tx.require(Thread, thread.id)
        found: dict[str, Any] = {"task": shown_task(tx, task), "fence": task.claim_fence, **progress(task)}
        if thread.ref:
            found["current_ref"] = shown_ref(thread)
        if missing := missing_files(tx, session, thread, want.required_files):
            found["missing_files"] = missing
        return found | ({"taken_over_from": former} if former else {})

    return publish(flow, want, want.case_id, act)


def claim(
    tx: Tx,
    task: Task,
    session: Session,
    thread: Thread,
    spot: Spot,
    contract: Contract,
    lines: list[Line],
    *,
    reopen: bool = False,
) -> tuple[Task, dict[str, Any] | None]:
    """Stage a claim with its checkpoint and the thread's ref; the task, and whose claim was taken over if any was."""
    who.check_scope(tx, task, thread)
    held = task.claim if task.claim and not liveness.claim_over(tx, task.claim) else None
    mine = held is not None and (held.session_id, held.thread_id) == (session.id, thread.id)
    if mine and task.status in ACTIVE and _same_contract(task, contract):
        if task.status == "blocked":
            task = tx.put(task.but(status="in_progress"))
        return task, None
    if held and not mine:
        raise Conflict(
            f"'{task.id}' is claimed by '{held.thread_id}' of '{held.session_id}', expected it to be free",
            hint="Begin another case, see task.ready.",
            holder=liveness.shown_claim(tx, held, task.id),
        )
    _check_may_begin(tx, task, session, reopen)
    task = _with_contract(task, contract)
    _check_waits(tx, task)
    _check_one_case(tx, task, thread)
    former = None
    if task.status in ACTIVE and not mine and task.owner_thread_id and task.owner_thread_id != thread.id:
        former = {"session_id": task.owner_session_id, "thread_id": task.owner_thread_id, "fence": task.claim_fence}
    fence = task.claim_fence if mine else task.claim_fence + 1
    task = task.but(
        status="in_progress",
        owner_session_id=session.id,
        owner_thread_id=thread.id,
        begun_at=task.begun_at or tx.at,
        done_at=None,
        claim=liveness.new_claim(tx, session.id, thread.id, fence, CLAIM_SECONDS),
        claim_fence=fence,
    )
    data = {"taken_over_from": former} if former else None
    checkpoint = record_checkpoint(
        tx, session, thread, spot, "case.begin", lines, case_id=task.id, fence=fence, data=data
    )
    task = tx.put(task.but(latest_checkpoint_id=checkpoint.id))
    point(tx, thread, node_id=task.id, checkpoint_id=checkpoint.id, required_files=contract.required_files)
    return task, former


def _same_contract(task: Task, contract: Contract) -> bool:
    same = contract.input_contract in (None, task.input_contract)
    return same and (not contract.fixtures or set(contract.fixtures) <= set(task.fixtures))


def _with_contract(task: Task, contract: Contract) -> Task:
    if contract.input_contract is not None:
        task = task.but(input_contract=contract.input_contract)
    if contract.fixtures:
        task = task.but(fixtures=tuple(dict.fromkeys(contract.fixtures)))
    return plan_steps(task, contract.steps) if contract.steps and not task.steps else task


def _check_may_begin(tx: Tx, task: Task, session: Session, reopen: bool) -> None:
    if task.assignee_session and task.assignee_session != session.id:
        raise Forbidden(
            f"'{task.id}' is assigned to '{task.assignee_session}', expected '{session.id}'",
            hint="Begin another case, see task.ready.",
            role=tx.caller.role,
            needs=f"a thread of '{task.assignee_session}'",
        )
    if task.status in ("todo", *ACTIVE):
        return
    if task.status == "done" and reopen and tx.caller.is_root:
        return
    raise WrongState(
        f"'{task.id}' is '{task.status}', expected 'todo', 'in_progress' or 'blocked'",
        hint="The root may begin it again with reopen true." if task.status == "done" else "Begin another case.",
        found=task.status,
        expected=["todo", *ACTIVE],
    )


def _check_waits(tx: Tx, task: Task) -> None:
    for fixture in task.fixtures:
        if fixture.startswith("case:"):
            tx.require(Task, fixture.removeprefix("case:"))
    if waits := unfinished_dependencies(tx, task):
        raise WrongState(
            f"'{task.id}' waits for {len(waits)} unfinished tasks, first '{waits[0]}', expected all finished",
            hint="Begin one of those, or another case from task.ready.",
            unfinished=waits,
            expected="finished dependencies",
        )


def _check_one_case(tx: Tx, task: Task, thread: Thread) -> None:
    other = [row for row in tx.where(Task, owner_thread_id=thread.id) if row.status in ACTIVE and row.id != task.id]
    if other:
        raise WrongState(
            f"'{thread.id}' has '{other[0].id}' in work, expected no other active case",
            hint=f"Complete '{other[0].id}' first.",
            found=other[0].id,
            expected="no active case",
        )


def check_owner(tx: Tx, task: Task, session: Session, thread: Thread, fence: int | None) -> None:
    """Refuse unless the thread owns the case: `stale_fence` if it was taken from it, `forbidden` if it never had it."""
    owns = task.owner_thread_id == thread.id
    had = owns or bool(tx.where(Checkpoint, case_id=task.id, thread_id=thread.id, event="case.begin"))
    if had and task.status in ACTIVE:
        who.check_fence(task.id, fence, task.claim, (session.id, thread.id))
        return
    if owns:
        return  # its status says what is wrong
    if had and task.claim_fence and fence is not None and fence != task.claim_fence:
        raise StaleFence(f"fence {fence} on '{task.id}' is out of date", given=fence, current=task.claim_fence)
    raise Forbidden(
        f"'{task.id}' belongs to '{task.owner_thread_id or 'nobody'}', expected '{thread.id}'",
        hint="Begin it first, if it is free.",
        role=tx.caller.role,
        needs="its owner",
    )


class Proof(Params, frozen=True, kw_only=True):
    """What a result rests on."""

    command: Short | None = None
    exit_status: int | None = None
    commit: Short | None = None
    tree: Short | None = None
    duration_seconds: Annotated[float, Meta(ge=0)] | None = None
    note: Short | None = None


class Check(Called, frozen=True, kw_only=True):
    result: Annotated[Result, Meta(extra={"means": MEANS})]
    case_id: Annotated[CaseId | None, Meta(description="required unless step_id is given")] = None
    step_title: Annotated[Title | None, Meta(description="one of these two; unknown: a new step")] = None
    step_id: StepId | None = None
    evidence: Proof | None = None
    artifacts: tuple[Short, ...] = ()
    required_files: tuple[Path, ...] = ()
    fence: int | None = None


def check(flow: Flow, want: Check) -> dict[str, Any]:
    """Record the result of one step with its evidence, as a checkpoint."""
    case_id = _case_of(want)

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        task = tx.require(Task, case_id)
        check_owner(tx, task, session, thread, want.fence)
        _check_active(task)
        task, number = _find_step(task, want)
        step = task.steps[number]
        proof = _evidence(want, spot)
        if not _is_repeat(tx, task, step, number, want, proof):
            task, step = _record(tx, task, number, session, thread, spot, want, proof, lines)
        found = {"step": shown_step(f"{task.id}.{number}", step), **progress(task)}
        return found | {"checkpoint_id": step.checkpoint_id, "task": {"id": task.id, "status": task.status}}

    return publish(flow, want, case_id, act)


def _case_of(want: Check) -> str:
    given = want.step_id.partition(".")[0] if want.step_id else None
    if (want.step_id is None) == (want.step_title is None):
        raise InvalidParams(
            "step.check needs exactly one of step_title and step_id",
            field="step_title",
            found="both" if want.step_id else "none",
            expected="one",
        )
    if want.case_id and given and given != want.case_id:
        raise InvalidParams(
            f"'{want.step_id}' is no step of '{want.case_id}', expected one of its own", field="step_id", found=given
        )
    if not (case_id := want.case_id or given):
        raise InvalidParams(
            "'case_id' of step.check is missing, expected id(case)", field="case_id", expected="id(case)"
        )
    if want.result == "skip" and not (want.evidence and want.evidence.note):
        raise InvalidParams(
            "a skipped step needs evidence.note, expected why it was skipped", field="evidence.note", expected="text"
        )
    if want.result == "pass" and want.evidence and want.evidence.exit_status:
        raise InvalidParams(
            f"result is 'pass' and evidence.exit_status is {want.evidence.exit_status}, expected 0",
            hint="Check it as fail, or give the status of the command that passed.",
            field="evidence.exit_status",
            found=want.evidence.exit_status,
            expected=0,
        )
    return case_id


def _check_active(task: Task) -> None:
    if task.status not in ACTIVE:
        raise WrongState(
            f"'{task.id}' is '{task.status}', expected 'in_progress' or 'blocked'",
            hint="Call case.begin first." if task.status == "todo" else None,
            found=task.status,
            expected=list(ACTIVE),
        )


def _find_step(task: Task, want: Check) -> tuple[Task, str]:
    if want.step_id:
        number = want.step_id.rpartition(".")[2]
        if number not in task.steps:
            raise InvalidParams(
                f"no step '{want.step_id}', expected one of {len(task.steps)}", field="step_id", found=want.step_id
            )
        return task, number
    assert want.step_title
    for step_id, step in steps_of(task):
        if step.title == want.step_title:
            return task, step_id.rpartition(".")[2]
    task = plan_steps(task, (want.step_title,))
    return task, str(task.step_count)


def _evidence(want: Check, spot: Spot) -> Evidence:
    given = want.evidence or Proof()
    return Evidence(
        command=given.command,
        exit_status=given.exit_status,
        commit=given.commit or spot.commit,
        tree=given.tree or spot.tree,
        duration_seconds=given.duration_seconds,
        note=given.note,
    )


def _is_repeat(tx: Tx, task: Task, step: Step, number: str, want: Check, proof: Evidence) -> bool:
    latest = tx.get(Checkpoint, task.latest_checkpoint_id)
    return (
        latest is not None
        and latest.step_id == f"{task.id}.{number}"
        and (step.result, step.evidence, step.artifacts) == (want.result, proof, want.artifacts)
    )


def _record(
    tx: Tx,
    task: Task,
    number: str,
    session: Session,
    thread: Thread,
    spot: Spot,
    want: Check,
    proof: Evidence,
    lines: list[Line],
) -> tuple[Task, Step]:
    checkpoint_id = tx.mint("cp")
    old = task.steps[number]
    step = old.but(
        status=STATUS[want.result],
        result=want.result,
        evidence=proof,
        artifacts=want.artifacts,
        attempts=old.attempts + 1,
        checkpoint_id=checkpoint_id,
        checked_by=thread.id,
        checked_at=rfc3339(tx.now.at),
    )
    steps = task.steps | {number: step}
    assert task.claim
    task = tx.put(
        task.but(
            steps=steps,
            status="blocked" if any(one.status == "blocked" for one in steps.values()) else "in_progress",
            latest_checkpoint_id=checkpoint_id,
            claim=liveness.renewed(tx, task.claim),
        )
    )
    data = {"result": want.result, "evidence": {k: v for k, v in _plain(proof).items() if v is not None}}
    checkpoint = tx.put(
        Checkpoint(
            id=checkpoint_id,
            session_id=session.id,
            thread_id=thread.id,
            event="step.check",
            commit=spot.commit,
            tree=spot.tree,
            dirty=spot.dirty,
            worktree_id=spot.worktree_id,
            case_id=task.id,
            step_id=f"{task.id}.{number}",
            fence=task.claim_fence,
            data=data,
        )
    )
    lines.append(note_of(checkpoint))
    point(tx, thread, node_id=task.id, checkpoint_id=checkpoint_id, required_files=want.required_files)
    return task, step


def _plain(proof: Evidence) -> dict[str, Any]:
    return {name: getattr(proof, name) for name in proof.__struct_fields__}


class Complete(Called, frozen=True, kw_only=True):
    case_id: CaseId
    summary: Summary | None = None
    next_action: Summary | None = None
    required_files: tuple[Path, ...] = ()
    fence: int | None = None
    force: Annotated[bool, Meta(description="root, with a summary: although steps are unfinished")] = False


def complete(flow: Flow, want: Complete) -> dict[str, Any]:
    """Finish a case whose steps are all checked; frees its claim."""

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        task = tx.require(Task, want.case_id)
        check_owner(tx, task, session, thread, want.fence)
        if task.status == "done" and task.owner_thread_id == thread.id:
            return _completed(tx, task, set(ready_ids(Plan(tx))))
        if task.status != "in_progress":
            _refuse_to_complete(task)
        forced = _check_finished(tx, task, want)
        before = ready_ids(Plan(tx))
        checkpoint = record_checkpoint(
            tx,
            session,
            thread,
            spot,
            "case.complete",
            lines,
            case_id=task.id,
            fence=task.claim_fence,
            summary=want.summary,
            next_action=want.next_action,
            data={"forced": True} if forced else None,
        )
        task = tx.put(
            task.but(
                status="done",
                done_at=tx.at,
                summary=want.summary or task.summary,
                next_action=want.next_action or task.next_action,
                latest_checkpoint_id=checkpoint.id,
                claim=None,
            )
        )
        point(
            tx,
            thread,
            node_id=task.id,
            status="completed",
            checkpoint_id=checkpoint.id,
            summary=want.summary,
            next_action=want.next_action,
            required_files=want.required_files,
        )
        return _completed(tx, task, before)

    return publish(flow, want, want.case_id, act)


def _refuse_to_complete(task: Task) -> None:
    raise WrongState(
        f"'{task.id}' is '{task.status}', expected 'in_progress'",
        hint="Check its blocked step otherwise first." if task.status == "blocked" else None,
        found=task.status,
        expected="in_progress",
        unfinished=_unfinished(task) or None,
    )


def _unfinished(task: Task) -> list[dict[str, str]]:
    return [
        {"id": step_id, "title": step.title, "status": step.status}
        for step_id, step in steps_of(task)
        if step.status not in ("done", "skipped")
    ]


def _check_finished(tx: Tx, task: Task, want: Complete) -> bool:
    """Whether it is completed by force although something is unfinished."""
    unfinished = _unfinished(task)
    if not unfinished and task.steps:
        return False
    if want.force and tx.caller.is_root and want.summary:
        return True
    what = (
        f"{len(unfinished)} unfinished steps, expected none" if unfinished else "no checked step, expected at least one"
    )
    again = (
        f"Check step {unfinished[0]['id']}" + (" again" if unfinished[0]["status"] != "todo" else "")
        if unfinished
        else ""
    )
    raise WrongState(
        f"'{task.id}' has {what}",
        hint=f"{again or 'Check a step'}, then complete.",
        found=len(unfinished),
        expected=0,
        unfinished=unfinished,
    )


def _completed(tx: Tx, task: Task, ready_before: set[str]) -> dict[str, Any]:
    ancestors = [tx.require(Task, one["id"]) for one in reversed(path_to(tx, task))]
    return {
        "task": shown_task(tx, task),
        "parents": [{"id": one.id, "status": status_of(tx, one)} for one in ancestors],
        "now_ready": sorted(ready_ids(Plan(tx)) - ready_before),
        "checkpoint_id": task.latest_checkpoint_id,
    }


class Next(Called, frozen=True, kw_only=True):
    pass


def find_next(tx: Tx, session: Session, thread: Thread | None) -> Task | None:
    """The case to go on with: one of the thread (or session) in work, then a blocked one, then the first ready."""
    owner = {"owner_thread_id": thread.id} if thread else {"owner_session_id": session.id}
    rows = [row for row in tx.where(Task, **owner) if row.status in ACTIVE]
    for status in ACTIVE:
        found = sorted((row for row in rows if row.status == status), key=lambda row: (row.updated_at, row.id))
        if found:
            return tx.require(Task, found[0].id)
    scope = frozenset((*thread.scope_case_ids, *thread.scope_task_ids)) if thread else frozenset()
    return first_ready(tx, session.id, scope)


def next_case(tx: Tx, want: Next) -> dict[str, Any]:
    """Answer which case and step to go on with; an empty answer if there is none."""
    session = who.session_of(tx, want.session_id)
    thread = who.thread_of(tx, want.thread_id, session) if want.thread_id or tx.caller.kind == "child" else None
    task = find_next(tx, session, thread)
    if task is None:
        return {}
    found: dict[str, Any] = {"task": shown_task(tx, task), "path": path_to(tx, task), **progress(task)}
    if checkpoint := tx.get(Checkpoint, task.latest_checkpoint_id):
        found["checkpoint"] = checkpoint
    return found
