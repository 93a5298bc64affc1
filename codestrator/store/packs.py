"""Writes and deletes packs of our own objects, and knows what lies in them; never anybody else's."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from codestrator.store.objects import TREE, split_tree

_ID = re.compile(rb'"id":"([^"]*)"')
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

    def write(self, repo: pygit2.Repository, oids: Iterable[bytes], workshop: Path) -> str:
        """Make a pack in a folder of its own, in the order given, flush it to disk, and put it in place; its name.

        The pack goes first: its index makes it known, and nobody ever sees half of either.
        """
        shutil.rmtree(workshop, ignore_errors=True)  # what a killed process left
        workshop.mkdir(mode=0o700, parents=True)
        try:
            builder = pygit2.PackBuilder(repo)
            builder.set_threads(1)
            for oid in oids:
                builder.add(pygit2.Oid(raw=oid))
            builder.write(str(workshop))
            (index,) = workshop.glob("*.idx")
            self._folder.mkdir(exist_ok=True)
            for place in (index.with_suffix(".pack"), index):
                flush(place)
                shutil.move(place, self._folder / place.name)  # a copy, where objects/ is on another file system
            flush(self._folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        return index.stem

    def delete(self, name: str) -> None:
        for suffix in ("idx", "rev", "pack"):  # without its index no program looks for a pack
            self.path(name, suffix).unlink(missing_ok=True)

    def oids(self, name: str) -> dict[bytes, None]:
        """The ids of its objects, in the order in which they lie there (gitformat-pack, index version 2).

        None at all if git has taken the pack over meanwhile.
        """
        try:
            raw = self.path(name, "idx").read_bytes()
        except FileNotFoundError:
            return {}
        if raw[:8] != b"\xfftOc\0\0\0\x02":
            raise ValueError(f"'{name}' has no index of version 2")
        count = int.from_bytes(raw[8 + 1020 : 8 + 1024])
        names = 8 + 1024
        offsets = names + 24 * count
        ordered = sorted(range(count), key=lambda one: raw[offsets + 4 * one : offsets + 4 * one + 4])
        return {raw[names + 20 * one : names + 20 * one + 20]: None for one in ordered}


def side_by_side(repo: pygit2.Repository, oids: Iterable[bytes]) -> list[bytes]:
    """Versions of one file or folder next to each other, otherwise in the order given.

    libgit2 looks for deltas only among the ten neighbours of one type and size: this halves a pack.
    """
    known: dict[bytes, bytes] = {}

    def name(oid: bytes) -> bytes:
        if oid not in known:
            known[oid] = _name(*repo.read(pygit2.Oid(raw=oid)))
        return known[oid]

    def _name(kind: int, raw: bytes) -> bytes:
        """A document's id; for a folder, the first file in it, however deep."""
        if kind == ObjectType.BLOB:
            found = _ID.search(raw)
            return found[1] if found else b""
        first = next(iter(split_tree(raw).items()), None) if kind == ObjectType.TREE else None
        if first is None:
            return b""
        return b"/" + (name(first[1].oid) if first[1].mode == TREE else first[0])

    return sorted(oids, key=name)


def flush(place: Path) -> None:
    """Have a file or a folder on the disk before going on."""
    handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
