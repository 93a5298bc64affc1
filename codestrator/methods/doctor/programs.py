"""The programs that are needed, and how they are set up: git, tmux, this one, Codex, git's hooks."""

import re
import shlex

from codestrator import __version__
from codestrator.errors import CodestratorError
from codestrator.methods.doctor.look import Found, Look, error, ok, some, warning
from codestrator.methods.system import GIT_NEEDED, INSTALL_HINT
from codestrator.records import Machine

# Where each finding about Codex can be looked at.
CODEX_CALLS = {"trust": "codex", "commit": "codex sandbox -- git status"}


def git(look: Look) -> Found:
    """git is there, and new enough."""
    _, said, _ = look.git("version")
    found = re.search(r"\d+(?:\.\d+)+", said)
    if found and tuple(int(part) for part in found[0].split(".")[:2]) >= GIT_NEEDED:
        yield ok(f"git {found[0]}")
    else:
        needed = ".".join(map(str, GIT_NEEDED))
        yield error(f"git is '{said.strip()[:80]}', expected {needed} or newer", "some calls fail", "git version")


def tmux(look: Look) -> Found:
    """tmux is there, in which children can be watched."""
    found = look.world.tmux.version()
    if found:
        yield ok(f"tmux {found[1]}")
    else:
        yield warning(
            f"no tmux: {INSTALL_HINT}",
            "children run without panes, with --no-ensure-tmux",
            "git codestrator runtime tmux ensure",
        )


def program(look: Look) -> Found:
    """All machines that share the state have the same version of this program."""
    others = [one for one in look.tx.all(Machine) if one.id != look.settings.machine]
    differing = [f"'{one.label}' has {one.program_version}" for one in others if one.program_version != __version__]
    if differing:
        yield warning(
            f"this is codestrator {__version__}; {some(differing)}",
            "a newer one may write what this one does not know",
            "git codestrator runtime bundle info",
        )
    else:
        yield ok(f"codestrator {__version__}")


def codex(look: Look) -> Found:
    """Codex is configured and trusted, and can commit in its sandbox; only where it is installed."""
    try:
        command = look.world.runners.program("codex")
    except CodestratorError:
        yield ok("no codex program: children can be of the kind 'command' only")
        return
    for one in look.world.runners.check(command, look.world.repo):
        said = f"codex {one['check']}: {one['found']}"
        call = CODEX_CALLS.get(one["check"], f"ls -ld {shlex.quote(str(look.world.common_dir))}")
        if one["status"] == "ok":
            yield ok(said)
        else:
            make = error if one["status"] == "error" else warning
            yield make(f"{said}, expected {one['expected']}", f"no child works with Codex: {one['hint']}", call)


def hooks(look: Look) -> Found:
    """Our git hooks are all there, or none of them."""
    state = look.world.hooks.state()
    if state == "partial":
        yield warning(
            "some of our git hooks are there, and some are not",
            "what git does is noticed in part only; no method depends on it",
            "git codestrator init --dry-run",
        )
    else:
        yield ok(f"git hooks of ours: {state}")
