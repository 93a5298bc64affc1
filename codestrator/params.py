"""What callers give: the types of parameters, their bounds, and how each is described.

A method's parameters are one `Params` struct; help, schema, options and one-line signature are read off its fields.
"""

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
