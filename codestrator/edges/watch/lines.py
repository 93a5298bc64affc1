"""The status for pipes and simple terminals: printed again whenever it says something else."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from codestrator.edges import plain, verbs
from codestrator.edges.context import Context
from codestrator.edges.watch import changes
from codestrator.errors import CodestratorError

LISTENS_SECONDS = 1.0  # so often it is asked whether anybody still reads: who has seen enough is not kept waiting
RUNS_DOWN = ("seconds_left", "lease_until")  # that a minute has passed is no news
METHOD = "status"


def follow(context: Context, interval: float) -> int:
    """Print the status, or one line of JSON, as long as somebody reads; what cannot be read meanwhile is told once."""
    before, trouble = changes.tips(context.world), ""
    told = verbs.status(context)  # what is wrong from the beginning is refused like that of any other command
    _print(context, told)
    while _rest(context, interval, before):
        before = changes.tips(context.world)
        try:
            found = verbs.status(context)
        except CodestratorError as error:
            if error.message != trouble:
                _complain(context, error)
            trouble = error.message
            continue
        if trouble or news(found) != news(told):
            _print(context, found)
        told, trouble = found, ""
    return 0


def _rest(context: Context, interval: float, before: changes.Tips) -> bool:
    """Wait for a change, or the interval; False once nobody reads any more."""
    left = interval
    while left > 0:
        if changes.gone(sys.stdout.fileno()):
            return False
        if changes.wait(context.world, min(left, LISTENS_SECONDS), before):
            return True
        left -= LISTENS_SECONDS
    return not changes.gone(sys.stdout.fileno())


def news(found: Any) -> Any:
    """A status without what only runs down."""
    if isinstance(found, Mapping):
        return {name: news(one) for name, one in found.items() if name not in RUNS_DOWN}
    return [news(one) for one in found] if isinstance(found, list) else found


def _print(context: Context, found: Mapping[str, Any]) -> None:
    """One line of JSON, or a screen of text with an empty line after it."""
    lines = [plain.success(METHOD, found)] if context.json else [*plain.render(METHOD, found), ""]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _complain(context: Context, error: CodestratorError) -> None:
    if context.json:
        sys.stdout.write(plain.refusal(METHOD, error.as_dict()) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(plain.visible(f"{error.code}: {error.message}") + os.linesep)
