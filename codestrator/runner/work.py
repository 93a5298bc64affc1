"""A child's work as its runner knows it: its first prompt, its agent's settings, and whether its case is done."""

from pathlib import Path
from typing import Any

from codestrator import guides
from codestrator.errors import CodestratorError
from codestrator.records import Directive, Session, Task, Thread, Worktree
from codestrator.runner.agent import AgentSettings
from codestrator.runner.channel import Channel
from codestrator.runner.prompt import Assignment, Author, Quoted, Titled, assemble
from codestrator.runner.settings import settings_for

OPEN = ("todo", "in_progress", "blocked")
PASSED = ("done", "skipped")


class Work:
    """What is to be done by one thread."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.file = channel.file
        self.folder = Path(self.file.folder)
        tx = channel.world.store.read()
        self.thread = tx.require(Thread, channel.id)
        self.session = tx.require(Session, self.thread.session_id)
        self.worktree = tx.get(Worktree, self.thread.worktree_id or "")
        self.guide = guides.read_guide(
            self.thread.role, self.thread.agent_guide_path, channel.world.repo, channel.world.settings.guide_root
        )
        parent = tx.get(Thread, self.thread.parent_thread_id or "")
        self.author = Author(parent.id if parent else None, self.session.id, self.thread.machine)

    def first_prompt(self) -> str:
        """Guide, assignment, directives of a restart, rules, brief; the guide where the agent has it not already."""
        guide = self.guide if self.file.runner_kind == "command" else ""
        try:
            brief: dict[str, Any] | None = self.channel.call("work.brief")
        except CodestratorError:
            brief = None
        return assemble(guide, self._assignment(), brief, self._restarts())

    def _assignment(self) -> Assignment:
        thread = self.thread
        spec = thread.task_spec or {}
        return Assignment(
            thread_id=thread.id,
            session_id=thread.session_id,
            machine=thread.machine,
            role=thread.role,
            author=self.author,
            folder=self.file.folder,
            branch=(self.worktree.branch if self.worktree else "") or "",
            replaces_thread_id=thread.replaces_thread_id,
            title=thread.title,
            objective=thread.objective or "",
            acceptance=_texts(spec.get("acceptance")),
            files=_texts(spec.get("files")),
            scope_task_ids=thread.scope_task_ids,
            scope_case_ids=thread.scope_case_ids,
            scope_node_ids=thread.scope_node_ids,
            task_spec=spec,
            initial_prompt=self.file.prompt,
        )

    def _restarts(self) -> list[Quoted]:
        """What the root wants changed where this thread stands in for another."""
        old = self.thread.replaces_thread_id
        if old is None:
            return []
        tx = self.channel.world.store.read()
        found = [tx.require(Directive, row.id) for row in tx.where(Directive, thread_id=old, mode="restart")]
        newest = sorted(found, key=lambda one: (one.created_at, one.id))[-1:]
        return [Quoted(one.id, one.text, Author(one.sender_thread_id, self.session.id)) for one in newest]

    def settings(self) -> AgentSettings:
        """What its agent is brought up with."""
        return settings_for(self.file, self.channel.world.files.root, self.guide)

    def unfinished(self, *, scope: bool) -> tuple[Titled, list[Titled]] | None:
        """The first case that the thread has in work, or with `scope` was spawned for, with its steps not yet done."""
        tx = self.channel.world.store.read()
        found = {row.id: row for row in tx.where(Task, owner_thread_id=self.thread.id, level="case")}
        if scope:
            found |= {one: tx.require(Task, one) for one in self.thread.scope_case_ids}
        for case in (tx.require(Task, one) for one in found):
            others = case.claim is not None and case.claim.thread_id != self.thread.id
            if case.status in OPEN and not others:
                steps = sorted(case.steps.items(), key=lambda one: one[1].order)
                left = [Titled(f"{case.id}.{n}", one.title) for n, one in steps if one.status not in PASSED]
                return Titled(case.id, case.title), left
        return None


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
