"""A case begun or taken over: the claim that keeps others out while it is in work."""

from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from codestrator import ids
from codestrator.calls import Flow, Tx
from codestrator.errors import AmbiguousId, Conflict, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.methods import liveness, who
from codestrator.methods.places import Spot, missing_files
from codestrator.methods.pointing import active_ref, point, shown_ref
from codestrator.methods.recording import Called, Line, check_owner, note_of, publish, record_checkpoint
from codestrator.methods.resuming import find_next
from codestrator.methods.tasks import plan_steps, progress, shown_task, unfinished_dependencies
from codestrator.params import CaseId, Json, Path, Short, Title
from codestrator.records import ACTIVE, Hold, Session, Task, Thread

__all__ = ["Called", "Contract", "Line", "begin", "check_owner", "claim", "find_next", "note_of", "publish"]
__all__ += ["record_checkpoint"]

CLAIM_SECONDS = 600
FIXTURE = "case:"


class Contract(NamedTuple):
    """What a case is begun with; None keeps what it has."""

    input_contract: dict[str, Any] | None = None
    fixtures: tuple[str, ...] | None = None
    required_files: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


class Begin(Called, frozen=True, kw_only=True):
    case_id: CaseId
    input_contract: Json | None = None
    fixtures: Annotated[
        tuple[Short, ...] | None, Meta(description="'case:<id>' must be finished, others are notes")
    ] = None
    required_files: tuple[Path, ...] = ()
    steps: Annotated[tuple[Title, ...], Meta(description="planned if there are none yet")] = ()
    reopen: Annotated[bool, Meta(description="root: a case that is done")] = False


def begin(flow: Flow, want: Begin) -> dict[str, Any]:
    """Claim a case and start or resume work on it."""

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        contract = Contract(want.input_contract, _fixtures(tx, want.fixtures), want.required_files, want.steps)
        task = tx.require(Task, want.case_id)
        task, former = claim(tx, task, session, thread, spot, contract, lines, reopen=want.reopen)
        thread = tx.require(Thread, thread.id)
        found: dict[str, Any] = {"task": shown_task(tx, task), "fence": task.claim_fence, **progress(task)}
        found["current_ref"] = shown_ref(thread)
        found["missing_files"] = missing_files(tx, session, thread, want.required_files) or None
        return found | {"taken_over_from": former}

    return publish(flow, want, want.case_id, act, decided=True)


def _fixtures(tx: Tx, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Each once, and those that name a case with its whole id."""
    if given is None:
        return None
    return tuple(dict.fromkeys(_fixture(tx, one) if one.startswith(FIXTURE) else one for one in given))


def _fixture(tx: Tx, given: str) -> str:
    start = given.removeprefix(FIXTURE).strip()
    if not ids.is_start(start) or ids.prefix_of(start) != "case":
        raise InvalidParams(
            f"'fixtures' has '{given[:80]}', expected 'case:' and a case's id",
            field="fixtures",
            found=given[:80],
            expected="case:<id>",
        )
    matches = [start] if tx.get(Task, start) else tx.base.starting(start, [Task])
    if not matches:
        raise NotFound(f"no task '{start}'", kind="task", id=start, field="fixtures")
    if len(matches) > 1:
        candidates = [{"id": one, "title": tx.require(Task, one).title} for one in matches[:10]]
        raise AmbiguousId(f"'{start}' matches {len(matches)} tasks, expected exactly one", candidates=candidates)
    return FIXTURE + matches[0]


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
    mine = task.claim is not None and (task.claim.session_id, task.claim.thread_id) == (session.id, thread.id)
    if mine and task.status in ACTIVE and _same_contract(task, contract):
        return _again(tx, task, thread, contract), None
    if not mine:
        _check_over(tx, task)
    _check_may_begin(tx, task, session, reopen)
    if task.status not in ACTIVE or contract.fixtures is not None:
        _check_waits(tx, _with_contract(task, contract))
    _check_one_case(tx, task, thread)
    former = _hand_over(tx, task, thread)
    fence = task.claim_fence if mine else task.claim_fence + 1
    task = _with_contract(task, contract).but(
        status="in_progress",
        owner_session_id=session.id,
        owner_thread_id=thread.id,
        begun_at=task.begun_at or tx.at,
        done_at=None,
        claim=Hold(**liveness.granted(tx, session.id, thread.id, fence, CLAIM_SECONDS)),
        claim_fence=fence,
    )
    data = {"taken_over_from": former} if former else {"reopened": True} if reopen else None
    about = {"case_id": task.id, "fence": fence, "data": data}
    checkpoint = record_checkpoint(tx, session, thread, spot, "case.begin", lines, **about)
    task = tx.put(task.but(latest_checkpoint_id=checkpoint.id))
    _point(tx, thread, task, contract)
    return task, former


def _again(tx: Tx, task: Task, thread: Thread, contract: Contract) -> Task:
    """The owner's own case begun once more: nothing new, but a blocked case goes on and a lapsed claim counts again."""
    if task.status == "blocked":
        task = task.but(status="in_progress")
    if task.claim and liveness.claim_over(tx, task.claim):
        task = task.but(claim=liveness.renewed(tx, task.claim))
    task = tx.put(task)
    ref = active_ref(thread)
    if ref is None or ref.node_id != task.id or contract.required_files not in ((), ref.required_files):
        _point(tx, thread, task, contract)
    return task


def _point(tx: Tx, thread: Thread, task: Task, contract: Contract) -> None:
    """The thread's ref to this case: its next step, and its files unless others are required."""
    point(
        tx,
        thread,
        node_id=task.id,
        checkpoint_id=task.latest_checkpoint_id,
        next_action=progress(task).get("next_step", {}).get("title", ""),
        required_files=contract.required_files or task.files,
    )


def _hand_over(tx: Tx, task: Task, thread: Thread) -> dict[str, Any] | None:
    """Whose the active case was, that owner's ref handed off; None if it was nobody else's."""
    if task.status not in ACTIVE or task.owner_thread_id in (None, thread.id):
        return None
    former = tx.get(Thread, task.owner_thread_id)
    ref = active_ref(former) if former else None
    if former and ref and ref.node_id == task.id:
        tx.put(former.but(ref=ref.but(status="handed_off", version=ref.version + 1, acked_at=None)))
    return {"session_id": task.owner_session_id, "thread_id": task.owner_thread_id, "fence": task.claim_fence}


def _check_over(tx: Tx, task: Task) -> None:
    held = task.claim
    if held and not liveness.claim_over(tx, held):
        raise Conflict(
            f"'{task.id}' is claimed by '{held.thread_id}' of '{held.session_id}', expected it to be free",
            hint="Begin another case, see task.ready.",
            holder=liveness.shown_claim(tx, held, task.id),
        )


def _same_contract(task: Task, contract: Contract) -> bool:
    same = contract.input_contract is None or contract.input_contract == task.input_contract
    planned = not contract.steps or bool(task.steps)
    return same and planned and (contract.fixtures is None or set(contract.fixtures) == set(task.fixtures))


def _with_contract(task: Task, contract: Contract) -> Task:
    if contract.input_contract is not None:
        task = task.but(input_contract=contract.input_contract)
    if contract.fixtures is not None:
        task = task.but(fixtures=contract.fixtures)
    return plan_steps(task, contract.steps) if contract.steps and not task.steps else task


def _check_may_begin(tx: Tx, task: Task, session: Session, reopen: bool) -> None:
    if reopen and not tx.caller.is_root:
        raise Forbidden(
            f"'{task.id}' may be opened again by its root only",
            hint="Ask the root with inbox.send.",
            role=tx.caller.role,
            needs="root",
        )
    expected = ["done"] if reopen else ["todo", *ACTIVE]
    if task.status not in expected:
        raise WrongState(
            f"'{task.id}' is '{task.status}', expected {' or '.join(repr(one) for one in expected)}",
            hint="The root may begin it again with reopen true."
            if task.status == "done"
            else "Begin another case, see task.ready.",
            found=task.status,
            expected=expected,
        )
    if task.assignee_session not in (None, session.id):
        raise Forbidden(
            f"'{task.id}' is assigned to '{task.assignee_session}', expected '{session.id}'",
            hint="Begin another case, see task.ready.",
            role=tx.caller.role,
            needs=f"a thread of '{task.assignee_session}'",
        )


def _check_waits(tx: Tx, task: Task) -> None:
    if waits := unfinished_dependencies(tx, task):
        raise WrongState(
            f"'{task.id}' waits for {len(waits)} unfinished task{'s' * (len(waits) > 1)}, first '{waits[0]}', "
            "expected all finished",
            hint="Begin one of those, or another case from task.ready.",
            found=f"{len(waits)} unfinished",
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
