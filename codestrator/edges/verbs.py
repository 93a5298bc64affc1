"""What the verbs of the command line put together from several methods; each returns what is shown, or its JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

from codestrator.edges.context import Context
from codestrator.errors import CodestratorError, Diverged, InvalidParams, NotFound, WrongState
from codestrator.text import counted

SHOWN = 50
READY_SHOWN = 10
PAGE = 1000


def status(context: Context) -> dict[str, Any]:
    """Who works where on what, what is held, what needs a person, and what to call next."""
    sessions = context.call("session.list", {"limit": SHOWN})["items"]
    cases = [_case(one) for state in ("in_progress", "blocked") for one in _cases(context, state)]
    locks = context.call("lock.list", {"limit": SHOWN})["items"]
    at_work = [_child(one) for one in children(context)]
    queue = _queue(context)
    needs = [*_suspended(sessions), *_blocked(cases), *_asking(at_work)]
    context.method = "status"
    found = {"sessions": sessions, "children": at_work, "cases": cases, "queue": queue, "locks": locks, "needs": needs}
    return found | {"next": _calls(sessions, cases)}


def children(context: Context) -> list[dict[str, Any]]:
    """The children at work, of all sessions, and those that failed with nobody in their place, as they are listed."""
    from codestrator.records import SESSION_ENDED, THREAD_ENDED, Session, Thread

    tx = context.tx()
    gone = {row.id for row in tx.rows(Session) if row.status in SESSION_ENDED}
    rows = [row for row in tx.rows(Thread) if row.parent_thread_id and row.session_id not in gone]
    taken = {row.worktree_id for row in rows if row.status not in ("failed", "stopped", "cancelled")}
    wanted = {
        row.id: row
        for row in rows
        if row.status not in THREAD_ENDED or (row.status == "failed" and row.worktree_id not in taken)
    }
    found = []
    for session_id, status in dict.fromkeys((row.session_id, row.status) for row in wanted.values()):
        given = {"session_id": session_id, "status": status, "include_root": False}
        found += [one for one in everything(context, "thread.child.list", given) if one["thread"]["id"] in wanted]
    return sorted(found, key=lambda one: (one["thread"]["session_id"], one["thread"]["created_at"]))


def everything(context: Context, method: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The items of a list, page by page."""
    cursor = None
    while True:
        page = context.call(method, {"limit": PAGE, "cursor": cursor, **given})
        yield from page["items"]
        cursor = page.get("next_cursor")
        if cursor is None:
            return


def _queue(context: Context) -> list[dict[str, Any]]:
    """Who waits to land, on any branch."""
    from codestrator.records import LAND_OPEN, Land

    targets = sorted({row.target_branch for row in context.tx().rows(Land) if row.state in LAND_OPEN})
    found = []
    for target in targets:
        found += context.call("merge.main.status", {"target_branch": target})["items"]
    return found[:SHOWN]


def _child(item: Mapping[str, Any]) -> dict[str, Any]:
    thread = item["thread"]
    known = ("id", "status", "title", "role", "turn", "progress", "blocker", "reason", "session_id")
    seen = {name: thread[name] for name in known if name in thread}
    return seen | ({"case_id": item["case_id"]} if "case_id" in item else {})


def _asking(children: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Children that wait for a word of their root, or that failed."""
    found = []
    for one in children:
        if one["status"] == "waiting":
            what = f"'{one['id']}' waits" + (f": {one['blocker']}" if one.get("blocker") else " for an answer")
            call = f"git codestrator thread child status --thread-id {one['id']}"
        elif one["status"] == "failed":
            what = f"'{one['id']}' failed: {one.get('reason', 'no reason given')}"
            call = f"git codestrator thread child directive --thread-id {one['id']} --mode restart --directive …"
        else:
            continue
        found.append({"what": what, "call": call})
    return found


def _cases(context: Context, state: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = context.call("task.list", {"level": "case", "status": state, "limit": SHOWN})["items"]
    return found


def _case(task: Mapping[str, Any]) -> dict[str, Any]:
    known = ("id", "status", "title", "priority", "owner_session_id", "owner_thread_id", "begun_at", "next_action")
    steps = f"{task.get('steps_done', 0)}/{task.get('steps_total', 0)}"
    return {name: task[name] for name in known if name in task} | {"steps": steps}


def _suspended(sessions: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "what": f"'{one['session']['id']}' fell silent with work in its hands",
            "call": f"git codestrator resume {one['session']['id']}",
        }
        for one in sessions
        if one.get("liveness") == "suspended" and (one.get("active_cases") or one.get("held_leases"))
    ]


def _blocked(cases: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "what": f"'{one['id']}' is blocked" + (f": {one['next_action']}" if one.get("next_action") else ""),
            "call": f"git codestrator task get --task-id {one['id']}",
        }
        for one in cases
        if one["status"] == "blocked"
    ]


def _calls(sessions: list[dict[str, Any]], cases: list[dict[str, Any]]) -> list[str]:
    if not sessions:
        return ["git codestrator session open --intent new_work"]
    return ["git codestrator brief", "git codestrator next"] if cases else ["git codestrator next"]


def check(found: Mapping[str, Any]) -> None:
    """Refuse if something needs a person, as `status --check` does."""
    if found["needs"]:
        raise Diverged(
            f"{counted(len(found['needs']), 'thing')} for a person, expected none: {found['needs'][0]['what']}",
            hint=f"Run {found['needs'][0]['call']}.",
            documents=[one["what"] for one in found["needs"]],
        )


def following(context: Context) -> dict[str, Any]:
    """The next step of the session's work; where there is none, or no session, the cases that are ready."""
    try:
        found = context.call("resume.next")
    except InvalidParams as error:
        if error.details.get("field") != "session_id":
            raise
        found = {}
    result = found or context.call("task.ready", {"limit": READY_SHOWN})
    context.method = "next" if found else "task.ready"
    return result


def take(context: Context, target: str, force: bool, reason: str | None) -> dict[str, Any]:
    """Take over a session for the one named by --session, or for a new one that is closed again if it is refused."""
    wanted = {"target_session_id": target, "force": force, "reason": reason}
    if _from_elsewhere(context, target):
        mine = {"requester_session_id": context.session} if context.session else {}
        return context.call("handoff.take", wanted | mine)
    if context.session:
        return context.call("resume.candidates.attach", wanted)
    opened = context.call("session.open", {"intent": "resume_work"})
    mine = opened["session_context"]["session"]["id"]
    try:
        return context.call("resume.candidates.attach", wanted | {"requester_session_id": mine})
    except CodestratorError:
        context.call("session.close", {"session_id": mine})
        raise


def _from_elsewhere(context: Context, target: str) -> bool:
    """Whether a remote decides: it is configured, and the session is no one's of this machine that merely fell silent.

    That one is taken up without a network, too.
    """
    from codestrator import registry
    from codestrator.records import Session

    settings, store = context.world.settings, context.world.store
    if settings.remote is None or not store.initialised:
        return settings.remote is not None
    tx = context.tx()
    try:
        found = tx.require(Session, registry.whole_id(tx, target, "target_session_id"))
    except NotFound:
        return True  # not heard of yet
    return found.machine != settings.machine or found.status in ("offered", "handoff_attached")


def land(context: Context, land_id: str | None) -> dict[str, Any]:
    """Land the session's work, or that queue item: ask for it if needed, take the lock, land what is approved."""
    if land_id is None:
        land_id = context.call("merge.main.request", {"auto_review": False})["main_merge_request"]["id"]
    item = context.call("merge.main.status", {"request_id": land_id})["item"]
    if item["state"] not in ("approved", "merged"):
        raise WrongState(
            f"'{land_id}' is '{item['state']}', expected 'approved'",
            hint="Have it reviewed: run git codestrator merge review request-auto, then this again.",
            found=item["state"],
            expected="approved",
        )
    if item["state"] == "approved":
        context.call("merge.main.acquire_lock", {"target_branch": item["target_branch"]})
    return context.call("merge.main.land", {"request_id": land_id})


def preview(context: Context, count: int) -> dict[str, Any]:
    """What an undo would take back; refuses when there is nothing."""
    found = context.call("journal.undo", {"count": count, "dry_run": True})
    if not found.get("undone"):
        raise WrongState("nothing is left to undo, expected at least one operation", found="nothing")
    return found


def undo(context: Context, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Take back what was shown, and refuse if by now it would be something else."""
    count = len(shown["undone"])
    again = context.call("journal.undo", {"count": count, "dry_run": True})
    if again.get("undone") != shown["undone"]:
        raise WrongState(
            "the journal moved on since this was shown, expected the same operations",
            hint="Look again: git codestrator undo --dry-run.",
            found=again.get("undone"),
            expected=list(shown["undone"]),
        )
    return context.call("journal.undo", {"count": count})
