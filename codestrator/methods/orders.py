"""What a child is to be: what the caller wants, what was found out about it, its document and its private file."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from codestrator import params, table, threadfiles
from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError
from codestrator.methods import children
from codestrator.params import Json, Line, Params, SessionId, Summary, TaskId, ThreadId, Title, WorktreeId
from codestrator.records import Directive, RunnerKind, Session, Task, Thread, Worktree
from codestrator.threadfiles import ThreadFile

GENERAL = "Do the next case that is ready in your scope, or what the root tells you."
Command = Annotated[str, params._text(size=8 * 1024)]
TmuxName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,80}$", description="letters, digits, - and _")]


class Spawn(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    parent_thread_id: Annotated[ThreadId | None, Meta(description="default: the root thread")] = None
    worktree_id: Annotated[WorktreeId | None, Meta(description="default: a worker gets a new one")] = None
    role: Title = table.WORKER
    title: Title | None = None
    objective: Summary | None = None
    agent_guide_path: Annotated[Line | None, Meta(description="a shipped guide, or a path in the repository")] = None
    agent_override: Annotated[Json | None, Meta(description="model, sandbox, limits; for the runner")] = None
    launch_command: Annotated[Command | None, Meta(description="whole launch line; implies runner_kind command")] = None
    codex_command: Command = "codex"
    split_direction: Literal["vertical", "horizontal"] = "vertical"
    ensure_tmux: Annotated[bool, Meta(description="false: without tmux it runs detached, with a log")] = True
    auto_install: bool = True
    tmux_session_name: TmuxName | None = None
    tmux_window_name: TmuxName = "children"
    initial_prompt: Annotated[params.Message | None, Meta(description="replaces the assignment's text")] = None
    runner_kind: Annotated[RunnerKind | None, Meta(description="default agents_sdk_codex_mcp")] = None
    interaction_mode: Literal["view_only", "interactive"] = "view_only"
    provider: Title = "codex"
    launch_codex: Annotated[bool, Meta(description="false: an empty pane, the thread stays planned")] = True
    max_concurrent_children: Annotated[int, Meta(ge=1, le=16)] | None = None
    skip_ready_check: bool = False
    task_spec: Json | None = None
    scope_task_ids: tuple[TaskId, ...] = ()
    scope_case_ids: tuple[params.CaseId, ...] = ()
    scope_node_ids: tuple[Annotated[str, params._id("node")], ...] = ()


class Order(NamedTuple):
    """A child to be, checked against the picture of now."""

    want: Spawn
    session: Session
    kind: str
    resolved: str
    because: str | None
    program: list[str]
    launches: bool
    preflight: list[dict[str, Any]]
    replaces: Thread | None = None
    directive: Directive | None = None
    publish: Callable[[Tx, Thread], None] | None = None  # what is staged together with the thread


def document(tx: Tx, order: Order, thread_id: str, worktree_id: str, hashed: str) -> Thread:
    """The thread as it is first published: planned."""
    want, session = order.want, order.session
    return Thread(
        id=thread_id,
        session_id=session.id,
        role=want.role,
        title=want.title or want.role,
        objective=want.objective or want.title or GENERAL,
        machine=tx.machine,
        status="planned",
        parent_thread_id=want.parent_thread_id or session.root_thread_id,
        worktree_id=worktree_id,
        replaces_thread_id=order.replaces.id if order.replaces else None,
        scope_task_ids=want.scope_task_ids,
        scope_case_ids=want.scope_case_ids,
        scope_node_ids=want.scope_node_ids,
        agent_guide_path=want.agent_guide_path,
        agent_override=want.agent_override,
        task_spec=want.task_spec or _task_spec(tx, order),
        runner_kind=order.kind,  # type: ignore[arg-type]  # checked by its parameter
        resolved_runner_kind=order.resolved,  # type: ignore[arg-type]
        resolved_because=order.because,
        interaction_mode=want.interaction_mode,
        token_hash=hashed,
        pid=None,
    )


def _task_spec(tx: Tx, order: Order) -> dict[str, Any]:
    want = order.want
    cases = [tx.require(Task, one) for one in want.scope_case_ids]
    found = {
        "thread_role": want.role,
        "title": want.title or want.role,
        "objective": want.objective or want.title or GENERAL,
        "case_ids": list(want.scope_case_ids),
        "acceptance": [line for case in cases for line in case.acceptance],
        "files": sorted({file for case in cases for file in case.files}),
        "runner_kind": order.resolved,
        "interaction_mode": want.interaction_mode,
    }
    return {name: value for name, value in found.items() if value}


def write_file(flow: Flow, order: Order, thread: Thread, token: str) -> None:
    """Write the private file that the runner begins with; where that fails, so has the thread."""
    tx = flow.read()
    worktree = tx.require(Worktree, thread.worktree_id or "")
    found = ThreadFile(
        thread_id=thread.id,
        session_id=thread.session_id,
        token=token,
        role=thread.role,
        repo=str(flow.world.repo),
        folder=str(flow.world.repo / worktree.places[tx.machine].path),
        runner_kind=order.resolved,
        interaction_mode=order.want.interaction_mode,
        tmux_tag=children.tmux_tag(flow, order.session.id),
        split_direction=order.want.split_direction,
        launch_command=order.want.launch_command,
        codex_command=order.want.codex_command,
        program=order.program,
        environment=flow.world.runners.environment(),
        prompt=order.want.initial_prompt,
        guide_path=order.want.agent_guide_path,
        override=order.want.agent_override or {},
        spawner=flow.world.process_identity(),
    )
    try:
        threadfiles.write(flow.world.files, found)
    except CodestratorError as error:
        message = error.message
        flow.transact(lambda tx: children.end(tx, tx.require(Thread, thread.id), "failed", reason=message), thread.id)
        raise
