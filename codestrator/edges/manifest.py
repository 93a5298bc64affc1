"""What `init` wrote into this repository, so that `uninstall` takes away that and nothing else."""

from typing import TYPE_CHECKING

import msgspec

from codestrator import __version__
from codestrator.decoding import decoder

if TYPE_CHECKING:
    from codestrator.world import LocalWorld

NAME = "install.json"


class Placed(msgspec.Struct, kw_only=True):
    """What `init --codex` placed in one worktree: whole files, folders that were not there, parts put into files.

    `made` are the files with a part that were not there before.
    """

    files: dict[str, str] = {}
    folders: list[str] = []
    parts: dict[str, str] = {}
    made: list[str] = []


class Manifest(msgspec.Struct, kw_only=True):
    """Kept as `install.json` in the private folder; digests are SHA-256 of what was written."""

    schema_version: int = 1
    program_version: str = __version__
    config: dict[str, str] = {}
    config_before: dict[str, str | None] = {}
    config_digest: str = ""
    hooks: dict[str, str] = {}
    made_hooks_folder: bool = False
    codex: dict[str, Placed] = {}  # by worktree: `.` is the main one, a linked one has git's name for it

    def known(self, name: str) -> tuple[str, ...]:
        """The digest that a hook's file had when it was placed."""
        return (self.hooks[name],) if name in self.hooks else ()


def read(world: "LocalWorld") -> Manifest:
    """What is kept; an empty one where there is none, or none that can be read."""
    try:
        return decoder(Manifest).decode(world.files.read(NAME) or b"{}")
    except ValueError:  # msgspec's errors are ValueErrors
        return Manifest()


def write(world: "LocalWorld", manifest: Manifest) -> None:
    """Keep it; what says the same as before is not written again."""
    content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"
    if world.files.read(NAME) != content:
        world.files.write(NAME, content)
