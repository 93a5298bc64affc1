"""Writes and deletes packs of our own objects, and knows what lies in them; never anybody else's."""

import re
from pathlib import Path

from codestrator.ports import Git

UNSPLIT = ("-c", "pack.packSizeLimit=0")  # what the user may have set for packs to be carried on small disks
PACK_SECONDS = 600.0
NAMES = 8 + 1024  # where the names begin, after the header and the fan-out, which ends with their count
_NAME = re.compile(r"pack-[0-9a-f]{40}")


class Packs:
    """The packs of one repository, by name (`pack-…`)."""

    def __init__(self, common_dir: Path) -> None:
        self._folder = common_dir / "objects" / "pack"

    def path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}.{suffix}"

    def exists(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and self.path(name, "idx").exists()

    def may_go(self, name: str) -> bool:
        """Whether nobody has put a mark on it since it was written."""
        return not any(self.path(name, suffix).exists() for suffix in ("keep", "promisor", "bitmap"))

    @property
    def indexed_together(self) -> bool:
        """Whether git has an index over all packs, which would then name packs that are gone."""
        return (self._folder / "multi-pack-index").exists()

    def write(self, git: Git, *options: str, stdin: str) -> str | None:
        """Have git make a pack of what `stdin` names and put it in place; its name, None if there was nothing to pack.

        Git writes it under another name, flushes it to the disk, and its index, which makes it known, comes last. In a
        process of its own, because packing in this one would keep its calls, and whoever waits for them, from running.
        """
        said = git.run(
            *UNSPLIT, "pack-objects", "--quiet", "--threads=1", "--window=4", *options, str(self._folder / "pack"),
            stdin=stdin.encode(), seconds=PACK_SECONDS,
        )  # fmt: skip
        return f"pack-{said}" if said else None

    def delete(self, name: str) -> None:
        for suffix in ("idx", "rev", "pack"):  # without its index no program looks for a pack
            self.path(name, suffix).unlink(missing_ok=True)

    def oids(self, name: str) -> set[bytes]:
        """The ids of its objects (gitformat-pack, index version 2); none at all if git has taken the pack over."""
        try:
            raw = self.path(name, "idx").read_bytes()
        except FileNotFoundError:
            return set()
        if raw[:8] != b"\xfftOc\0\0\0\x02":
            raise ValueError(f"'{name}' has no index of version 2")
        count = int.from_bytes(raw[NAMES - 4 : NAMES])
        return {raw[at : at + 20] for at in range(NAMES, NAMES + 20 * count, 20)}
