"""What is held and by whom: leases, fences, acts begun, cases in work."""

from collections.abc import Callable

from codestrator.calls import Tx
from codestrator.methods import intents, leases, liveness, waiting
from codestrator.methods.doctor.look import Found, Look, mendable, ok, warning
from codestrator.records import Fence, Intent, Lease, Session, Task
from codestrator.text import counted


def lapsed(look: Look) -> Found:
    """No lease is held by somebody who has ended or fell silent."""
    tx, over = look.tx, 0
    held = sorted(tx.found(Lease, state="held"), key=lambda one: one.id)
    for lease in held:
        if not liveness.lease_over(tx, lease):
            continue
        over += 1
        name = f"'{lease.id}' on '{lease.scope_path or lease.target_branch}' of '{lease.session_id}'"
        if _given_up(tx, lease):
            yield mendable(
                "warning", f"lease {name} is over", "it is shown as held, and bars nobody", _release(look, lease)
            )
        else:
            yield warning(
                f"lease {name} has lapsed, and its session may be alive",
                "whoever asks next gets it; its holder may still renew it",
                "git codestrator lock list",
            )
    if not over:
        yield ok(f"{counted(len(held), 'lease')} held")


def _given_up(tx: Tx, lease: Lease) -> bool:
    """Whether its holder has ended, or is of this machine and silent; what is not known of may still be renewed."""
    session = tx.get(Session, lease.session_id)
    return session is None or liveness.of_session(tx, session) in ("ended", "suspended") or _long_over(tx, lease)


def _long_over(tx: Tx, lease: Lease) -> bool:
    left = liveness.seconds_left(tx, lease, liveness.lease_file(lease))
    return lease.machine == tx.machine and not -leases.FORGOTTEN_SECONDS < left <= 0


def _release(look: Look, lease: Lease) -> Callable[[], bool]:
    def act(tx: Tx) -> bool:
        now = tx.get(Lease, lease.id)
        if now is None or (now.state, now.fence) != ("held", lease.fence):
            return True
        if not (liveness.lease_over(tx, now) and _given_up(tx, now)):
            return False
        tx.base.must_still_be_gated()
        tx.put(now.but(state="lost"))
        return True

    def release() -> bool:
        done = look.flow.transact(act, lease.id)
        if done:
            look.world.live.leave(liveness.lease_file(lease))
        return done

    return release


def fences(look: Look) -> Found:
    """No number was granted that its counter has not reached: else it could be granted twice."""
    tx, wrong = look.tx, 0
    value, highest = waiting.fence_value(tx), max((row.fence for row in tx.rows(Lease)), default=0)
    if value < highest:
        wrong += 1
        yield mendable(
            "error",
            f"the fence of the lock book is {value}, a lease has {highest}",
            "a number could be granted twice, and a late writer taken for its holder",
            lambda: look.flow.transact(_raise_fence),
        )
    for task in tx.found(Task, level="case"):
        if task.claim is not None and task.claim.fence > task.claim_fence:
            wrong += 1
            yield mendable(
                "error",
                f"the fence of '{task.id}' is {task.claim_fence}, its claim has {task.claim.fence}",
                "a number could be granted twice, and a late writer taken for its holder",
                _raise_claim_fence(look, task.id),
            )
    if not wrong:
        yield ok(f"fence of the lock book at {value}")


def _raise_fence(tx: Tx) -> bool:
    highest = max((row.fence for row in tx.rows(Lease)), default=0)
    if waiting.fence_value(tx) < highest:
        tx.put((tx.get(Fence, "fence") or Fence(id="fence")).but(value=highest))
    return True


def _raise_claim_fence(look: Look, case_id: str) -> Callable[[], bool]:
    def act(tx: Tx) -> bool:
        task = tx.require(Task, case_id)
        if task.claim is not None and task.claim.fence > task.claim_fence:
            tx.put(task.but(claim_fence=task.claim.fence))
        return True

    return lambda: look.flow.transact(act, case_id)


def begun(look: Look) -> Found:
    """No act that a process of this machine began was left by its death."""
    tx, left = look.tx, 0
    planned = intents.planned(tx)
    for intent in planned:
        if not intents.left_over(look.flow, tx, intent):
            continue
        left += 1
        action = str(intent.args.get("action"))
        said = (
            f"'{action}' of {intent.method} ('{intent.id}') was begun at {intent.created_at}, and its process is gone"
        )
        if action in intents.SETTLERS:
            yield mendable("warning", said, "what it did or reserved stays half done", _settle(look, intent.id, action))
        else:
            call = f"git codestrator journal list --session {intent.session_id}" if intent.session_id else ""
            yield warning(said, "this version does not know how to settle it", call or "git codestrator journal list")
    others = len([row for row in tx.where(Intent, state="planned") if row.machine != tx.machine])
    if not left:
        yield ok(f"{counted(len(planned), 'act')} at work here, {others} on other machines")


def _settle(look: Look, intent_id: str, action: str) -> Callable[[], bool]:
    def settle() -> bool:
        intents.settle(look.flow, action)
        now = look.flow.read().get(Intent, intent_id)
        return now is None or now.state != "planned"

    return settle


def cases(look: Look) -> Found:
    """Every case in progress has an owner who is alive."""
    tx, orphans, working = look.tx, 0, 0
    for task in tx.found(Task, level="case", status="in_progress"):
        if task.claim is not None and not liveness.claim_over(tx, task.claim):
            working += 1
            continue
        orphans += 1
        yield warning(
            f"'{task.id}' is in progress, and nobody alive has it: its owner was '{task.owner_thread_id}'",
            "it waits until somebody begins it",
            f"git codestrator task get --task-id {task.id}",
        )
    if not orphans:
        yield ok(f"{working} cases in progress, each with its owner")
