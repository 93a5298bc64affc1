"""The folders that have a target branch checked out: which they are, and whether a landing may bring them up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codestrator.calls import Flow
from codestrator.errors import Conflict, WrongState
from codestrator.text import counted


def folders_of(flow: Flow, target: str) -> list[Path]:
    """Every checkout of the branch; refused where one is in the middle of an operation that started on it."""
    found = []
    for folder in flow.world.worktrees.folders():
        if folder.prunable:
            continue
        if folder.branch == target:
            found.append(folder.path)
        elif folder.branch is None and flow.world.worktrees.interrupted(folder.path) == target:
            operation = flow.world.worktrees.operation(folder.path)
            raise _refuse(folder.path, f"has a {operation} of '{target}' in progress", "no operation in progress")
    return found


def check(flow: Flow, folders: Sequence[Path], target: str, written: Sequence[str]) -> None:
    """Refuse what would lose something there: an operation in progress, local changes on a path that is written."""
    names = set(written)
    for folder in folders:
        if operation := flow.world.worktrees.operation(folder):
            raise _refuse(folder, f"has a {operation} in progress", "no operation in progress")
        files = [name for name in flow.world.worktrees.changes(folder, written) if name in names]
        if files:
            raise _refuse(
                folder,
                f"has changes that landing on '{target}' writes: {counted(len(files), 'file')}, first '{files[0]}'",
                "none",
                files=files[:20],
            )


def holds(flow: Flow, branch: str, commit: str) -> bool:
    """Whether the commit is in the branch."""
    tip = flow.store.refs.read(f"refs/heads/{branch}")
    return tip is not None and not flow.world.worktrees.ahead(commit, tip)


def bring_back(flow: Flow, folders: Sequence[Path], target: str, old: str, new: str) -> list[str]:
    """Take folders back from a landing that did not happen; what is left as it is, and why."""
    written = flow.world.branches.changed(old, new)
    tip = flow.store.refs.read(f"refs/heads/{target}")
    problems = []
    for folder in folders:
        if not folder.is_dir():
            continue
        if tip not in (None, old) and set(written) - set(flow.world.branches.changed(new, tip)):
            problems.append(
                f"'{target}' moved to '{tip}', which has files of the landing: '{folder}' was left as it is"
            )
            continue  # somebody committed there meanwhile what had been brought up
        try:
            flow.world.branches.bring_back(folder, old, new)
        except Conflict as error:  # somebody worked on there since: it is theirs to decide
            problems.append(error.message)
    return problems


def _refuse(folder: Path, found: str, expected: str, **details: Any) -> WrongState:
    return WrongState(
        f"'{folder}' {found}, expected {expected}",
        hint="Commit, stash or finish it there, then call the same again.",
        found=found,
        expected=expected,
        **details,
    )
