"""What `init` does around the state: settings, git's hooks, a trial of the remote; and what it shows before that."""

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from codestrator.edges import manifest
from codestrator.edges.context import Context
from codestrator.errors import InvalidParams

if TYPE_CHECKING:
    from codestrator.edges.codex.placing import Plan
    from codestrator.world import LocalWorld, WorkFiles

PROGRAM = "git-codestrator"
REMOTE, AUTHORITY = "codestrator.remote", "codestrator.authority"
LEFT = {
    "changed": "was changed since it was placed and is left alone",
    "in the way": "is left alone: a file with its name and the ending .before-codestrator is beside it",
}


class Wanted(NamedTuple):
    """The options of `init`."""

    remote: str | None
    authority: str | None
    hooks: bool
    codex: bool = False


def plan(context: Context, wanted: Wanted) -> dict[str, Any]:
    """What init will touch, as things are now; nothing for what is there already."""
    world = context.world
    _check(world, wanted)
    common = world.common_dir
    touches = []
    if not world.store.initialised:
        touches.append(_touch("refs/codestrator/state", "make the state, empty"))
        touches.append(_touch("refs/codestrator/locks", "make the lock book, empty"))
        touches.append(_touch(f"{common / 'codestrator'}/", "the private folder: signs of life, caches, this list"))
    if remote := _to_probe(world, wanted):
        touches.append(_touch(f"{world.settings.ref_prefix}probe/… at '{remote}'", "make it and delete it again"))
    touches += [_touch(f"git config {key}", f"set to '{value}'") for key, value in _changes(world, wanted).items()]
    found: dict[str, Any] = {"touches": touches + _files(world, wanted)}
    if wanted.hooks and world.hooks.way() == "by hand" and world.hooks.state() != "installed":
        found["by_hand"] = [{"file": str(place), "line": line} for place, line in world.hooks.lines()]
    return found | (_codex(world, found["touches"]) if wanted.codex else {})


def _codex(world: "LocalWorld", touches: list[dict[str, str]]) -> dict[str, Any]:
    """What is placed for Codex, added to what is touched; what is left alone, and what only a person can do."""
    from codestrator.edges.codex import placing

    files, planned = _planned(world)
    touches += [_touch(str(files.top / step.path), step.does) for step in planned.steps]
    followed = placing.to_follow(files, planned)
    return {"warnings": planned.left} | ({"codex": followed} if followed else {})


def _planned(world: "LocalWorld") -> "tuple[WorkFiles, Plan]":
    from codestrator.edges.codex import placing

    files = world.files_here()
    return files, placing.plan(files, manifest.read(world).codex.get(files.name, manifest.Placed()))


def _touch(what: str, does: str) -> dict[str, str]:
    return {"what": what, "does": does}


def _check(world: "LocalWorld", wanted: Wanted) -> None:
    if wanted.remote is not None:
        world.probe.known(wanted.remote)
    if wanted.authority == "remote" and not (wanted.remote or world.settings.remote):
        raise InvalidParams(
            "'--authority remote' needs a remote that decides, found none",
            hint="Give --remote too.",
            field="remote",
            found="nothing",
            expected="the name of a remote",
        )


def _values(world: "LocalWorld", wanted: Wanted) -> dict[str, str]:
    """The configuration that is to be there in the end."""
    found = {key: value for key, value in ((REMOTE, wanted.remote), (AUTHORITY, wanted.authority)) if value}
    if wanted.hooks and world.hooks.way() == "config":
        found |= world.hooks.keys()
    return found


def _changes(world: "LocalWorld", wanted: Wanted) -> dict[str, str]:
    return {key: value for key, value in _values(world, wanted).items() if world.local_config.value(key) != value}


def _to_probe(world: "LocalWorld", wanted: Wanted) -> str | None:
    """The remote to try, where it or what it is to decide changes."""
    changes = _changes(world, wanted)
    return (wanted.remote or world.settings.remote) if {REMOTE, AUTHORITY} & changes.keys() else None


def _files(world: "LocalWorld", wanted: Wanted) -> list[dict[str, str]]:
    if not wanted.hooks:
        return []
    hooks, known = world.hooks, manifest.read(world).known
    if hooks.way() == "config":
        stale = [name for name in hooks.names if not hooks.is_private(name)]
        return [_touch(str(hooks.private(name)), "write the hook that the settings name") for name in stale]
    if hooks.way() == "by hand":
        return []
    does = {"absent": "write it", "outdated": "write it anew", "theirs": "write it; the hook that is there runs first"}
    looks = ((name, hooks.look(name, known(name))) for name in hooks.names)
    return [_touch(str(hooks.folder / name), does[look]) for name, look in looks if look in does]


def init(context: Context, wanted: Wanted) -> dict[str, Any]:
    """Do it: the remote is tried before anything is written, and what will be written is noted before it is."""
    world = context.world
    warnings = []
    if remote := _to_probe(world, wanted):
        atomic = (wanted.authority or world.settings.authority) == "remote"
        warnings += [said] if (said := world.probe.run(remote, atomic=atomic)) else []
    found = context.call("workspace.init")
    _write_config(world, wanted)
    if wanted.hooks:
        warnings += _place_hooks(world)
        if shutil.which(PROGRAM) is None:
            warnings.append(f"{PROGRAM} is not on PATH: until it is, hooks do nothing")
    if wanted.codex:
        from codestrator.edges.codex import placing

        files, planned = _planned(world)
        placing.place(world, files, planned)
        warnings += planned.left
    shown = {name: found[name] for name in ("repo_path", "state_ref", "machine")}
    for key in (REMOTE, AUTHORITY):
        shown |= {key.partition(".")[2]: value} if (value := world.git.config(key)) else {}
    return shown | {"hooks": world.hooks.state(), "warnings": warnings}


def _write_config(world: "LocalWorld", wanted: Wanted) -> None:
    """Through git; what was there before is kept, so that it can be put back to the byte."""
    changes, config = _changes(world, wanted), world.local_config
    if not changes:
        return
    known = manifest.read(world)
    if not known.config:
        config.keep()
    elif known.config_digest != config.digest():
        config.forget()  # the user has changed it since: what is to be put back is no more the whole file
    for key in changes:
        known.config_before.setdefault(key, config.value(key))
    known.config |= changes
    manifest.write(world, known)
    config.write(changes)
    known.config_digest = config.digest()
    manifest.write(world, known)


def _place_hooks(world: "LocalWorld") -> list[str]:
    """Write the files of hooks; which are left alone, and why."""
    hooks, known = world.hooks, manifest.read(world)
    way = hooks.way()
    if way == "config":
        for name in hooks.names:
            if not hooks.is_private(name):
                hooks.place_private(name)
    if way != "files":
        return []
    earlier = {name: known.known(name) for name in hooks.names}
    looks = {name: hooks.look(name, earlier[name]) for name in hooks.names}
    free = [name for name in hooks.names if looks[name] not in LEFT]
    known.hooks |= {name: hooks.digest(name) for name in free}
    known.made_hooks_folder = known.made_hooks_folder or not hooks.folder.is_dir()
    manifest.write(world, known)
    for name in free:
        hooks.place(name, earlier[name])
    return [f"{hooks.folder / name} {LEFT[look]}" for name, look in looks.items() if look in LEFT]
