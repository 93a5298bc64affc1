"""When to look again: as soon as state or lock book moves, and after an interval for what only lives beside them."""

import select
from typing import TYPE_CHECKING

from codestrator.errors import CodestratorError

if TYPE_CHECKING:
    from codestrator.world import LocalWorld

Tips = tuple[str | None, str | None] | None


def tips(world: "LocalWorld") -> Tips:
    """What is to be read before a look; None where a ref is damaged, which the look itself will tell."""
    try:
        return world.store.tips()
    except CodestratorError:
        return None


def wait(world: "LocalWorld", seconds: float, before: Tips) -> bool:
    """Rest until something moved since `before`; False when so many seconds have passed, or the world is cancelled."""
    try:
        return world.wait_for_change(seconds, before)
    except CodestratorError:
        world.cancelled.wait(seconds)
        return False


def gone(handle: int) -> bool:
    """Whether nobody is at the other end of a pipe or a terminal any more."""
    asked = select.poll()
    asked.register(handle, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))
