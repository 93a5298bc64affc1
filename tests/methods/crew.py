"""Plans and children for tests of methods about tasks."""

from collections.abc import Callable
from typing import Any

from codestrator import ids
from codestrator.records import Thread
from codestrator.store import Stamp
from tests.actors import Actor


def make(root: Actor, level: str, title: str, **given: Any) -> str:
    """A task; its id."""
    return str(root("task.create", level=level, title=title, **given)["task"]["id"])


def feature(root: Actor, title: str = "Login") -> str:
    """A feature under an epic of its own."""
    return make(root, "feature", title, parent_id=make(root, "epic", "Shop"))


def status(root: Actor, task_id: str) -> str:
    return str(root("task.get", task_id=task_id)["task"]["status"])


def done(root: Actor, case_id: str) -> dict[str, Any]:
    """Work a case without planned steps to its end."""
    root("case.begin", case_id=case_id)
    root("step.check", case_id=case_id, step_title="all of it", result="pass")
    return root("case.complete", case_id=case_id)


def child(actor: Callable[..., Actor], root: Actor, **fields: Any) -> Actor:
    """A running child thread of the root's session, and its process."""
    machine = root.world.settings.machine
    thread = Thread(
        id=ids.mint("thr"),
        session_id=root.session,
        role="worker",
        title="Child",
        machine=machine,
        status="running",
        parent_thread_id=root.thread,
        **fields,
    )
    stamp = Stamp("thread.child.spawn child", ids.mint("op"), "test", root.session, None, machine)
    root.world.store.transact(lambda tx: tx.put(thread), stamp=stamp)
    one = actor("child", session_id=root.session, thread_id=thread.id, role="worker")
    one.session, one.thread = root.session, thread.id
    return one
