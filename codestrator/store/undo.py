"""Undoes one change of a document, field by field; pure, by the rules of its kind."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from codestrator.errors import Conflict
from codestrator.model import Document, Rule
from codestrator.store.merge import ABSENT, Unit, at_version, units

D = TypeVar("D", bound=Document)


def undo_document(now: D | None, after: D | None, before: D | None) -> D | None:
    """`now` without the change from `before` to `after`; None stands for a document that is not there.

    What was changed elsewhere in the document stays, and so do the kind's `KEEP` fields and all counters. `Conflict`
    names the fields in which a later change stands in the way.
    """
    if now is None or after is None or before is None:
        if now is after or (now is not None and after is not None and _alike(now, after)):
            return before
        raise _in_the_way(now or after or before, ["presence"])
    undone: dict[str, Any] = {}
    blocked: list[str] = []
    for rule, names in _undoable(type(now)):
        undone |= _undone_unit(rule, names, (now, after, before), blocked)
    undone["residue"] = _undone_map(now.residue, after.residue, before.residue, "", blocked)
    if blocked:
        raise _in_the_way(now, sorted(blocked))
    return now.but(**undone)


@cache
def _undoable(kind: type[Document]) -> tuple[Unit, ...]:
    """The units of a kind without what an undo leaves as it is."""
    kept = (Unit(rule, tuple(name for name in names if name not in kind.KEEP)) for rule, names in units(kind))
    return tuple(unit for unit in kept if unit.names and unit.rule.name != "max")


def _alike(one: Document, other: Document) -> bool:
    names = [name for unit in _undoable(type(one)) for name in unit.names]
    return (one.residue, _values(one, names)) == (other.residue, _values(other, names))


def _values(document: Document, names: Sequence[str]) -> list[Any]:
    """Fields to compare by: a part's version tells nothing, since undoing raises it."""
    values = (getattr(document, name) for name in names)
    return [value.but(version=0) if hasattr(value, "version") else value for value in values]


def _undone_unit(
    rule: Rule, names: Sequence[str], of: tuple[Document, Document, Document], blocked: list[str]
) -> dict[str, Any]:
    """The fields of a unit as they were before; `blocked` is told those that were changed again."""
    now, after, before = (_values(one, names) for one in of)
    if after == before:
        return {}
    if rule.name == "map":
        return {names[0]: _undone_map(now[0], after[0], before[0], f"{names[0]}.", blocked)}
    if rule.name in ("set", "log") and now != after:
        kept = [one for one in now[0] if one in before[0] or one not in after[0]]
        return {names[0]: (*kept, *(one for one in before[0] if one not in after[0] and one not in kept))}
    if now == after:
        pairs = {name: (getattr(of[2], name), getattr(of[0], name)) for name in names}
        return {name: at_version(old, (new,), 0 if old == new else 1) for name, (old, new) in pairs.items()}
    if now != before:
        blocked += [name for name, one, other in zip(names, now, after, strict=True) if one != other]
    return {}


def _undone_map(
    now: Mapping[str, Any], after: Mapping[str, Any], before: Mapping[str, Any], where: str, blocked: list[str]
) -> dict[str, Any]:
    undone = dict(now)
    for key in after.keys() | before.keys():
        current, new, old = (side.get(key, ABSENT) for side in (now, after, before))
        if new == old or current == old:
            continue
        if current != new:
            blocked.append(f"{where}{key}")
        elif old is ABSENT:
            del undone[key]
        else:
            undone[key] = old
    return undone


def _in_the_way(document: Document | None, fields: list[str]) -> Conflict:
    name, what = document.id if document else "", ", ".join(fields)
    return Conflict(
        f"'{name}' was changed again in {what}, expected it as the operation to undo left it",
        hint="See with journal.list which later operation changed it.",
        document=name,
        fields=fields,
    )
