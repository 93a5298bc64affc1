"""What `uninstall` takes away: what `init` placed, unless it was changed since; with --purge the state too."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from codestrator.edges import manifest
from codestrator.edges.context import Context
from codestrator.errors import External, WrongState
from codestrator.text import counted

if TYPE_CHECKING:
    from codestrator.edges.codex.placing import Removal
    from codestrator.world import LocalWorld, WorkFiles

OUR_REFS = ("refs/codestrator", "refs/codestrator-remote", "refs/notes/codestrator")
EMPTIED = ("refs/codestrator", "refs/codestrator-remote", "refs/notes")  # git leaves them behind
EXPORT_SECONDS = 600


def check_quiet(context: Context) -> None:
    """Refuse while sessions live."""
    if not context.world.store.initialised:
        return
    items = context.call("session.list", {"limit": 1000})["items"]
    if live := [one["session"]["id"] for one in items if one.get("liveness") == "live"]:
        raise WrongState(
            f"{counted(len(live), 'live session')}, first '{live[0]}', expected none",
            hint="Close them first: git codestrator session close; to see them: git codestrator status.",
            found=live,
            expected="no live session",
        )


def plan(context: Context, *, purge: bool) -> dict[str, Any]:
    """What will be removed, and what stays, with what removes or names that."""
    world, known = context.world, manifest.read(context.world)
    touches = []
    for key, value in known.config.items():
        earlier = known.config_before.get(key)
        if world.local_config.value(key) == value:
            touches.append(_touch(f"git config {key}", f"set back to '{earlier}'" if earlier else "remove"))
    for name in world.hooks.names:
        place = world.hooks.folder / name
        if world.hooks.look(name, known.known(name)) in ("ours", "outdated", "wrapped"):
            kept = world.hooks.kept(name)
            touches.append(_touch(str(place), f"put back what was there from {kept.name}" if kept else "remove"))
    touches += [_touch(str(files.top / one.path), one.does) for files, one in _placed(world, known) if not one.why]
    root = world.files.root
    ours = [one for one in (root / manifest.NAME, root / "config.before", root / "hooks") if one.exists()]
    touches += [_touch(str(one), "remove") for one in ours]
    found: dict[str, Any] = {"stays": _stays(world, purge=purge)}
    if purge:
        refs = _refs(world)
        if refs:
            place = Path.cwd() / f"codestrator-{world.now().at:%Y%m%dT%H%M%SZ}.bundle"
            found["export"] = str(place)
            touches.append(_touch(str(place), f"write {counted(len(refs), 'ref')} into it (git bundle)"))
        touches += [_touch(ref, f"delete, it was {commit}") for ref, commit in refs.items()]
        touches.append(_touch(f"{root}/", "delete, with signs of life, logs and caches"))
    return found | {"touches": touches}


def _touch(what: str, does: str) -> dict[str, str]:
    return {"what": what, "does": does}


def _placed(world: "LocalWorld", known: manifest.Manifest) -> "Iterator[tuple[WorkFiles, Removal]]":
    """What `init --codex` placed in worktrees that are still there."""
    from codestrator.edges.codex import placing

    for name, placed in known.codex.items():
        if files := world.files_of(name):
            yield from ((files, one) for one in placing.removals(files, placed))


def _not_placed_here(world: "LocalWorld") -> Iterator[dict[str, str]]:
    """What came for Codex with the repository's own commits."""
    from codestrator.edges.codex import placing

    if world.bare:
        return
    files = world.files_here()
    whole, parts = placing.foreign(files, manifest.read(world).codex.get(files.name, manifest.Placed()))
    if whole:
        call = f"cd {quote(str(files.top))} && rm {' '.join(whole)}"
        yield {"what": f"{len(whole)} files for Codex that another clone placed", "call": call}
    for one in parts:
        yield {"what": f"{one.adds} in {files.top / one.path}", "call": "take it out there by hand"}


def _take_placed_away(world: "LocalWorld", known: manifest.Manifest) -> list[str]:
    from codestrator.edges.codex import placing

    found = ((world.files_of(name), placed) for name, placed in known.codex.items())
    return [why for files, placed in found if files for why in placing.take_away(files, placed)]


def _refs(world: "LocalWorld") -> dict[str, str]:
    said = world.git.run("for-each-ref", "--format=%(refname) %(objectname)", *OUR_REFS)
    return dict((ref, commit) for ref, _, commit in (line.partition(" ") for line in said.splitlines()))


def _stays(world: "LocalWorld", *, purge: bool) -> list[dict[str, str]]:
    """Worktrees and branches always, which hold work; the state unless it is purged."""
    found = []
    if not purge and (refs := _refs(world)):
        kept = f"{counted(len(refs), 'ref')} of the state, and {world.files.root}/"
        found.append({"what": kept, "call": "git codestrator uninstall --purge"})
    if remote := world.settings.remote:
        names = quote(f"{world.settings.ref_prefix}*")
        found.append({"what": f"what was shared with '{remote}'", "call": f"git ls-remote {quote(remote)} {names}"})
    found += [_worktree(place, locked) for place, locked in _worktrees(world)]
    branches = world.git.run("for-each-ref", "--format=%(refname:short)", "refs/heads/task").splitlines()
    for branch in (one for one in branches if one.startswith("task/ses-")):
        found.append({"what": f"branch {branch}", "call": f"git branch -D {quote(branch)}"})
    found += _not_placed_here(world)
    if world.hooks.elsewhere is not None:
        for place, line in world.hooks.lines():
            with contextlib.suppress(OSError):
                if line.partition(" ||")[0] in place.read_text(encoding="utf-8", errors="replace"):
                    found.append({"what": f"a line in {place}", "call": f"delete it there: {line}"})
    return found


def _worktrees(world: "LocalWorld") -> Iterator[tuple[Path, bool]]:
    """Those below the folder that ours are made in, and whether they are locked."""
    root = (world.repo / world.settings.worktree_root).resolve()
    for record in world.git.run("worktree", "list", "--porcelain", "-z").split("\0\0"):
        lines = record.split("\0")
        place = Path(lines[0].removeprefix("worktree "))
        if place.resolve().is_relative_to(root):
            yield place, any(line.split(" ")[0] == "locked" for line in lines)


def _worktree(place: Path, locked: bool) -> dict[str, str]:
    """Without force, so that git refuses while there is uncommitted work in it."""
    unlock = f"git worktree unlock {quote(str(place))} && " if locked else ""
    return {"what": f"worktree {place}", "call": f"{unlock}git worktree remove {quote(str(place))}"}


def run(context: Context, *, purge: bool, export: str | None = None) -> dict[str, Any]:
    """Take it away; what the user changed since is left alone and named."""
    world, known = context.world, manifest.read(context.world)
    warnings = []
    for name in world.hooks.names:
        if not world.hooks.take_away(name, known.known(name)):
            kept = world.hooks.kept(name)
            beside = f"; what was there before is {kept.name}" if kept else ""
            warnings.append(f"{world.hooks.folder / name} was changed since it was placed and is left alone{beside}")
    if known.made_hooks_folder:
        with contextlib.suppress(OSError):  # somebody's file is in it, or it is gone
            world.hooks.folder.rmdir()
    warnings += _take_placed_away(world, known)
    left = world.local_config.take_back(known.config, known.config_before, known.config_digest)
    warnings += [f"git config {key} was changed since it was set and is left alone" for key in left]
    world.local_config.forget()
    world.hooks.take_private_away()
    (world.files.root / manifest.NAME).unlink(missing_ok=True)
    if purge:
        _purge(context, export)
    return {"warnings": warnings}


def _purge(context: Context, export: str | None) -> None:
    """Export, look whether it can be read back, then delete; refs that moved in between stop it."""
    world = context.world
    world.notes.flush()
    refs = _refs(world)
    if refs and export:
        place = Path(export)
        if place.exists():
            raise WrongState(f"'{place}' is there, expected no such file", found="a file", expected="none")
        world.git.run("bundle", "create", "--quiet", str(place), *refs, seconds=EXPORT_SECONDS)
        heads = world.git.run("bundle", "list-heads", str(place)).splitlines()
        if {f"{commit} {ref}" for ref, commit in refs.items()} != set(heads):
            raise External(f"'{place}' does not hold all that is to be deleted, nothing was", program="git bundle")
    for ref, commit in refs.items():
        world.git.run("update-ref", "-d", ref, commit)
    for folder in EMPTIED:
        with contextlib.suppress(OSError):  # somebody's refs are in it, or it is gone
            (world.common_dir / folder).rmdir()
    root = world.files.root
    context.close()
    shutil.rmtree(root)
