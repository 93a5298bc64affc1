"""What our git hooks do once their first lines found that there is something to do: never more than their time allows.

Whatever goes wrong here stops nothing of the user's: the answer is a line to print, and the one status that refuses.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from codestrator.edges.context import SESSION, Context
from codestrator.errors import CodestratorError, Forbidden, Unsupported

SKIP, PUSHING = "CODESTRATOR_SKIP_HOOKS", "CODESTRATOR_PUSHING"
REFUSED = 4
FIRST_SECONDS = 20  # until the setting is known; as much as it can be
GRACE_SECONDS = 1
RESERVE_SECONDS = 1  # of the hook's time, for what is around the sync
HEADS = "refs/heads/"
NO_COMMIT = "0" * 40
MOST_COMMITS = 1000
FAILED = ("refused", "offline", "diverged")


class Update(NamedTuple):
    """One ref that is about to be pushed: the branch it goes to, what is pushed, and what is there now."""

    branch: str
    new: str
    old: str


class Late(BaseException):
    """The hook's time is over."""


def run(context: Context, name: str, arguments: Sequence[str], git_dir: str | None) -> tuple[int, str]:
    """Do what a hook is for: the exit status (0, or 4 for a push that must not be), and a line or nothing."""
    if os.environ.get(SKIP) or os.environ.get(PUSHING) or name not in DOES:
        return 0, ""
    started = time.monotonic()
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, FIRST_SECONDS, GRACE_SECONDS)
    try:
        _open(context, git_dir)
        seconds = context.world.settings.hook_timeout
        end = started + seconds
        signal.setitimer(signal.ITIMER_REAL, max(0.01, end - time.monotonic()), GRACE_SECONDS)
        status, said = DOES[name](context, arguments, end) if context.world.store.initialised else (0, [])
        context.world.notes.flush()
    except Late:
        status, said = 0, [f"{name} was not done within its time (codestrator.hookTimeout)"]
    except CodestratorError as error:
        status, said = 0, [f"{error.code}: {error.message}"]
    _bound_the_rest(status)
    return status, "codestrator: " + "; ".join(said) if said else ""


def _late(number: int, frame: object) -> None:
    """First unwind, so that programs which were started end too; where that takes too long, just end."""
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
    raise Late


def _bound_the_rest(status: int) -> None:
    """Printing and closing have their moment too: what waits for a lock there is written by the next start."""
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(status))
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


def _open(context: Context, git_dir: str | None) -> None:
    """The repository that git is at work in, which need not be the one of this folder (`git --git-dir`)."""
    asked = Path(git_dir).resolve() if git_dir else None
    with suppress(CodestratorError):
        if asked is None or context.world.common_dir == asked:
            return
        context.close()
        del context.world
    context.repo = asked


def _pre_push(context: Context, arguments: Sequence[str], end: float) -> tuple[int, list[str]]:
    remote = arguments[0] if arguments else ""
    updates = list(_updates(sys.stdin.buffer.read().decode("utf-8", "surrogateescape").splitlines()))
    said = []
    if updates:
        leases = _leases(context)
        for one in updates:
            if one.branch in leases and (broken := _broken(context, remote, one, leases[one.branch].fence)):
                return REFUSED, [broken]
        said = [warning for one in updates if one.branch in leases and (warning := _held(context, one.branch))]
    if remote and remote == context.world.settings.remote:
        said += _sync(context, "both", end)
    return 0, said


def _updates(lines: Iterable[str]) -> Iterable[Update]:
    """The branches among the lines that git gives: local ref, its commit, remote ref, its commit."""
    for line in lines:
        words = line.split(" ")
        if len(words) == 4 and words[2].startswith(HEADS) and words[1] != NO_COMMIT:
            yield Update(words[2].removeprefix(HEADS), words[1], words[3])


def _leases(context: Context) -> dict[str, Any]:
    """The merge leases of the book by branch; a released one is still there, with its last fence."""
    from codestrator.records import Lease

    return {one.target_branch or "": one for one in context.tx().found(Lease, domain="merge")}


def _broken(context: Context, remote: str, update: Update, fence: int) -> str | None:
    """A commit that landed under a merge lock which was already lost, and that no item of the queue records."""
    suspects = [one for one in _fenced(context, remote, update) if one[1] < fence]
    if not suspects:
        return None
    from codestrator.records import Land

    landed = {one.merge_commit for one in context.tx().found(Land, target_branch=update.branch, state="merged")}
    for commit, number in suspects:
        if commit not in landed:
            holder = _lock(context, update.branch).get("holder_session_id")
            return (
                f"push refused: {commit[:12]} landed on '{update.branch}' with fence {number}, current is {fence}, "
                f"held by {repr(holder) if holder else 'nobody now'}"
            )
    return None


def _fenced(context: Context, remote: str, update: Update) -> Iterable[tuple[str, int]]:
    """The commits to be pushed that say under which fence of this branch they landed."""
    git = context.world.git
    there = git.try_run("cat-file", "-e", f"{update.old}^{{commit}}")[0] == 0
    without = (f"^{update.old}",) if there else ("--not", f"--remotes={remote}")
    words = f"merge/{update.branch}:"
    form = "--format=%H %(trailers:key=Fence,valueonly,separator=%x20)"
    only = (f"--max-count={MOST_COMMITS}", "--fixed-strings", f"--grep=Fence: {words}")
    said = git.run("log", form, *only, update.new, *without, "--")
    for line in said.splitlines():
        commit, *values = line.split(" ")
        for value in values:
            number = value.removeprefix(words)
            if value.startswith(words) and number.isdecimal():
                yield commit, int(number)


def _held(context: Context, branch: str) -> str | None:
    """A warning where another session is about to land on the branch."""
    found = _lock(context, branch)
    holder = found.get("holder_session_id")
    if not holder or _speaks_for(context, holder):
        return None
    return f"'{holder}' holds the merge lock of '{branch}' for {found['seconds_left']} s and may be landing on it"


def _lock(context: Context, branch: str) -> dict[str, Any]:
    with suppress(CodestratorError):  # a branch that is not here any more
        return context.call("merge.main.status", {"target_branch": branch}).get("lock") or {}
    return {}


def _speaks_for(context: Context, session_id: str) -> bool:
    """Whether this shell is that session's: by its environment, or because it stands in one of its worktrees."""
    from codestrator.records import Worktree

    if os.environ.get(SESSION) == session_id:
        return True
    tx, world = context.tx(), context.world
    places = (one.places.get(tx.machine) for one in tx.found(Worktree, owner_session_id=session_id, status="active"))
    return any(place and world.cwd.is_relative_to((world.repo / place.path).resolve()) for place in places)


def _post_merge(context: Context, arguments: Sequence[str], end: float) -> tuple[int, list[str]]:
    return 0, _sync(context, "fetch", end) if context.world.settings.remote else []


def _post_rewrite(context: Context, arguments: Sequence[str], end: float) -> tuple[int, list[str]]:
    from codestrator import registry

    lines = (line.split(" ") for line in sys.stdin.buffer.read().decode("ascii", "replace").splitlines())
    pairs = {words[0]: words[1] for words in lines if len(words) >= 2 and words[0] != words[1]}
    if pairs:
        registry.rewritten(context.world, pairs)
        context.world.notes.flush()
    return _post_merge(context, arguments, end)


def _sync(context: Context, direction: str, end: float) -> list[str]:
    """Share with the remote in the time that is left; why it failed, in a line; nothing where it may not be."""
    seconds = int(end - time.monotonic()) - RESERVE_SECONDS
    try:
        found = context.call("sync.run", {"direction": direction, "timeout_seconds": max(1, seconds)})
    except (Unsupported, Forbidden):
        return []
    except CodestratorError as error:
        return [f"not shared, {error.code}: {error.message}"]
    failed = [one for one in found["items"] if one["verdict"] in FAILED]
    return [f"not shared: {one['ref']} {one['verdict']}, {one.get('detail', 'no reason given')}" for one in failed[:1]]


DOES = {"pre-push": _pre_push, "post-merge": _post_merge, "post-rewrite": _post_rewrite}
