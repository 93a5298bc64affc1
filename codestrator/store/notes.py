"""Lines of JSON as git notes on the user's commits: our own tree and compare-and-swap, written in groups.

`git notes add` by two processes loses notes, so the tree is written here; git reads it, and may write to it as well.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from codestrator.errors import Busy, CodestratorError
from codestrator.ports import Contention, Move
from codestrator.store.documents import canonical
from codestrator.store.objects import BLOB, TREE, Entry, Node
from codestrator.store.refs import is_contention

if TYPE_CHECKING:
    from codestrator.store.store import Store

NOTES = "refs/notes/codestrator"
REST_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
RETRY_SECONDS = 0.01
UPTO = "Upto"


class NoteBook:
    """Implements `ports.Notes`. Adding the same line to the same commit twice is adding it once."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._waiting: dict[str, dict[bytes, None]] = {}
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def add(self, commit: str, line: Mapping[str, Any]) -> None:
        """Have a line written within a second."""
        with self._guard:
            self._waiting.setdefault(commit, {})[canonical(line)] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_later, name="codestrator-notes", daemon=True)
                self._thread.start()

    def _write_later(self) -> None:
        self._over.wait(REST_SECONDS)
        with self._guard:
            self._thread = None
        try:
            self.flush()
        except CodestratorError:
            return  # the lines still wait; the next flush reports what is wrong

    def flush(self) -> None:
        """Write what waits; `Busy` if other writers are in the way for too long."""
        with self._writing:
            with self._guard:
                waiting, self._waiting = self._waiting, {}
            try:
                if waiting:
                    self._write(waiting, None)
            except CodestratorError:
                with self._guard:
                    for commit, lines in waiting.items():
                        self._waiting.setdefault(commit, {}).update(lines)
                raise

    def complete(self, lines: Iterable[tuple[str, Mapping[str, Any]]], upto: str) -> None:
        """Write those of the lines that are missing, and that notes are whole up to that commit of the state."""
        groups: dict[str, dict[bytes, None]] = {}
        for commit, line in lines:
            groups.setdefault(commit, {})[canonical(line)] = None
        with self._writing:
            self._write(groups, upto)

    def upto(self) -> str | None:
        """The commit of the state up to which no line is missing."""
        tip = self._store.refs.read(NOTES)
        return self._upto(tip) if tip else None

    def _upto(self, tip: str) -> str | None:
        message = self._store.objects.commit(tip).message
        return next((line[6:].strip() for line in message.splitlines() if line.startswith(f"{UPTO}: ")), None)

    def close(self) -> None:
        self._over.set()
        self.flush()

    def _write(self, groups: Mapping[str, Mapping[bytes, None]], upto: str | None) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._store.gate() as held:
                    try:
                        self._swap(groups, upto)
                        return
                    except Contention:
                        if held:
                            self._store.refs.break_stale(NOTES)
            except OSError as error:
                if not is_contention(error):
                    raise
            if time.monotonic() > give_up:
                raise Busy(
                    f"'{NOTES}' was moved by others for {PATIENCE_SECONDS:g} s, expected to write notes",
                    hint="Call the same again in a few seconds.",
                    waited_seconds=PATIENCE_SECONDS,
                )
            time.sleep(RETRY_SECONDS)

    def _swap(self, groups: Mapping[str, Mapping[bytes, None]], upto: str | None) -> None:
        store, tip = self._store, self._store.refs.read(NOTES)
        root = store.objects.node(store.objects.commit(tip).tree_id.raw) if tip else None
        new, changed = root, 0
        for commit, lines in groups.items():
            written = self._with_lines(new, commit, lines)
            changed += written is not new
            new = written
        known = self._upto(tip) if tip else None
        if new is root and upto in (None, known):
            return
        counter = store.objects.commit(tip).commit_time + 1 if tip else 1
        mark = f"{UPTO}: {upto or known}\n" if upto or known else ""
        message = f"notes on {changed} commits\n\n{mark}Machine: {store.machine}\n"
        root = new or store.objects.write_tree({})
        store.refs.move([Move(NOTES, tip, store.commit(root, [tip] if tip else [], counter, message))])

    def _with_lines(self, root: Node | None, commit: str, lines: Mapping[bytes, None]) -> Node | None:
        """The tree with the lines added to a commit's note, wherever git has put that note."""
        entries = dict(self._store.objects.entries(root, NOTES)) if root else {}
        return self._put(root, entries, commit, lines, 0)

    def _put(
        self, node: Node | None, entries: dict[bytes, Entry], name: str, lines: Mapping[bytes, None], depth: int
    ) -> Node | None:
        objects = self._store.objects
        whole, folder = name.encode(), name[:2].encode()
        if whole in entries or (depth and folder not in entries):
            old = objects.raw(entries[whole].oid) if whole in entries else b""
            have = old.splitlines()
            fresh = [line for line in lines if line not in have]
            if not fresh:
                return node
            content = b"".join(line + b"\n" for line in [*have, *fresh])
            entries[whole] = Entry(BLOB, objects.write_blob(content))
            return objects.write_tree(entries)
        below = objects.node(entries[folder].oid) if folder in entries else None
        inner = dict(objects.entries(below, NOTES)) if below else {}
        written = self._put(below, inner, name[2:], lines, depth + 1)
        if written is below or written is None:
            return node
        entries[folder] = Entry(TREE, written.oid)
        return objects.write_tree(entries)
