"""Rows of trees that were read once, kept in a file: a fresh process need not read ten thousand documents again.

It is a cache and nothing more: a tree's id names its content, so what it says can be missing but never out of date.
"""

import marshal
import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codestrator.model import Document

if TYPE_CHECKING:
    from codestrator.store.objects import Node
    from codestrator.store.picture import Picture

WORTH_WRITING = 64  # documents read that the file did not have


class RowCache:
    """`<common git dir>/codestrator/cache/rows-…`; unreadable, outdated or unwritable is the same as empty."""

    def __init__(self, folder: Path, kinds: Mapping[str, type[Document]]) -> None:
        shape = repr((sys.version_info[:2], marshal.version, sorted((name, kind.ROW) for name, kind in kinds.items())))
        self._path = folder / f"rows-{zlib.crc32(shape.encode()):08x}"
        self._known: dict[bytes, list[Any]] | None = None
        self._learnt = 0
        self.only_looking = False  # nothing is written then

    def rows(self, tree: bytes) -> list[Any] | None:
        """What is known of a tree: pairs of kind and values. Whoever asks keeps it."""
        if self._known is None:
            self._known = self._load()
        return self._known.pop(tree, None)

    def _rows_of(self, node: "Node") -> list[Any] | None:
        if node.rows is None:
            return (self._known or {}).get(node.oid)
        return [(kind, tuple(row)) for kind, of in node.rows.items() for row in of.values()]

    def _load(self) -> dict[bytes, list[Any]]:
        try:
            raw = self._path.read_bytes()
            if zlib.crc32(raw[4:]) != int.from_bytes(raw[:4]):
                return {}
            found: dict[bytes, list[Any]] = marshal.loads(raw[4:])
        except (OSError, ValueError, EOFError, TypeError):
            return {}
        return found

    def learn(self, documents: int) -> None:
        """Remember that this many documents had to be read, or were written at once."""
        self._learnt += documents

    def keep(self, picture: "Picture") -> None:
        """Write the file anew from what a picture knows of its rows, if that is worth it."""
        if self.only_looking or self._learnt < WORTH_WRITING or picture.layout.depth != 2:
            return
        self._learnt = 0
        if self._known is None:
            self._known = self._load()
        found = {
            node.oid: rows
            for node, folders in picture.nodes()
            if len(folders) == picture.layout.depth and not node.damaged
            if (rows := self._rows_of(node)) is not None
        }
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            raw = marshal.dumps(found)
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside.write_bytes(zlib.crc32(raw).to_bytes(4) + raw)
            aside.replace(self._path)
        except (OSError, ValueError):
            aside.unlink(missing_ok=True)
