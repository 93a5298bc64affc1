"""What `init --codex` places in a worktree and `uninstall` takes away: whole files, and parts of the user's files."""

from collections.abc import Iterator
from contextlib import suppress
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from codestrator.edges import manifest
from codestrator.edges.codex import guidance, hook, server, shipped
from codestrator.edges.codex.shared import Shared
from codestrator.edges.manifest import Placed
from codestrator.errors import CodestratorError

if TYPE_CHECKING:
    from codestrator.world import LocalWorld, WorkFiles

SHARED = (server.SERVER, hook.HOOK, guidance.GUIDANCE)
BY_PATH = {one.path: one for one in SHARED}


class Step(NamedTuple):
    """One file to be written: why, its content, and the part of ours in it where it is the user's."""

    path: str
    does: str
    content: bytes
    part: str | None = None


class Plan(NamedTuple):
    """What is to be written, and what is left alone and why."""

    steps: list[Step]
    left: list[str]


def plan(files: "WorkFiles", known: Placed) -> Plan:
    """What is not there yet as it should be; refused where anything of it could not be written."""
    steps, left = [], []
    for path, content in shipped.files().items():
        found = files.read(path)
        if found == content:
            continue
        if found is not None and files.digest(found) != known.files.get(path):
            left.append(f"{files.top / path} is another than ours and is left alone")
            continue
        steps.append(Step(path, "write it" if found is None else "write it anew", content))
    for one in SHARED:
        step, why = _shared(files, known, one)
        steps += [step] if step else []
        left += [f"{files.top / one.path} is left alone: {why}"] if why else []
    for step in steps:
        files.check(step.path)
    return Plan(steps, left)


def _shared(files: "WorkFiles", known: Placed, one: Shared) -> tuple[Step | None, str]:
    content = files.read(one.path)
    words = one.read(content)
    look, does = one.look(words), f"add {one.adds}" if content is not None else f"make it, with {one.adds}"
    if look.state == "ours":
        return None, ""
    if look.state == "left":
        bare = one.without(words, known.parts[one.path]) if one.path in known.parts else None
        if bare is None:
            return None, look.why
        words, does = bare, f"renew {one.adds}"
    found, part = one.with_ours(words)
    return Step(one.path, does, found.encode(), part.words), ""


def place(world: "LocalWorld", files: "WorkFiles", planned: Plan) -> None:
    """Write it; what is written is noted before it is."""
    known = manifest.read(world)
    placed = known.codex.setdefault(files.name, Placed())
    for step in planned.steps:
        placed.folders += [one for one in files.new_folders(step.path) if one not in placed.folders]
        if step.part is None:
            placed.files[step.path] = files.digest(step.content)
        else:
            if files.read(step.path) is None and step.path not in placed.made:
                placed.made.append(step.path)
            placed.parts[step.path] = step.part
    if planned.steps:
        manifest.write(world, known)
    for step in planned.steps:
        files.write(step.path, step.content)


def to_follow(files: "WorkFiles", planned: Plan) -> list[str]:
    """What is left to a person once that is written: nothing is committed or trusted for them."""
    if not planned.steps:
        return []
    tops = sorted({step.path.partition("/")[0] for step in planned.steps})
    return [
        f"commit it, so that other worktrees and clones have it: git -C {quote(str(files.top))} add {' '.join(tops)}",
        "trust the folder when Codex, started here, asks; until then it reads nothing of .codex",
        f"trust the hook `git {hook.CALLED}` when Codex says 'Hooks need review', or with /hooks; until then it does "
        "not run, and `codex exec` and editors say nothing of it",
    ]


class Removal(NamedTuple):
    """One file to be removed, or to be written without our part; with `why`, one that is left alone."""

    path: str
    does: str
    content: bytes | None = None
    why: str = ""


def removals(files: "WorkFiles", known: Placed) -> Iterator[Removal]:
    """What of ours is still there in one worktree."""
    for path, digest in known.files.items():
        try:
            found = files.read(path)
        except CodestratorError as error:
            yield Removal(path, "", why=error.message)
            continue
        if found is not None:
            ours = files.digest(found) == digest
            yield Removal(path, "remove", why="" if ours else "was changed since it was placed")
    for path, part in known.parts.items():
        try:
            one, content = BY_PATH[path], files.read(path)
            if content is not None and (removal := _without(one, one.read(content), part, path in known.made)):
                yield removal
        except CodestratorError as error:
            yield Removal(path, "", why=error.message)


def _without(one: Shared, words: str, part: str, made: bool) -> Removal | None:
    if one.look(words).state == "absent":
        return None
    found = one.without(words, part)
    if found is None:
        return Removal(one.path, "", why=f"{one.adds}, was changed since it was placed")
    if made and one.is_blank(found):
        return Removal(one.path, "remove")
    return Removal(one.path, f"take out {one.adds}", found.encode())


def foreign(files: "WorkFiles", known: Placed) -> tuple[list[str], list[Shared]]:
    """What is there as we write it and yet was not placed by this clone: files, and files with a part of ours."""
    whole, parts = [], []
    with suppress(CodestratorError):  # a link that leads out: nothing of ours is behind it
        whole = [
            one for one, content in shipped.files().items() if one not in known.files and files.read(one) == content
        ]
        for one in (one for one in SHARED if one.path not in known.parts):
            content = files.read(one.path)
            parts += [one] if content is not None and one.look(one.read(content)).state == "ours" else []
    return whole, parts


def take_away(files: "WorkFiles", known: Placed) -> list[str]:
    """Do it; which files are left alone, and why."""
    left = []
    for one in list(removals(files, known)):
        if one.why:
            left.append(f"{files.top / one.path} is left alone: {one.why}")
        elif one.content is None:
            files.remove(one.path)
        else:
            files.write(one.path, one.content)
    for folder in sorted(known.folders, key=len, reverse=True):
        files.remove_empty(folder)
    return left
