"""What an agent reads in one session from its server: each call with the tokens of its result, 4 bytes counted as one.

Only the structured content counts: Codex hands that to its model, and the text beside it, which repeats it, to nobody.
"""

import json
from pathlib import Path
from typing import Any

from codestrator import text
from tests.edges.wire import Json, Wire

EVIDENCE = {"command": "pytest -q", "exit_status": 0}


def tokens(value: Any) -> int:
    return text.tokens(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def surface(wire: Wire) -> int:
    """Tokens of the instructions and of all tools, as a client reads them of a server that has not begun."""
    told = wire.start()["instructions"]
    tools = wire.ask("tools/list")["result"]["tools"]
    return text.tokens(told) + tokens(
        [{part: tool[part] for part in ("name", "description", "inputSchema")} for tool in tools]
    )


def session(wire: Wire, repo: Path, commit: Any) -> list[tuple[str, Json]]:
    """One feature of one case, from opening to landing; each call with its result."""
    seen: list[tuple[str, Json]] = []

    def call(method: str, **params: Any) -> Json:
        seen.append((method, wire.call(method, **params)))
        return seen[-1][1]

    call("workspace.init")
    opened = call("session.open", user_request="Fix the login timeout: the session must survive a refresh")
    place = repo / opened["session_context"]["session_root_worktree"]["path"]
    epic = call("task.create", level="epic", title="Login")["task"]["id"]
    feature = call("task.create", level="feature", title="Survives a refresh", parent_id=epic)["task"]["id"]
    about = {"steps": ["write the test", "make it pass"], "acceptance": ["it holds"], "files": ["src/login.py"]}
    case = call("task.create", level="case", title="Keeps the cookie", parent_id=feature, **about)["task"]["id"]
    call("task.ready")
    call("case.begin", case_id=case)
    call("lock.acquire", scope_type="prefix", scope_path="src/login")
    call("work.brief")
    head = commit(place)
    for number in (1, 2):
        call("step.check", step_id=f"{case}.{number}", result="pass", evidence=EVIDENCE)
    call("work.checkpoint", summary="both tests pass")
    call("case.complete", case_id=case, summary="the cookie is renewed")
    call("merge.request", feature_task_id=feature)
    call("merge.main.request", auto_review=False)
    call("merge.main.acquire_lock")
    call("merge.review.verdict", verdict="approve", head=head, summary="as asked")
    call("merge.main.land")
    call("session.close")
    return seen
