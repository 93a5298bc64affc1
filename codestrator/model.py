"""The bases of what we keep (documents: unknown fields carried) and of what callers give (params: refused).

Both are msgspec structs: `git codestrator status` must answer before a heavier library has even been imported.
"""

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

RuleName = Literal["scalar", "group", "set", "log", "map", "max", "immutable"]


class Rule(NamedTuple):
    """How a field merges when both sides changed it (README, "How histories merge")."""

    name: RuleName
    group: str = ""


def _rule(name: RuleName, group: str = "") -> Meta:
    return Meta(extra={"merge": Rule(name, group)})


SCALAR = _rule("scalar")
SET = _rule("set")
LOG = _rule("log")
MAP = _rule("map")
MAX = _rule("max")
IMMUTABLE = _rule("immutable")


# More seconds than any time counts; a document from elsewhere with more would stop whoever adds them to a date.
SECONDS = Meta(ge=0, le=10**8)


def group(name: str) -> Meta:
    """Fields of one group are taken together, from one side."""
    return _rule("group", name)


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value inside a document."""

    def but(self, **changes: Any) -> Self:
        return msgspec.structs.replace(self, **changes)


class Document(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One JSON record. The store fills `schema` to `updated_at` when it publishes; nobody else sets them.

    `ROW` names the attributes kept in memory of every document, read or not. `residue` holds the fields of the stored
    JSON that this program does not know; they are written back unchanged.
    """

    KIND: ClassVar[str] = ""
    REF: ClassVar[Literal["state", "locks"]] = "state"
    FOLDERS: ClassVar[tuple[str, ...]] = ()  # of the lock book only: where documents of this kind lie, "" is its root
    ROW: ClassVar[tuple[str, ...]] = ()
    KEEP: ClassVar[tuple[str, ...]] = ()  # what an undo leaves as it is: fences, claims, versions, numbering
    LEAD: ClassVar[str] = ""  # the counter that decides, before `rev`, whose work is taken
    WHOLE: ClassVar[str] = ""  # the same for a kind of which one side is taken whole, never parts of both
    TELLS: ClassVar[str] = ""  # names what it tells of, if it can be told anew from that: the later made counts

    id: Annotated[str, IMMUTABLE]
    schema: Annotated[int, MAX] = 0
    rev: Annotated[int, MAX] = 0
    writer: Annotated[str, SCALAR] = ""
    created_at: Annotated[str, IMMUTABLE] = ""
    updated_at: Annotated[str, MAX] = ""
    residue: dict[str, Any] = {}

    def but(self, **changes: Any) -> Self:
        return msgspec.structs.replace(self, **changes)


STORAGE_ONLY = ("schema", "rev", "writer", "residue", "token_hash")


@cache
def rules(kind: type[Struct]) -> dict[str, Rule]:
    """The merge rule of each field of a document or part; `scalar` where none is declared."""
    return {
        name: next(
            (meta.extra["merge"] for meta in _metas(hint) if meta.extra and "merge" in meta.extra), Rule("scalar")
        )
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if get_origin(hint) is not ClassVar and name != "residue"
    }


def _metas(hint: Any) -> tuple[Meta, ...]:
    if get_origin(hint) is Annotated:
        return tuple(meta for meta in get_args(hint)[1:] if isinstance(meta, Meta))
    return ()


def shown(document: Struct) -> dict[str, Any]:
    """A document as callers see it: no nulls, nothing that is kept for storage only."""
    found: dict[str, Any] = msgspec.to_builtins(document)
    for name in STORAGE_ONLY:
        found.pop(name, None)
    return {name: value for name, value in found.items() if value is not None and value != ""}


class Presented(dict[str, Any]):
    """A result's part that is JSON values already, shared by all answers that hold it: never changed, only encoded."""

    size = 0  # bytes of its JSON
