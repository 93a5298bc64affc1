"""Plans and children for tests of methods about tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from codestrator import ids, threadfiles
from codestrator.model import Document
from codestrator.records import Thread
from codestrator.store.transaction import Stamp
from tests.actors import Actor

D = TypeVar("D", bound=Document)


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
    """A running child thread of the root's session, a worker if nothing else is said, and its process."""
    thread = record(root, **fields)
    one = actor("child", session_id=thread.session_id, thread_id=thread.id, role=thread.role)
    one.session, one.thread, one.worktree = root.session, thread.id, thread.worktree_id or ""
    return one


def record(root: Actor, **fields: Any) -> Thread:
    """The document of a child, as a spawn would publish it."""
    about = {"session_id": root.session, "parent_thread_id": root.thread, "machine": root.world.settings.machine}
    about |= {"role": "worker", "title": "Child", "status": "running"}
    return put(root, Thread(id=ids.mint("thr"), **about | fields))


def put(root: Actor, document: D) -> D:
    """Publish a document as it is."""
    stamp = Stamp("thread.child.spawn child", ids.mint("op"), "test", root.session, None, root.world.settings.machine)
    return root.world.store.transact(lambda tx: tx.put(document), stamp=stamp)


def lettered(root: Actor, **fields: Any) -> tuple[Thread, Path]:
    """A child's document with its private file beside it, as a spawn leaves them; the file's place."""
    token = ids.mint_body()
    thread = record(root, token_hash=threadfiles.token_hash(token), **fields)
    file = threadfiles.ThreadFile(
        thread_id=thread.id,
        session_id=thread.session_id,
        token=token,
        role=thread.role,
        repo=str(root.world.repo),
        folder=str(root.path),
        runner_kind="command",
    )
    return thread, threadfiles.write(root.world.files, file)
