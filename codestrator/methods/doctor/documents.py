"""What lies in the state and the lock book: every document can be read, and speaks of documents that are there."""

import re
import shlex
from typing import Any

import msgspec

from codestrator import ids, keyshapes
from codestrator.errors import SchemaNewer, UnreadableState
from codestrator.methods.doctor.look import Found, Item, Look, error, mendable, more, ok, some, warning
from codestrator.methods.recording import note_of
from codestrator.records import KINDS, Checkpoint
from codestrator.store.documents import OF_DOCUMENTS, Damage, canonical
from codestrator.text import counted

NOTES = "refs/notes/codestrator"
# What an undo may leave behind, or what is kept for as long as it is told: they may speak of what is gone.
MAY_DANGLE = {"intent": (), "checkpoint": ("session_id",), "rescue": ("worktree_id",), "lock": (), "waiter": ()}
POINTERS = re.compile(r".*_ids?|depends_on|created_by")


def documents(look: Look) -> Found:
    """Every document can be read; one that cannot is left, with the command that shows its last good version."""
    broken = [one for one in look.damaged if isinstance(one, UnreadableState)]
    for one in broken[: look.named]:
        yield _damaged(look, one)
    if len(broken) > look.named:
        yield more("error", f"{len(broken) - look.named} more documents cannot be read", "documents")
    if not broken:
        counts = [sum(1 for _ in look.sound.documents(ref)) for ref in OF_DOCUMENTS]
        yield ok(f"{counts[0]} documents in the state, {counts[1]} in the lock book")


def schema(look: Look) -> Found:
    """Nothing was written by a newer program."""
    newer = [one for ref in OF_DOCUMENTS if isinstance(one := look.sound.broken(ref), SchemaNewer)]
    for one in newer:
        yield error(one.message, "nothing can be read until a newer codestrator is installed", _show(one, "meta.json"))
    if newer or not look.readable:
        return
    newer = [one for one in look.damaged if isinstance(one, SchemaNewer)]
    for one in newer[: look.named]:
        path = look.sound.path(one.details["ref"], _name(one)[1])
        yield error(one.message, "it cannot be read until a newer codestrator is installed", _show(one, path))
    if not newer:
        yield ok("no document is of a newer version")


def _show(damage: Damage, path: str) -> str:
    return _shown(damage.details["ref"], path)


def _name(damage: Damage) -> tuple[str, str]:
    """Kind and id of a damaged document; an empty kind for one that is not known."""
    kind, slash, rest = str(damage.details["document"]).partition("/")
    return (kind, rest) if slash and (kind in KINDS or kind == "tree") else ("", damage.details["document"])


def _damaged(look: Look, damage: Damage) -> Item:
    ref, (kind, document_id) = damage.details["ref"], _name(damage)
    if kind == "tree":
        return error(damage.message, "the documents in it cannot be read", f"git log --oneline {ref}")
    path = look.sound.path(ref, document_id)
    good = look.sound.last_good(ref, kind, document_id) if kind else None
    if good:
        call = f"git show {shlex.quote(f'{good}:{path}')}"
        return error(
            f"{damage.message}; its last good version is of '{good[:12]}'", "it takes no part in anything", call
        )
    call = f"git log --oneline {ref} -- {shlex.quote(path)}"
    return error(f"{damage.message}; no good version of it is known", "it takes no part in anything", call)


def _shown(ref: str, path: str) -> str:
    return f"git show {shlex.quote(f'{ref}:{path}')}"


def notes(look: Look) -> Found:
    """The notes can be read, every line of ours is JSON, and none that a checkpoint owes is missing."""
    try:
        found = look.sound.notes()
    except UnreadableState as damage:
        yield error(
            damage.message, "notes cannot be shown or written; the state has all of them", f"git log -2 {NOTES}"
        )
        return
    broken = [commit for commit, lines in found.items() if not all(_is_line(one) for one in lines)]
    for commit in broken[: look.named]:
        call = f"git notes --ref=codestrator show {commit}"
        yield warning(
            f"the note of '{commit}' has a line that begins like ours and is no JSON", "it is passed over", call
        )
    owed = [line for line in map(note_of, look.tx.all(Checkpoint)) if canonical(line[1]) not in found.get(line[0], ())]
    missing = [line for line in owed if look.sound.readable(line[0])]
    if missing:
        yield mendable(
            "warning",
            f"the notes lack {counted(len(missing), 'checkpoint')}, first on '{missing[0][0][:12]}'",
            "git log --notes=codestrator does not show them; the state has them",
            lambda: _complete(look, missing),
        )
    elif not broken:
        yield ok(f"notes on {counted(len(found), 'commit')}")


def _is_line(line: bytes) -> bool:
    """Whether it is a line of ours, or one that somebody wrote by hand."""
    if not line.startswith(b"{"):
        return True
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def _complete(look: Look, missing: list[Any]) -> bool:
    look.world.notes.complete(missing, look.flow.read().base.state_commit)
    found = look.sound.notes()
    return all(canonical(line) in found.get(commit, ()) for commit, line in missing)


def references(look: Look) -> Found:
    """What a document names is there."""
    if any(_name(one)[0] == "tree" for one in look.damaged):
        said = "a folder of documents is missing, so that nobody knows what was in it"
        yield warning(said, "what documents name was not looked at", "git codestrator doctor --checks documents")
        return
    known = {one.id for ref in OF_DOCUMENTS for one in look.sound.documents(ref)}
    known |= {_name(one)[1] for one in look.damaged}
    found = 0
    for one in look.sound.documents(OF_DOCUMENTS[0]):
        for field, gone in _dangling(one.kind, one.raw, known):
            found += 1
            if found <= look.named:
                yield warning(
                    f"'{one.id}' names '{gone}' as its {field}, which is not there",
                    "what depends on it is left out",
                    _shown(OF_DOCUMENTS[0], one.path),
                )
    if found > look.named:
        yield more("warning", f"{found - look.named} more name what is not there", "references")
    if not found:
        yield ok(f"{counted(len(known), 'document')}, naming only what is there")


def _dangling(kind: str | None, raw: bytes, known: set[str]) -> list[tuple[str, str]]:
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []  # `documents` says so
    if kind is None or not isinstance(document, dict):
        return []
    found = []
    for field, value in document.items():
        if POINTERS.fullmatch(field) and (kind not in MAY_DANGLE or field in MAY_DANGLE[kind]):
            named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            whole = (one for one in named if isinstance(one, str) and ids.is_whole(one))
            found += [(field, one) for one in whole if one not in known]
    return found


def secrets(look: Look) -> Found:
    """No text of the state looks like a key; the key itself is never shown."""
    found = 0
    for one in look.sound.documents(OF_DOCUMENTS[0]):
        names = keyshapes.seen_in(one.raw.decode("utf-8", "replace"))
        if names:
            found += 1
        if names and found <= look.named:
            yield warning(
                f"'{one.id}' holds what looks like {some(names)}",
                "everybody who gets the state gets it, and its history keeps it: have it withdrawn where it was issued",
                f"git log --oneline {OF_DOCUMENTS[0]} -- {shlex.quote(one.path)}",
            )
    if found > look.named:
        yield warning(
            f"{found - look.named} more documents hold what looks like a key",
            "",
            "git codestrator doctor --checks secrets",
        )
    if not found:
        yield ok("no text looks like a key")
