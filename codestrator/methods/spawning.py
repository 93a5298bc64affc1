"""A child is spawned: everything checked, its place reserved, its worktree made, its runner started."""

from typing import Any

from codestrator import guides, ids, table, threadfiles
from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, Conflict, External, InvalidParams, Limit, Unsupported, WrongState
from codestrator.methods import children, intents, launching, orders, reconciling, who, worktrees
from codestrator.methods.orders import Order, Spawn
from codestrator.records import THREAD_ENDED, Intent, Session, Task, Thread, Worktree
from codestrator.text import counted


def spawn(flow: Flow, want: Spawn) -> dict[str, Any]:
    """Start a child agent in a worktree and a view-only pane of its own; it reports by itself.

    Everything is checked first: a refusal writes nothing. `thread.child.wait_status` waits for its result.
    """
    reconciling.reconcile(flow, who.active_session(flow.read(), want.session_id).id)
    order = check(flow, want)
    if ids.prefix_of(flow.intent_id) != "key":
        return carry_out(flow, order)
    flow.transact(lambda tx: _announce(flow, tx), flow.intent_id)
    try:
        return carry_out(flow, order)
    except BaseException:
        flow.transact(lambda tx: intents.end(tx, flow.intent_id, "failed"), flow.intent_id)
        raise


def _announce(flow: Flow, tx: Tx) -> None:
    """A key is one child's: who calls again while that is being spawned is to wait for it."""
    before = tx.get(Intent, flow.intent_id)
    if before is not None and before.state == "planned" and not intents.left_over(flow, tx, before):
        raise Busy(
            "the same call with this idempotency key is still at work, expected its answer first",
            hint="Call it again with the same key in a few seconds.",
        )
    tx.drop(Intent, flow.intent_id)
    intents.plan(flow, tx, "spawn_child")


def broken_off(flow: Flow, intent: Intent) -> intents.Publish:
    """The process that spawned is gone: what it left is settled as every child is."""
    return lambda tx: intents.end(tx, intent.id, "failed")


def carry_out(flow: Flow, order: Order) -> dict[str, Any]:
    """Reserve its place and bring it up."""
    thread, worktree = _reserve(flow, order)
    found = launching.launch(flow, order, thread)
    return found | ({"worktree": worktree} if worktree else {})


def anew(flow: Flow, thread_id: str) -> Order:
    """What it takes to begin a child again: every setting of the old one, in its worktree; refused as a spawn is."""
    reconciling.reconcile(flow, children.child(flow.read(), thread_id)[0].id)
    session, old = children.child(flow.read(), thread_id)
    kept = threadfiles.find(flow.world.files, old.id)
    want = Spawn(
        session_id=session.id,
        parent_thread_id=old.parent_thread_id,
        worktree_id=old.worktree_id,
        role=old.role,
        title=old.title,
        objective=old.objective,
        agent_guide_path=old.agent_guide_path,
        agent_override=old.agent_override,
        launch_command=kept.launch_command,
        codex_command=kept.codex_command,
        split_direction=kept.split_direction,
        ensure_tmux=old.tmux_session_name is not None,
        tmux_session_name=old.tmux_session_name,
        tmux_window_name=old.tmux_window_name or "children",
        initial_prompt=kept.prompt,
        runner_kind=old.runner_kind,
        interaction_mode=old.interaction_mode or "view_only",
        task_spec=old.task_spec,
        scope_task_ids=old.scope_task_ids,
        scope_case_ids=old.scope_case_ids,
        scope_node_ids=old.scope_node_ids,
    )
    return check(flow, want, old)


def check(flow: Flow, want: Spawn, replaces: Thread | None = None) -> Order:
    """Everything that could refuse it, in one picture."""
    tx = flow.read()
    session = who.active_session(tx, want.session_id)
    if want.provider != "codex":
        raise Unsupported(
            f"provider '{want.provider}' is not offered, expected 'codex'",
            hint="Give another agent's launch line as launch_command.",
            field="provider",
            found=want.provider,
            offered=["codex"],
        )
    _check_role(tx, want, session)
    for task_id in (*want.scope_task_ids, *want.scope_case_ids):
        tx.require(Task, task_id)
    guides.read_guide(want.role, want.agent_guide_path, flow.world.repo, flow.settings.guide_root)
    kind, resolved, because = _kind(flow, want)
    launches = want.launch_codex or want.launch_command is not None
    _place(tx, want, session, replaces)
    _check_limit(tx, session, want, replaces)
    launching.check_tmux(flow, want.ensure_tmux)
    program = flow.world.runners.program(want.codex_command) if launches and resolved != "command" else []
    findings = _preflight(flow, tx, want, session, program) if program else []
    return Order(want, session, kind, resolved, because, program, launches, findings, replaces)


def _check_role(tx: Tx, want: Spawn, session: Session) -> None:
    if want.role in table.ROOT_ROLES:
        raise InvalidParams(
            f"'role' is '{want.role}', expected the role of a child",
            hint="Leave it out for a worker.",
            field="role",
            found=want.role,
            expected=list(table.ROLES),
        )
    if want.parent_thread_id:
        who.thread_of(tx, want.parent_thread_id, session)


def _kind(flow: Flow, want: Spawn) -> tuple[str, str, str | None]:
    if want.launch_command is not None:
        if want.runner_kind not in (None, "command"):
            raise InvalidParams(
                f"'runner_kind' is '{want.runner_kind}' beside launch_command, expected 'command'",
                hint="Leave one of them out.",
                field="runner_kind",
                found=want.runner_kind,
                expected="command",
            )
        return "command", "command", None
    if want.runner_kind == "command" and want.launch_codex:
        raise InvalidParams(
            "'launch_command' is missing, expected the launch line of runner_kind command",
            field="launch_command",
            found="nothing",
            expected="text(8192)",
        )
    kind = want.runner_kind or "agents_sdk_codex_mcp"
    return (kind, *flow.world.runners.resolve(kind))


def _place(tx: Tx, want: Spawn, session: Session, replaces: Thread | None) -> Worktree | None:
    """The worktree it is to work in; None where one is to be made."""
    if want.worktree_id is None and want.role not in table.ROLES[1:]:
        return None
    worktree_id = want.worktree_id or session.session_root_worktree_id
    if worktree_id is None:
        raise WrongState(
            f"'{session.id}' has no worktree yet, expected one",
            hint="Attach a session with resume.candidates.attach first.",
            found=session.status,
            expected=["active_new", "active_resume"],
        )
    worktree = tx.require(Worktree, worktree_id)
    worktrees.check_owner(tx, worktree, session)
    if worktree.status != "active":
        raise WrongState(
            f"'{worktree.id}' is '{worktree.status}', expected an active worktree",
            hint="Choose another from worktree.list.",
            found=worktree.status,
            expected="active",
        )
    there = [one for one in tx.found(Thread, worktree_id=worktree.id) if one.status not in THREAD_ENDED]
    busy = [one.id for one in there if one.id != (replaces.id if replaces else None) and one.parent_thread_id]
    if busy and want.role not in table.ROLES[1:]:
        raise Conflict(
            f"'{worktree.id}' is in use by '{busy[0]}', expected a worktree without a live worker",
            hint="Leave worktree_id out for a new one, or stop that thread.",
            found=busy[0],
        )
    return worktree


def _check_limit(tx: Tx, session: Session, want: Spawn, replaces: Thread | None) -> None:
    most = want.max_concurrent_children or session.max_children
    alive = [
        row.id
        for row in tx.where(Thread, session_id=session.id)
        if row.parent_thread_id is not None and row.status not in THREAD_ENDED
    ]
    used = len([one for one in alive if replaces is None or one != replaces.id])
    if used >= most:
        raise Limit(
            f"session '{session.id}' has {counted(used, 'live child', 'live children')}, limit is {most}",
            hint="Wait for one with thread.child.wait_status, or stop one.",
            limit=most,
            used=used,
        )


def _preflight(flow: Flow, tx: Tx, want: Spawn, session: Session, program: list[str]) -> list[dict[str, Any]]:
    """What the child's Codex lacks here; what it cannot work without is refused with the setting to change."""
    worktree = tx.require(Worktree, want.worktree_id or session.session_root_worktree_id or "")
    folder = flow.world.repo / worktree.places[tx.machine].path
    found = flow.world.runners.check(program, folder)
    wrong = [one for one in found if one["status"] == "error"]
    if wrong:
        raise External(
            f"{wrong[0]['check']}: found {wrong[0]['found']}, expected {wrong[0]['expected']}",
            hint=str(wrong[0]["hint"]),
            program=program[0],
            preflight=found,
        )
    return found


def _reserve(flow: Flow, order: Order) -> tuple[Thread, dict[str, Any] | None]:
    """The thread, planned, with its private file; and its worktree, made if it has none yet."""
    want, session = order.want, order.session
    thread_id = flow.read().mint("thr")
    token = flow.read().mint("thr")[4:] + flow.read().mint("thr")[4:] + flow.read().mint("thr")[4:]
    hashed = threadfiles.token_hash(token)

    def stage(tx: Tx, worktree_id: str) -> Thread:
        who.active_session(tx, session.id)
        _check_limit(tx, session, want, order.replaces)
        thread = tx.put(orders.document(tx, order, thread_id, worktree_id, hashed))
        if order.publish is not None:
            order.publish(tx, thread)
        return thread

    given = _place(flow.read(), want, session, order.replaces)
    if given is not None:

        def take(tx: Tx) -> Thread:
            _place(tx, want, session, order.replaces)
            return stage(tx, given.id)

        thread, worktree = flow.transact(take, thread_id), None
    else:
        thread, worktree = _with_worktree(flow, order, stage)
    orders.write_file(flow, order, thread, token)
    return thread, worktree


def _with_worktree(flow: Flow, order: Order, stage: Any) -> tuple[Thread, dict[str, Any]]:
    """Branch and folder made, then worktree and thread published together."""
    want, session = order.want, order.session
    task_id = next(iter((*want.scope_case_ids, *want.scope_task_ids)), None)
    child = worktrees.Spawn(session_id=session.id, task_id=task_id, reason=want.title, slug=None)
    threads: list[Thread] = []
    made = worktrees.make(flow, child, lambda tx, worktree_id: threads.append(stage(tx, worktree_id)))
    return threads[-1], made["worktree"]
