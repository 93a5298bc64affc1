"""Acts on the world, written down before they begin, so that what a dead process left is finished or reversed."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.errors import CodestratorError
from codestrator.records import Intent

UNKNOWN_PROCESS = timedelta(seconds=120)
# What settles an act: `module.function`, given the flow and the intent; it returns what is to be published of it.
SETTLERS = {
    "make_worktree": "placing.reverse",
    "remove_worktree": "removing.settle",
    "bring_back": "bringing.settle",
    "bring_up": "catching_up.settle",
    "merge": "merging.settle",
    "land": "landing.settle",
    "spawn_child": "spawning.broken_off",
    "write_mirror": "mirror.settle",
}
Publish = Callable[[Tx], None]
_one_at_a_time = threading.Lock()


def plan(flow: Flow, tx: Tx, action: str, **args: Any) -> Intent:
    """Stage the intent of an act; only after it is published may the act begin."""
    pid, started = flow.world.process_identity()
    return tx.put(
        Intent(
            id=flow.intent_id if tx.get(Intent, flow.intent_id) is None else tx.mint("op"),
            method=flow.method,
            machine=tx.machine,
            params_digest=flow.params_digest,
            state="planned",
            session_id=args.get("session_id") or tx.caller.session_id,
            pid=pid,
            process_started_at=started,
            args={"action": action} | args,
        )
    )


def end(tx: Tx, intent_id: str, state: str, **outcome: Any) -> None:
    """Stage that the act is `done`, `failed` or `reversed`; one that ended already stays as it ended."""
    intent = tx.get(Intent, intent_id)
    if intent is not None and intent.state == "planned":
        tx.put(intent.but(state=state, ended_at=tx.at, outcome=outcome or None))


def planned(tx: Tx) -> list[Intent]:
    """Acts of this machine that have begun and not ended."""
    return tx.found(Intent, state="planned", machine=tx.machine)


def left_over(flow: Flow, tx: Tx, intent: Intent) -> bool:
    """Whether it was given up, or the process that wrote it is gone; without a process, whether it is old."""
    if intent.outcome is not None:
        return True
    if intent.pid:
        return not flow.world.process_alive(intent.pid, intent.process_started_at)
    return tx.now.at - parse(intent.created_at) > UNKNOWN_PROCESS


def give_up(flow: Flow, intent_id: str, why: str) -> Intent:
    """Settle at once what this process could not bring to its end; if that fails too, whoever comes next does."""
    flow.transact(lambda tx: mark(tx, intent_id, why), intent_id)
    with suppress(CodestratorError):
        _settle_one(flow, flow.read().require(Intent, intent_id))
    return flow.read().require(Intent, intent_id)


def mark(tx: Tx, intent_id: str, why: str) -> None:
    """Stage that it will not be brought to its end; a git that is still about to move refs for it loses the compare."""
    intent = tx.get(Intent, intent_id)
    if intent is not None and intent.state == "planned" and intent.outcome is None:
        tx.put(intent.but(outcome={"message": why}))


def settle(flow: Flow, *actions: str) -> list[str]:
    """Finish or reverse what dead processes of this machine left, of these actions or of all; the intents settled."""
    tx = flow.read()
    found = [one for one in planned(tx) if one.args.get("action") in (actions or SETTLERS)]
    return [one.id for one in found if left_over(flow, tx, one) and _settle_one(flow, one)]


def _settle_one(flow: Flow, intent: Intent) -> bool:
    """Under a kernel lock of its own: settled twice, it could undo what somebody made there after the first time."""
    with _one_at_a_time:
        if not flow.world.live.take(intent.id):
            return False
        try:
            now = flow.read().get(Intent, intent.id)
            if now is None or now.state != "planned":
                return False
            module, _, name = SETTLERS[str(intent.args["action"])].partition(".")
            publish: Publish | None = getattr(import_module(f"codestrator.methods.{module}"), name)(flow, now)
            if publish is not None:
                flow.transact(publish, intent.id)
            return publish is not None
        finally:
            flow.world.live.leave(intent.id)
