"""One document to canonical JSON and back, unknown fields carried; and where each lies in the tree of its ref."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from codestrator import SCHEMA, ids
from codestrator.decoding import decoder
from codestrator.errors import SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.store.sha import sha1

STATE = "refs/codestrator/state"
LOCKS = "refs/codestrator/locks"
OF_DOCUMENTS = (STATE, LOCKS)
REF_OF = {"state": STATE, "locks": LOCKS}
META = "meta"
PLACES = 4096  # that are known without being worked out again: a call asks for those of a session many times
DOCUMENT_BYTES = 4 * 1024 * 1024
BROKEN = (msgspec.MsgspecError, UnicodeError, RecursionError)

D = TypeVar("D", bound=Document)
Folders = tuple[str, ...]
Damage = UnreadableState | SchemaNewer

_sorted = msgspec.json.Encoder(order="sorted")
_BYTE = re.compile(r"\(byte (\d+)\)")


class Place(NamedTuple):
    """A document's position: the folders it lies in and its file's name without `.json`."""

    folders: Folders
    stem: str


class Layout:
    """Which file of a ref's tree a document is, and back; this is the only place that knows.

    State: `<h>/<h>/<id>.json`, h and h the first two hex digits of sha1(id), `meta.json` at the root. Lock book:
    `<folder>/<name>.json`. An id with a slash is a path there as it stands, one that tells its own kind lies in the
    first folder of that kind, any other at the root.
    """

    def __init__(self, ref: str, kinds: Mapping[str, type[Document]]) -> None:
        self.ref = ref
        self.depth = 2 if ref == STATE else 1
        self._kinds = {name: kind for name, kind in kinds.items() if REF_OF[kind.REF] == ref}
        self._of_folder = {folder: name for name, kind in self._kinds.items() for folder in kind.FOLDERS}
        self.place = lru_cache(PLACES)(self._place)

    def _place(self, document_id: str) -> Place:
        if self.ref == STATE:
            if document_id == META:
                return Place((), META)
            digits = sha1(document_id.encode("utf-8", "surrogatepass")).hex()
            return Place((digits[0], digits[1]), document_id)
        folder, _, stem = document_id.rpartition("/")
        if folder:
            return Place((folder,), stem)
        kind = self._kinds.get(ids.kind_of(document_id) or "")
        return Place((kind.FOLDERS[0],) if kind and kind.FOLDERS[0] else (), document_id)

    def name(self, place: Place) -> tuple[str | None, str]:
        """The kind (None: unknown) and the id of what lies there."""
        if self.ref == STATE:
            kind = ids.kind_of(place.stem)
            return (kind if kind in self._kinds else None), place.stem
        folder = "/".join(place.folders)
        kind = self._of_folder.get(folder)
        if not folder or (kind and folder == self._kinds[kind].FOLDERS[0] and ids.kind_of(place.stem) == kind):
            return kind, place.stem
        return kind, f"{folder}/{place.stem}"

    def kind(self, name: str) -> type[Document]:
        return self._kinds[name]


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys on one line: the same value always gives the same bytes."""
    return _sorted.encode(value)


def encode(document: Document) -> bytes:
    """The stored form, with the fields that came from a newer program put back."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    plain.pop("residue", None)
    _graft(plain, document.residue, document)
    return canonical(plain)


def decode(kind: type[D], document_id: str, raw: bytes, ref: str) -> D:
    """Read and validate a document; `UnreadableState` or `SchemaNewer` names it."""
    document = check(kind, document_id, raw, ref)
    try:
        whole = msgspec.json.decode(raw)  # stricter than `check`, which skips what it does not know unread
    except BROKEN as error:
        raise _unreadable(kind, document_id, raw, ref, error) from None
    residue = _residue(whole, document)
    return document.but(residue=residue) if residue or document.residue else document


def check(kind: type[D], document_id: str, raw: bytes, ref: str) -> D:
    """Validate alone: as `decode`, without what this program does not know."""
    if len(raw) > DOCUMENT_BYTES:
        raise damage(ref, kind.KIND, document_id, f"has {len(raw)} bytes, at most {DOCUMENT_BYTES} are read")
    try:
        document: D = decoder(kind).decode(raw)
    except BROKEN as error:
        raise _unreadable(kind, document_id, raw, ref, error) from None
    if document.schema > SCHEMA:
        raise newer(ref, f"{kind.KIND}/{document_id}", document.schema)
    if document.id != document_id:
        raise damage(ref, kind.KIND, document_id, f"says that its id is '{document.id[:80]}'")
    return document


def _unreadable(kind: type[Document], document_id: str, raw: bytes, ref: str, error: Exception) -> Damage:
    try:
        whole = msgspec.json.decode(raw)
    except BROKEN as broken:
        at = _BYTE.search(str(broken))
        where = f" at byte {at[1]}" if at else f": {str(broken)[:200]}"
        return damage(ref, kind.KIND, document_id, f"is not valid JSON{where}")
    schema = whole.get("schema") if isinstance(whole, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        return newer(ref, f"{kind.KIND}/{document_id}", schema)
    return damage(ref, kind.KIND, document_id, f"does not fit its kind: {str(error)[:200]}")


def damage(ref: str, kind: str | None, document_id: str, reason: str) -> UnreadableState:
    name = f"{kind}/{document_id}" if kind else document_id
    return UnreadableState(
        f"'{name}' {reason}",
        hint="Run doctor.check to see what is damaged and what can be repaired.",
        ref=ref,
        document=name,
        reason=reason,
    )


def newer(ref: str, name: str, found: int) -> SchemaNewer:
    return SchemaNewer(
        f"'{name}' has schema {found}, this program knows up to {SCHEMA}",
        hint="Install a newer codestrator here.",
        ref=ref,
        document=name,
        found=found,
        known=SCHEMA,
    )


def _residue(raw: dict[str, Any], known: Struct) -> dict[str, Any]:
    """What the JSON has and the document has not, as a nested mapping of the same shape; lists are not looked into."""
    fields = {
        encoded: name for encoded, name in zip(known.__struct_encode_fields__, known.__struct_fields__, strict=True)
    }
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in fields or (key == "residue" and isinstance(known, Document)):
            found[key] = value
        elif isinstance(value, dict) and (below := _residue_of_value(value, getattr(known, fields[key]))):
            found[key] = below
    return found


def _residue_of_value(raw: dict[str, Any], known: object) -> dict[str, Any]:
    if isinstance(known, Struct):
        return _residue(raw, known)
    if isinstance(known, dict):
        below = {
            key: _residue(value, known[key])
            for key, value in raw.items()
            if isinstance(value, dict) and isinstance(known.get(key), Struct)
        }
        return {key: value for key, value in below.items() if value}
    return {}


def _graft(plain: dict[str, Any], residue: Mapping[str, Any], known: object) -> None:
    """Put the residue back where its owner still exists."""
    if isinstance(known, Struct):
        names = dict(zip(known.__struct_encode_fields__, known.__struct_fields__, strict=True))
        for key, value in residue.items():
            if key not in names or (key == "residue" and isinstance(known, Document)):
                plain.setdefault(key, value)
            elif isinstance(inner := getattr(known, names[key]), Struct | dict) and isinstance(value, dict):
                _graft(plain.setdefault(key, {}), value, inner)
    elif isinstance(known, dict):
        for key, value in residue.items():
            if isinstance(inner := known.get(key), Struct):
                _graft(plain[key], value, inner)
