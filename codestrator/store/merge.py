"""Merges two histories of a document field by field; pure, by the rules of its kind.

Both sides are first put in order (greater `rev`, then `writer`), so that a merge cannot tell whose side is called ours.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from codestrator.errors import Diverged
from codestrator.ids import is_whole
from codestrator.model import Document, Rule, rules
from codestrator.store.documents import encode

D = TypeVar("D", bound=Document)

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()
STORAGE = ("schema", "rev", "writer", "created_at", "updated_at")
NUMBERED = {"steps": "step_count", "checklist": "checklist_count"}  # maps of numbered parts, and what counts them
_bytes: Callable[[Any], bytes] = msgspec.json.Encoder(order="sorted").encode


class Unit(NamedTuple):
    """Fields that are taken together: one, or all of a group."""

    rule: Rule
    names: tuple[str, ...]


class Pair(NamedTuple):
    """Two values of one thing: of the side that wins where both changed it, and of the other."""

    late: Any
    early: Any


@cache
def units(kind: type[Document]) -> tuple[Unit, ...]:
    """The fields of a kind, those of a group together, without those that every document has."""
    found: dict[str, Unit] = {}
    for name, rule in rules(kind).items():
        if name not in STORAGE and name != "id":
            key = f"group {rule.group}" if rule.name == "group" else name
            found[key] = Unit(rule, (*(found[key].names if key in found else ()), name))
    return tuple(found.values())


def merge_documents(base: Mapping[str, D], ours: Mapping[str, D], theirs: Mapping[str, D]) -> dict[str, D]:
    """Merge two trees of documents, by id. What one side deleted and the other left alone is gone.

    What one side deleted and the other edited is kept. `Diverged` lists every document that no rule can merge.
    """
    merged: dict[str, D] = {}
    diverged: list[dict[str, Any]] = []
    for name in sorted(ours.keys() | theirs.keys()):
        old, mine, other = base.get(name), ours.get(name), theirs.get(name)
        if mine is None or other is None:
            kept = mine or other
            if kept is not None and kept != old:
                merged[name] = kept
            continue
        try:
            merged[name] = merge_document(old, mine, other)
        except Diverged as error:
            diverged += error.details["documents"]
    if diverged:
        raise _diverged(diverged)
    return merged


def merge_document(base: D | None, ours: D, theirs: D) -> D:
    """Merge two histories of a document that part at `base` (None: they have nothing in common).

    Merging with itself, or with its own ancestor, gives the document back; `writer` follows `rev`. `Diverged` names
    the immutable fields that differ.
    """
    if ours == theirs:
        return ours
    late, early = sorted((ours, theirs), key=lambda one: (one.rev, one.writer, encode(one)), reverse=True)
    if type(late) is not type(early):
        raise _diverged([{"document": late.id, "fields": ["kind"]}])
    if (told := type(late).TELLS) and getattr(late, told) == getattr(early, told):
        grown = [name for name, rule in rules(type(late)).items() if rule.name == "max"]
        both = [one.but(**_greatest(late, early, grown)) for one in (late, early)]
        return max(both, key=lambda one: (one.created_at, encode(one)))
    # An id that is given, not drawn, is made by each machine on its own: the earlier making is the one that counts.
    free = () if is_whole(late.id) else ("created_at",)
    fixed = (name for name, rule in rules(type(late)).items() if rule.name == "immutable" and name not in free)
    if broken := [name for name in fixed if getattr(late, name) != getattr(early, name)]:
        raise _diverged([{"document": late.id, "fields": broken}])
    if base in (late, early):
        return early if base == late else late
    if counter := type(late).WHOLE:
        return early if getattr(early, counter) > getattr(late, counter) else late
    merged, moved = _merged_fields(base, late, early)
    merged |= _greatest(late, early, ("schema", "rev", "updated_at"))
    merged["created_at"] = min(late.created_at, early.created_at)
    below = Pair(_residue_moved(late.residue, moved), early.residue)
    return late.but(**merged, residue=_merged_plain(base.residue if base else {}, below))


def _greatest(late: Document, early: Document, names: Sequence[str]) -> dict[str, Any]:
    values = ((name, (getattr(late, name), getattr(early, name))) for name in names)
    return {name: max((one for one in pair if one is not None), default=None) for name, pair in values}


def _merged_fields(base: Document | None, late: Document, early: Document) -> tuple[dict[str, Any], dict[str, Any]]:
    """The merged value of every unit's fields; and per map, which numbers of the late side became which."""
    lead = _leading(base, late, early)
    merged: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for unit in units(type(late)):
        if unit.rule.name in ("group", "scalar"):
            led = lead is not None and unit.rule.name == "group"
            source = lead if led else _winner(base, Pair(late, early), unit.names)
            for name in unit.names:
                merged[name] = at_version(getattr(source, name), (getattr(late, name), getattr(early, name)))
            continue
        (name,) = unit.names
        old, pair = getattr(base, name, ABSENT), Pair(getattr(late, name), getattr(early, name))
        if unit.rule.name == "map" and name in NUMBERED:
            counter = NUMBERED[name]
            given = [getattr(late, counter), getattr(early, counter)]
            highest = max(*given, *map(int, (*pair.late, *pair.early)))
            old = {} if old is ABSENT else old
            pair = pair if lead is None else _led_parts(old, pair, getattr(lead, name))
            merged[name], moved[name] = _merged_parts(old, pair, highest, late.writer)
            merged[counter] = highest + len(moved[name]) if moved[name] else max(given)
        elif name not in NUMBERED.values():
            merged[name] = _merged_value(unit.rule, old, pair, late.writer)
    return merged, moved


def _winner(base: Document | None, pair: Pair, names: Sequence[str]) -> Document:
    """The side that alone changed these fields; the late one if both did."""
    of = [[getattr(one, name, ABSENT) for name in names] for one in (base, pair.late, pair.early)]
    winner: Document = pair.early if of[1] == of[0] else pair.late
    return winner


def _leading(base: Document | None, late: Document, early: Document) -> Document | None:
    """Whose groups and parts are taken, all together, in a kind that has a counter to decide it.

    What was written under a claim that was lost meanwhile decides nothing, and a finished case keeps the results that
    finished it.
    """
    counter = type(late).LEAD
    if not counter:
        return None
    lead, other = (early, late) if getattr(early, counter) > getattr(late, counter) else (late, early)
    led = [name for unit in units(type(late)) if unit.rule.name == "group" for name in unit.names] + [counter]

    def changed(side: Document) -> bool:
        if base is None or any(getattr(side, name) != getattr(base, name) for name in led):
            return True
        return any(
            getattr(side, name).get(key) != part
            for name in NUMBERED
            if hasattr(base, name)
            for key, part in getattr(base, name).items()
        )

    return other if changed(other) and not changed(lead) else lead


def _led_parts(base: Mapping[str, Any], pair: Pair, lead: Mapping[str, Any]) -> Pair:
    """Both sides with the parts that were there before as the leading side has them; new ones stay each side's own."""
    known = {key: lead[key] for key in base if key in lead}
    return Pair(*(known | {key: part for key, part in side.items() if key not in base} for side in pair))


def _merged_value(rule: Rule, base: Any, pair: Pair, writer: str) -> Any:
    if rule.name == "max":
        return max((one for one in pair if one is not None), default=None)
    if pair.late == pair.early or pair.early == base:
        return pair.late
    if pair.late == base:
        return pair.early
    if rule.name == "set":
        return _merged_set(() if base is ABSENT else base, pair)
    if rule.name == "log":
        return _merged_log(() if base is ABSENT else base, pair, writer)
    return _merged_map({} if base is ABSENT else base, pair)


def _merged_set(base: Sequence[Any], pair: Pair) -> tuple[Any, ...]:
    """What neither side removed, in its old order; then what either added, sorted, since their order means nothing."""
    kept = [one for one in base if one in pair.late and one in pair.early]
    return (*kept, *sorted(_added(base, pair), key=_bytes))


def _added(base: Sequence[Any], pair: Pair) -> list[Any]:
    late = [one for one in pair.late if one not in base]
    return late + [one for one in pair.early if one not in base and one not in late]


def _merged_log(base: Sequence[Any], pair: Pair, writer: str) -> tuple[Any, ...]:
    """All entries of both; by number if they have one, otherwise the old ones first."""
    if not all(hasattr(one, "n") for side in pair for one in side):
        return (
            *(one for one in base if one in pair.late or one in pair.early),
            *sorted(_added(base, pair), key=_bytes),
        )
    old, late, early = ({str(one.n): one for one in side} for side in (base, *pair))
    merged, _ = _merged_parts(old, Pair(late, early), max(map(int, (*late, *early)), default=0), writer)
    return tuple(merged[key] for key in sorted(merged, key=int))


def _merged_map(base: Mapping[str, Any], pair: Pair) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in base.keys() | pair.late.keys() | pair.early.keys():
        old, late, early = (side.get(key, ABSENT) for side in (base, *pair))
        found = early if late == old else late
        if found is not ABSENT:
            merged[key] = found
    return merged


def _merged_parts(
    base: Mapping[str, Any], pair: Pair, highest: int, writer: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge by number. One that both sides gave to a new part stays the early side's; the late one's part moves on.

    Returns the parts, and which number of the late side became which. `writer` is the late side's.
    """
    late, moved = dict(pair.late), {}
    both = (key for key in late if key not in base and key in pair.early and late[key] != pair.early[key])
    for key in sorted(both, key=int):
        highest += 1
        moved[key] = str(highest)
    for key, number in moved.items():
        part = late.pop(key)
        known = {"was": (int(key), writer), "n": int(number)}
        late[number] = part.but(**{name: value for name, value in known.items() if hasattr(part, name)})
    return _merged_map(base, Pair(late, pair.early)), moved


def _merged_plain(base: Mapping[str, Any], pair: Pair) -> dict[str, Any]:
    """Fields that this program does not know: by name, and within them by name again."""
    merged = _merged_map(base, pair)
    for key, late in pair.late.items():
        if isinstance(late, dict) and isinstance(early := pair.early.get(key), dict) and late != early:
            old = base.get(key)
            merged[key] = _merged_plain(old if isinstance(old, dict) else {}, Pair(late, early))
    return merged


def _residue_moved(residue: Mapping[str, Any], moved: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Unknown fields of parts follow them to their new numbers."""
    found = dict(residue)
    for name, numbers in moved.items():
        if isinstance(below := found.get(name), dict):
            found[name] = {numbers.get(key, key): value for key, value in below.items()}
    return found


def at_version(value: Any, seen: Sequence[Any], more: int = 0) -> Any:
    """A part that counts its versions, at the greatest that was given (plus `more`), as versions never go back."""
    if not hasattr(value, "version"):
        return value
    return value.but(version=max(one.version for one in (value, *seen) if one is not None) + more)


def _diverged(documents: list[dict[str, Any]]) -> Diverged:
    names = ", ".join(f"'{one['document']}' in {', '.join(one['fields'])}" for one in documents[:5])
    return Diverged(
        f"{len(documents)} documents cannot be merged: {names}; expected what never changes to be equal on both sides",
        hint="Show both sides to the user; journal.list tells who wrote them.",
        documents=documents,
    )
