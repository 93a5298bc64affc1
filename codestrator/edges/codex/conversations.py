"""Which conversation of Codex works on which session, so that a hook can tell it where it was.

Codex names its conversation in each call of a tool and to each hook, before and after a compaction and a restart.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from codestrator import text
from codestrator.errors import CodestratorError, InvalidParams, NotFound
from codestrator.records import SESSION_ENDED

if TYPE_CHECKING:
    from codestrator.calls import Seat
    from codestrator.edges.context import Context
    from codestrator.world import LocalWorld

FOLDER = "conversations"
IN_CALLS, IN_HOOKS = "sessionId", "session_id"
AT_WORK = """\
codestrator: where this conversation was, as {session}. Do its next unchecked step, by its next_calls, and nothing \
else; in a process that was started anew call `orch_lifecycle work.brief {{"session_id": "{session}"}}` before that.
"""
CHILD = """\
codestrator: where this thread was. Do its next unchecked step, by its next_calls, and nothing else.
"""
LEFT_BEHIND = """\
codestrator: work was left behind here. It can be taken up as told below, if that is what you are asked for.
"""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def note(world: "LocalWorld", seat: "Seat", meta: Mapping[str, Any] | None) -> None:
    """After a call of a root: keep which session it works on; a call does not fail for that."""
    name, session = _name((meta or {}).get(IN_CALLS)), seat.default_session
    if seat.kind != "root" or name is None or session is None:
        return
    with suppress(CodestratorError):
        if world.files.read(name) != session.encode():
            world.files.write(name, session.encode())


def _name(conversation: Any) -> str | None:
    known = isinstance(conversation, str) and _ID.fullmatch(conversation)
    return f"{FOLDER}/{conversation}" if known else None


def tell(context: "Context", given: TextIO, out: Callable[[str], None]) -> None:
    """Print what a hook of Codex adds to the conversation, if anything; Codex tells on standard input which one."""
    if told := brief(context, "" if given.isatty() else given.read()):
        out(told)


def brief(context: "Context", given: str) -> str | None:
    """What a hook of Codex, which was given that on standard input, adds to the conversation; None if nothing."""
    if not context.world.store.initialised:
        return None
    child = context.seat.kind == "child"
    found = _of_conversation(context, given) if not child else None
    found = found or context.call("work.brief")
    if "session" in found:
        if found["session"]["status"] in SESSION_ENDED:
            return None  # what comes next is the user's to say
        head = CHILD if child else AT_WORK.format(session=found["session"]["id"])
    elif "decisions" in found:
        head = LEFT_BEHIND
    else:
        return None
    from codestrator.edges import plain

    lines = "\n".join(f"| {line}" for line in plain.render("work.brief", found))
    return head + text.fence(lines, "what work.brief answers, quoting others")


def _of_conversation(context: "Context", given: str) -> dict[str, Any] | None:
    """The brief of the session that the conversation works on, if it is known and still there."""
    try:
        said = json.loads(given)
    except ValueError:
        return None
    name = _name(said.get(IN_HOOKS)) if isinstance(said, dict) else None
    session = context.world.files.read(name) if name else None
    if session is None:
        return None
    try:
        return context.call("work.brief", {"session_id": session.decode("ascii", "replace")})
    except (InvalidParams, NotFound):  # damaged, or the state is another one since
        return None
