"""One call in a process that is killed at a given step: `python -m tests.methods.dying <folder> <step> <call as JSON>`.

A step is the moment before or after something outside of memory is changed. Fewer steps than asked for: the call ends.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ACTS = ("transact", "reserve_branch", "add", "discard", "remove", "delete_branch", "bring_up", "move", "snapshot")
# Inside of what other calls do in one go, and on the way to a server: `deep` names the commands of git.
DEEP = ("worktree", "read-tree", "update-ref", "push", "fetch")


class Dying:
    """Passes everything on; kills this process at the step given."""

    steps_left = 0

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "refs":
            return Dying(found)
        return _dying(found) if name in ACTS else found


class DyingGit(Dying):
    """Git itself, at some commands that change something."""

    commands: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("run", "try_run"):
            return found
        return lambda *words, **how: (_dying(found) if self._acts(words) else found)(*words, **how)

    def _acts(self, words: tuple[str, ...]) -> bool:
        return any(one in words for one in self.commands) and "list" not in words


def _dying(act: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **how: Any) -> Any:
        _step()
        result = act(*args, **how)
        _step()
        return result

    return run


def _step() -> None:
    Dying.steps_left -= 1
    if Dying.steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, step: str, call: str) -> None:
    from codestrator import registry
    from codestrator.calls import Seat
    from codestrator.world import open_world

    world = open_world(Path(folder))
    given = json.loads(call)
    Dying.steps_left = int(step)
    deep = DyingGit.commands = tuple(given.get("deep", ()))
    if deep:
        for port in (world.worktrees, world.remotes):
            vars(port)["_git"] = DyingGit(vars(port)["_git"])
    for name in () if deep and deep != DEEP else ("store",) if deep else ("store", "worktrees", "branches"):
        setattr(world, name, Dying(getattr(world, name)))
    registry.call(world, Seat(**given["seat"]), given["method"], given["params"])


if __name__ == "__main__":
    main(*sys.argv[1:])
