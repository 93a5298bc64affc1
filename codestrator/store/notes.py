"""Lines of JSON as git notes on the user's commits: our own tree and compare-and-swap, written in groups.

`git notes add` by two processes loses notes, so the tree is written here; git reads it, and may write to it as well.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import pygit2

from codestrator.errors import Busy, CodestratorError, External, UnreadableState
from codestrator.ports import Contention, Move
from codestrator.store.documents import canonical
from codestrator.store.journal import trailers_of
from codestrator.store.objects import BLOB, MISSING, TREE, Entry, Node, Objects
from codestrator.store.refs import is_contention

if TYPE_CHECKING:
    from codestrator.store.store import Store

NOTES = "refs/notes/codestrator"
REST_SECONDS = 0.5
RETRY_SECONDS = 0.01
UPTO = "Upto"

Lines = dict[bytes, None]  # in order, each once


class NoteBook:
    """Implements `ports.Notes`. Adding the same line to the same commit twice is adding it once.

    Lines that wait when the process is killed are lost here; they repeat what the state says, `upto` tells from where
    on they may be missing, and `complete` adds them.
    """

    def __init__(self, store: "Store", *, patience_seconds: float = 10.0) -> None:
        self._store = store
        self._patience = patience_seconds
        self._waiting: dict[str, Lines] = {}
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
        with contextlib.suppress(CodestratorError):  # the lines still wait; the next flush says what is wrong
            self.flush()

    def flush(self) -> None:
        """Write what waits, and what another thread is writing now.

        What could not be written goes on waiting: `Busy` if other writers are in the way for too long, `External` if
        nothing can be written, `UnreadableState` if the notes that are there are damaged.
        """
        with self._writing:
            with self._guard:
                waiting, self._waiting = self._waiting, {}
            try:
                if waiting:
                    self._write(waiting, None)
            except BaseException:
                with self._guard:
                    for commit, lines in self._waiting.items():
                        waiting.setdefault(commit, {}).update(lines)
                    self._waiting = waiting
                raise

    def complete(self, lines: Iterable[tuple[str, Mapping[str, Any]]], upto: str) -> None:
        """Write those of the lines that are missing, and that notes are whole up to that commit of the state."""
        groups: dict[str, Lines] = {}
        for commit, line in lines:
            groups.setdefault(commit, {})[canonical(line)] = None
        with self._writing:
            self._write(groups, upto)

    def lines(self, commit: str) -> list[dict[str, Any]]:
        """Our lines on a commit, those that still wait left out, and what others wrote into the note."""
        objects, tip, name = self._store.objects, self._store.refs.read(NOTES), commit.encode()
        node = objects.node(self._commit(tip).tree_id.raw) if tip else None
        while node is not None:
            entries = objects.entries(node, NOTES)
            if name in entries:
                return _ours(_raw(objects, entries[name].oid, name))
            below, name = entries.get(name[:2]), name[2:]
            node = objects.node(below.oid) if below and below.mode == TREE else None
        return []

    def upto(self) -> str | None:
        """The commit of the state up to which no line is missing; None if that is not known."""
        tip = self._store.refs.read(NOTES)
        return self._mark(tip) if tip else None

    def _mark(self, tip: str) -> str | None:
        """What the tip itself says. `git notes` may drop lines that were written while it ran (it compares nothing).

        So above a commit of the user's nothing is known, and the next completion looks at everything.
        """
        return trailers_of(self._commit(tip).message).get(UPTO)

    def _commit(self, commit: str) -> pygit2.Commit:
        try:
            return self._store.objects.commit(commit)
        except MISSING as error:
            raise _damaged(f"commit/{commit}", error) from None

    def close(self) -> None:
        """Write what waits. What cannot be written now is written by the next start."""
        self._over.set()
        with contextlib.suppress(CodestratorError):
            self.flush()

    def _write(self, groups: Mapping[str, Lines], upto: str | None) -> None:
        give_up = time.monotonic() + self._patience
        while True:
            with self._store.gate() as held:
                try:
                    self._swap(groups, upto)
                    return
                except Contention:
                    if held:
                        self._store.refs.break_stale(NOTES)
                except (OSError, pygit2.GitError) as error:
                    if not is_contention(error):
                        raise self._cannot_write(error) from error
            if time.monotonic() > give_up:
                raise Busy(
                    f"'{NOTES}' was moved by others for {self._patience:g} s, expected to write notes",
                    hint="Call the same again in a few seconds.",
                    waited_seconds=self._patience,
                )
            time.sleep(RETRY_SECONDS)

    def _cannot_write(self, error: Exception) -> External:
        return External(
            f"notes cannot be written under '{self._store.common_dir}': {str(error)[:200]}",
            hint="Look at the free space and the permissions of the repository, then call the same again.",
            program="libgit2",
            stderr_tail=str(error)[-500:],
        )

    def _swap(self, groups: Mapping[str, Lines], upto: str | None) -> None:
        """Write onto the notes that are there now, if they lack anything; raises `Contention` if they moved."""
        store, tip = self._store, self._store.refs.read(NOTES)
        last = self._commit(tip) if tip else None
        root = store.objects.node(last.tree_id.raw) if last else None
        known = self._mark(tip) if tip else None
        new = with_lines(store.objects, root, {commit.encode(): lines for commit, lines in groups.items()}, 0)
        if new is root and upto in (None, known):
            return
        subject = f"notes on {len(groups)} commits" if new is not root else "notes are complete"
        mark = f"{UPTO}: {upto or known}\n" if upto or known else ""
        message = f"{subject}\n\n{mark}Machine: {store.machine}\n"
        counter = last.commit_time + 1 if last else 1
        tree = new or store.objects.write_tree({})
        store.refs.move([Move(NOTES, tip, store.commit(tree, [tip] if tip else [], counter, message))])


def with_lines(objects: Objects, node: Node | None, groups: Mapping[bytes, Lines], depth: int) -> Node | None:
    """The tree with the lines added to each commit's note, wherever git has put it; the same tree if it has them.

    A note's path is the commit's id, cut after any number of pairs of digits: git reads every cut, and cuts as
    deep as the number of notes asks for when it writes. New ones are cut once, or where there is a folder.
    """
    entries = dict(objects.entries(node, NOTES)) if node else {}
    below: dict[bytes, dict[bytes, Lines]] = {}
    changed = False
    for name, lines in groups.items():
        folder = entries.get(name[:2])
        enters = folder.mode == TREE if folder else depth == 0
        if enters and name not in entries:
            below.setdefault(name[:2], {})[name[2:]] = lines
        else:
            changed |= _add_to_note(objects, entries, name, lines)
    for name, inner in below.items():
        old = objects.node(entries[name].oid) if name in entries else None
        new = with_lines(objects, old, inner, depth + 1)
        if new is not None and new is not old:
            entries[name] = Entry(TREE, new.oid)
            changed = True
    return objects.write_tree(entries) if changed else node


def _add_to_note(objects: Objects, entries: dict[bytes, Entry], name: bytes, lines: Lines) -> bool:
    """Append what the note lacks, and leave alone what the user wrote into it; whether it lacked anything."""
    old = _raw(objects, entries[name].oid, name) if name in entries else b""
    have = set(old.split(b"\n"))
    fresh = [line for line in lines if line not in have]
    if fresh:
        start = old if not old or old.endswith(b"\n") else old + b"\n"
        entries[name] = Entry(BLOB, objects.write_blob(start + b"\n".join(fresh) + b"\n"))
    return bool(fresh)


def _raw(objects: Objects, oid: bytes, name: bytes) -> bytes:
    try:
        return objects.raw(oid)
    except MISSING as error:
        raise _damaged(f"note/{name.decode('ascii', 'replace')}", error) from None


def _ours(note: bytes) -> list[dict[str, Any]]:
    found = []
    for line in note.split(b"\n"):
        with contextlib.suppress(ValueError):  # a word of the user's
            said = msgspec.json.decode(line)
            found += [said] if isinstance(said, dict) else []
    return found


def _damaged(name: str, error: Exception) -> UnreadableState:
    return UnreadableState(
        f"'{name}' of '{NOTES}' is missing or damaged, expected git notes",
        hint="Run doctor.check to see what is damaged and what can be repaired.",
        ref=NOTES,
        document=name,
        reason=str(error)[:200] or "missing object",
    )
