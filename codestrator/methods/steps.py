"""A case's steps checked one by one, each result with its evidence and a checkpoint."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import InvalidParams, NotFound, WrongState
from codestrator.methods import liveness
from codestrator.methods.places import Spot
from codestrator.methods.pointing import point
from codestrator.methods.recording import Called, Line, check_owner, publish, record_checkpoint
from codestrator.methods.tasks import plan_steps, progress, shown_step, steps_of
from codestrator.params import CaseId, Params, Path, Short, StepId, Summary, Title
from codestrator.records import ACTIVE, CaseStatus, Evidence, Session, Task, Thread

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
Oid = Annotated[str, Meta(pattern="^[0-9a-f]{4,64}$")]


class Proof(Params, frozen=True, kw_only=True):
    """What a result rests on."""

    command: Summary | None = None
    exit_status: int | None = None
    commit: Oid | None = None
    tree: Oid | None = None
    duration_seconds: Annotated[float, Meta(ge=0)] | None = None
    note: Summary | None = None


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
    _check_result(want)

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        task = tx.require(Task, case_id)
        _check_active(task)
        check_owner(tx, task, session, thread, want.fence)
        task, number = _find_step(task, want)
        proof = _evidence(want, spot)
        if not _is_repeat(task, number, thread, want, proof):
            task = _record(tx, task, number, session, thread, spot, want, proof, lines)
        step = task.steps[number]
        found = {"step": shown_step(f"{task.id}.{number}", step), **progress(task)}
        return found | {"checkpoint_id": step.checkpoint_id, "task": {"id": task.id, "status": task.status}}

    return publish(flow, want, case_id, act, guarded=True)


def _case_of(want: Check) -> str:
    given = want.step_id.partition(".")[0] if want.step_id else None
    if (want.step_id is None) == (want.step_title is None):
        found = "both" if want.step_id else "none"
        raise InvalidParams(
            f"step.check has {found} of step_title and step_id, expected exactly one",
            field="step_title",
            found=found,
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
    return case_id


def _check_result(want: Check) -> None:
    given = want.evidence or Proof()
    if want.result == "skip" and not given.note:
        raise InvalidParams(
            "a skipped step needs evidence.note, expected why it was skipped", field="evidence.note", expected="text"
        )
    if want.result == "pass" and given.exit_status:
        raise InvalidParams(
            f"result is 'pass' and evidence.exit_status is {given.exit_status}, expected 0",
            hint="Check it as fail, or give the status of the command that passed.",
            field="evidence.exit_status",
            found=given.exit_status,
            expected=0,
        )


def _check_active(task: Task) -> None:
    if task.status not in ACTIVE:
        raise WrongState(
            f"'{task.id}' is '{task.status}', expected 'in_progress' or 'blocked'",
            hint="Call case.begin first." if task.status == "todo" else None,
            found=task.status,
            expected=list(ACTIVE),
        )


def _find_step(task: Task, want: Check) -> tuple[Task, str]:
    """The case and the number of the step that is meant; a title that is not planned becomes a new step."""
    if want.step_id:
        number = want.step_id.rpartition(".")[2]
        if number not in task.steps:
            raise NotFound(
                f"no step '{want.step_id}', expected one of the {len(task.steps)} of '{task.id}'",
                hint="Read task.get for its steps, or name it by step_title.",
                kind="step",
                id=want.step_id,
            )
        return task, number
    assert want.step_title
    named = [(step_id, step) for step_id, step in steps_of(task) if step.title == want.step_title]
    if not named:
        task = plan_steps(task, (want.step_title,))
        return task, str(task.step_count)
    # Of several with this title the next one to do is meant, else the last that was checked.
    todo = [step_id for step_id, step in named if step.status == "todo"]
    return task, (todo[0] if todo else named[-1][0]).rpartition(".")[2]


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


def _is_repeat(task: Task, number: str, thread: Thread, want: Check, proof: Evidence) -> bool:
    """Whether this says nothing else than the case's latest check, by the same thread."""
    step = task.steps[number]
    newer = any((one.checked_at or "") > (step.checked_at or "") for one in task.steps.values())
    said = (step.result, step.evidence, step.artifacts, step.checked_by)
    return not newer and said == (want.result, proof, want.artifacts, thread.id)


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
) -> Task:
    about = {"case_id": task.id, "step_id": f"{task.id}.{number}", "fence": task.claim_fence}
    checkpoint = record_checkpoint(tx, session, thread, spot, "step.check", lines, data=_said(want, proof), **about)
    step = task.steps[number].but(
        status=STATUS[want.result],
        result=want.result,
        evidence=proof,
        artifacts=want.artifacts,
        attempts=task.steps[number].attempts + 1,
        checkpoint_id=checkpoint.id,
        checked_by=thread.id,
        checked_at=tx.at,
    )
    assert task.claim  # `check_owner` compared it
    task = tx.put(
        task.but(
            steps=task.steps | {number: step},
            status=_status_after(task, number, want.result),
            latest_checkpoint_id=checkpoint.id,
            claim=liveness.renewed(tx, task.claim),
        )
    )
    following = progress(task).get("next_step", {}).get("title", "")
    moved: dict[str, Any] = {"next_action": following, "required_files": want.required_files}
    point(tx, thread, node_id=task.id, checkpoint_id=checkpoint.id, **moved)
    return task


def _said(want: Check, proof: Evidence) -> dict[str, Any]:
    """The result as its checkpoint keeps it when a later one replaces it in the step."""
    evidence = {name: value for name, value in msgspec.structs.asdict(proof).items() if value is not None}
    said: dict[str, Any] = {"result": want.result, "evidence": evidence}
    return said | ({"artifacts": list(want.artifacts)} if want.artifacts else {})


def _status_after(task: Task, number: str, result: str) -> CaseStatus:
    """A blocked step blocks its case; the case goes on when its last blocked step is checked otherwise."""
    if result == "blocked":
        return "blocked"
    others = any(step.status == "blocked" for other, step in task.steps.items() if other != number)
    return "in_progress" if task.steps[number].status == "blocked" and not others else task.status
