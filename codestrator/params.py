"""What callers give: the types of parameters, how they are cleaned and bounded, and how each is described.

A method's parameters are one `Params` struct; help, schema, options and one-line signature are read off its fields.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta, Struct

from codestrator import ids, text
from codestrator.errors import InvalidParams

LIST_ENTRIES = 1000


def _text(*, line: bool = False, size: int = 0) -> Meta:
    return Meta(extra={"text": "title" if line else "text", "size": size})


def _id(*prefixes: str, part: bool = False) -> Meta:
    return Meta(extra={"id": prefixes, "part": part})


Oid = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$", description="a whole commit id")]
Title = Annotated[str, _text(line=True)]
Short = Annotated[str, _text(size=1024)]
Line = Annotated[str, _text(line=True, size=1024)]
Summary = Annotated[str, _text(size=text.SUMMARY_BYTES)]
Message = Annotated[str, _text(size=text.MESSAGE_BYTES)]
Path = Annotated[str, Meta(extra={"path": True})]
Json = Annotated[dict[str, Any], Meta(extra={"json": True})]

SessionId = Annotated[str, _id("ses")]
WorktreeId = Annotated[str, _id("wt")]
ThreadId = Annotated[str, _id("thr")]
TaskId = Annotated[str, _id(*ids.PREFIXES_OF["task"])]
CaseId = Annotated[str, _id("case")]
StepId = Annotated[str, _id("case", part=True)]
RefId = Annotated[str, _id("thr", part=True)]
NodeId = Annotated[str, _id("node")]
MessageId = Annotated[str, _id("msg")]
LockId = Annotated[str, _id("lock")]
SnapshotId = Annotated[str, _id("snap")]
RequestId = Annotated[str, _id("mrq")]
ReviewId = Annotated[str, _id("rev")]
LandId = Annotated[str, _id("land")]
CheckpointId = Annotated[str, _id("cp")]
OpId = Annotated[str, _id("op")]
AnyId = Annotated[str, _id(*ids.KIND_OF_PREFIX)]


class Params(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all parameters; a field without default is required.

    `ELSEWHERE` names what callers try to set here, and the method that does it.
    """

    ELSEWHERE: ClassVar[Mapping[str, str]] = {}

    def but(self, **changes: Any) -> Self:
        return msgspec.structs.replace(self, **changes)


class Paged(Params, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200
    cursor: Annotated[str | None, Meta(description="next_cursor of the page before")] = None


P = TypeVar("P", bound=Params)


class Shape(NamedTuple):
    """One parameter as seen from outside."""

    name: str
    required: bool
    default: Any
    form: str  # text | title | path | id | json | int | number | bool | enum | list | object
    description: str = ""
    prefixes: tuple[str, ...] = ()
    part: bool = False
    size: int = 0
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    means: dict[str, str] = {}  # other words for a choice
    blank: bool = False  # an empty text says something
    item: "Shape | None" = None
    fields: tuple["Shape", ...] = ()

    @property
    def type_text(self) -> str:
        """The type in the notation of the reference."""
        if self.form == "id":
            return f"id({self._id_text()})"
        if self.form == "enum":
            return "|".join(self.choices)
        if self.form == "list" and self.item:
            return f"[{self.item.type_text}]"
        if self.form == "object" and self.fields:
            return "{" + ", ".join(field.name + ("" if field.required else "?") for field in self.fields) + "}"
        if self.form == "int" and self.low is not None:
            return f"int({self.low}..{'' if self.high is None else self.high})"
        return self.form

    def _id_text(self) -> str:
        if self.prefixes == ("case",):
            return "step" if self.part else "case"
        if self.part:
            return "ref"
        if self.prefixes == ("op",):
            return "op"
        kinds = sorted({ids.KIND_OF_PREFIX[prefix] for prefix in self.prefixes})
        return kinds[0] if len(kinds) == 1 else "any"

    def signature(self) -> str:
        """`name`, `name?` or `name?=default`, then the type."""
        mark = "" if self.required else "?" if self.default in (None, (), "", {}) else f"?={_literal(self.default)}"
        return f"{self.name}{mark}: {self.type_text}"


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def shapes(kind: type[Struct]) -> tuple[Shape, ...]:
    """The shape of each parameter, in the order of declaration, inherited ones last."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    own = [name for name in kind.__annotations__ if name in fields]
    return tuple(
        _shape(name, hints[name], fields[name].required, None if fields[name].required else _default(fields[name]))
        for name in [*own, *(name for name in fields if name not in own)]
    )


def _default(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _shape(name: str, hint: Any, required: bool = True, default: Any = None) -> Shape:
    metas: list[Meta] = []
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *found = get_args(hint)
            metas += [meta for meta in found if isinstance(meta, Meta)]
        elif origin is Union or str(origin) == "<class 'types.UnionType'>":
            hint = next(one for one in get_args(hint) if one is not type(None))
        else:
            break
    extra: dict[str, Any] = {}
    for meta in metas:
        extra |= meta.extra or {}
    low = next((int(meta.ge) for meta in metas if meta.ge is not None), None)
    high = next((int(meta.le) for meta in metas if meta.le is not None), None)
    description = next((meta.description for meta in metas if meta.description), "")
    base = Shape(name, required, default, "json", description, low=low, high=high)
    if "id" in extra:
        return base._replace(form="id", prefixes=extra["id"], part=extra["part"], blank=extra.get("blank", False))
    if "path" in extra:
        return base._replace(form="path")
    if "text" in extra:
        return base._replace(form=extra["text"], size=extra["size"])
    if "json" in extra or hint is Any:
        return base
    if get_origin(hint) is Literal:
        choices = tuple(str(choice) for choice in get_args(hint))
        return base._replace(form="enum", choices=choices, means=extra.get("means", {}))
    if get_origin(hint) in (tuple, list):
        return base._replace(form="list", item=_shape(name, get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Struct):
        return base._replace(form="object", fields=shapes(hint))
    form = {bool: "bool", int: "int", float: "number"}.get(hint, "text")
    return base._replace(form=form, blank=extra.get("blank", False))


def parse(kind: type[P], method: str, given: Mapping[str, Any], roots: tuple[str, ...] = ()) -> P:
    """Clean, bound and check what a caller gave; anything off is refused with the field, the found and the expected."""
    by_name = {shape.name: shape for shape in shapes(kind)}
    ready: dict[str, Any] = {}
    for name, value in given.items():
        if name in kind.ELSEWHERE:
            raise InvalidParams(
                f"'{name}' cannot be set by {method}, expected {kind.ELSEWHERE[name]}",
                field=name,
                expected=kind.ELSEWHERE[name],
            )
        if name not in by_name:
            raise _unknown(method, name, tuple(by_name))
        cleaned = None if value is None else _clean(by_name[name], value, name, roots)
        if cleaned is not None:
            ready[name] = cleaned
    for shape in by_name.values():
        if shape.required and shape.name not in ready:
            raise InvalidParams(
                f"'{shape.name}' of {method} is missing or blank, expected {shape.type_text}",
                hint=f"Call {method} with {', '.join(one.signature() for one in by_name.values() if one.required)}.",
                field=shape.name,
                found="nothing",
                expected=shape.type_text,
            )
    return _convert(kind, method, ready)


def _convert(kind: type[P], method: str, ready: dict[str, Any]) -> P:
    try:
        return msgspec.convert(ready, kind, strict=True)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or method
        expected, _, found = what.partition(", got ")
        raise InvalidParams(
            f"'{field}' of {method} is not as expected: {what[:1].lower()}{what[1:].replace('`', '')}",
            field=field,
            expected=expected.removeprefix("Expected ").replace("`", ""),
            found=found.replace("`", "") or None,
        ) from None


def _unknown(method: str, name: str, known: tuple[str, ...]) -> InvalidParams:
    close = nearest(name, known)
    tail = f", nearest is '{close}'" if close else f", expected one of {', '.join(known) or 'none'}"
    return InvalidParams(
        f"unknown parameter '{text.one_line(name)[:80]}' of {method}{tail}",
        field=text.one_line(name)[:80],
        nearest=close,
        expected=list(known),
    )


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that is most like the given one, if any is."""
    from difflib import get_close_matches

    found = get_close_matches(name, known, 1, 0.5)
    return found[0] if found else None


def _clean(shape: Shape, value: Any, field: str, roots: tuple[str, ...]) -> Any:
    """The value in the contract's form, or None where it counts as missing; wrong types are left to the conversion."""
    if isinstance(value, str) and shape.form not in ("json",):
        return _clean_text(shape, value, field, roots)
    if shape.form == "list" and isinstance(value, list | tuple):
        if len(value) > LIST_ENTRIES:
            raise _too_large(field, f"{len(value)} entries", f"at most {LIST_ENTRIES}")
        assert shape.item
        cleaned = [_clean(shape.item, one, f"{field}[{index}]", roots) for index, one in enumerate(value)]
        return [one for one in cleaned if one is not None]
    if shape.form == "object" and isinstance(value, Mapping):
        known = {one.name: one for one in shape.fields}
        for name in value:
            if name not in known:
                raise _unknown(field, str(name), tuple(known))
        found = {name: _clean(known[name], one, f"{field}.{name}", roots) for name, one in value.items()}
        return {name: one for name, one in found.items() if one is not None}
    if shape.form == "json":
        return _clean_json(value, field)
    return value


def _clean_text(shape: Shape, value: str, field: str, roots: tuple[str, ...]) -> Any:
    if shape.form == "path":
        return text.repository_path(value, field, roots) if value.strip() else None
    cleaned = text.one_line(value) if shape.form in ("title", "enum", "id") else text.clean(value)
    if not cleaned:
        return "" if shape.blank else None
    if shape.form == "title" and not shape.size and len(cleaned) > text.TITLE_CHARACTERS:
        raise _too_large(field, f"{len(cleaned)} characters", f"at most {text.TITLE_CHARACTERS}")
    bound = shape.size or text.MESSAGE_BYTES
    if text.size(cleaned) > bound:
        raise _too_large(field, f"{text.size(cleaned)} bytes", f"at most {bound}")
    if shape.form == "id":
        _check_id(shape, cleaned, field)
    return _choice(shape, cleaned) if shape.form == "enum" else cleaned


def _choice(shape: Shape, given: str) -> str:
    """The choice that is meant: any case, `TestGroup` and `test-group` for `test_group`, and agreed other words."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]+", "_", given).lower()
    for word in (given, given.lower(), snake):
        if word in shape.choices:
            return word
    return shape.means.get(snake, given)


def _check_id(shape: Shape, value: str, field: str) -> None:
    head, _, number = value.partition(".")
    if shape.part and not (number.isdecimal() and number[0] != "0"):
        head = ""
    if (number and not shape.part) or not ids.is_start(head) or ids.prefix_of(head) not in shape.prefixes:
        expected = " or ".join(f"'{prefix}-…'" for prefix in shape.prefixes[:4]) + ("'.n'" if shape.part else "")
        raise InvalidParams(
            f"'{field}' is '{value[:80]}', expected an id or its beginning: {expected}",
            field=field,
            found=value[:80],
            expected=expected,
        )


def _clean_json(value: Any, field: str) -> Any:
    try:
        size = len(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError):
        raise InvalidParams(f"'{field}' cannot be written as JSON, expected a JSON value", field=field) from None
    if size > text.JSON_BYTES:
        raise _too_large(field, f"{size} bytes", f"at most {text.JSON_BYTES}")
    return value


def _too_large(field: str, found: str, allowed: str) -> InvalidParams:
    return InvalidParams(f"'{field}' has {found}, expected {allowed}", field=field, found=found, expected=allowed)


def every_id(want: Struct) -> Iterator[tuple[str, str]]:
    """Each id that was given with its field, those inside of lists and objects too."""
    for shape in shapes(type(want)):
        inner = shape.item if shape.form == "list" and shape.item else shape
        given = getattr(want, shape.name)
        for one in given if isinstance(given, tuple | list) else (given,):
            if isinstance(one, Struct):
                yield from every_id(one)
            elif inner.form == "id" and one:
                yield shape.name, one


def id_fields(want: Params) -> Iterator[tuple[Shape, Any]]:
    """The parameters that hold ids, with what was given; lists of ids too."""
    for shape in shapes(type(want)):
        inner = shape.item if shape.form == "list" and shape.item else shape
        given = getattr(want, shape.name)
        if inner.form == "id" and given:
            yield shape, given
