"""The one line that a model reads of each method: nothing is missing in it, and what is said once is said first."""

import re
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from codestrator import registry, table
from codestrator.edges import descriptions, signatures
from codestrator.params import AnyId, Json, Paged, Params, Path, SessionId, Shape, TaskId, Title, shapes

LINES = {
    line.partition("(")[0]: line
    for tool in descriptions.tools("root")
    for line in tool.description.splitlines()[1:]
    if "(" in line
}
TOLD_FOR_ALL = [
    name
    for name in ("session_id", "thread_id", "owner_session", "limit", "cursor")
    if re.search(rf"\b{name}\b", descriptions.INSTRUCTIONS)
]


class Part(Params, frozen=True, kw_only=True):
    file: Path
    weight: Literal["light", "heavy"]
    line: int | None = None


class First(Params, frozen=True, kw_only=True):
    note: Title | None = None
    session_id: SessionId | None = None
    level: Literal["high", "low"]
    task_id: TaskId
    under: TaskId | None = None
    about: AnyId | None = None
    parts: tuple[Part, ...] = ()
    data: Json | None = None
    mode: Literal["slow", "fast"] = "fast"
    seconds: Annotated[int, Meta(ge=1, le=50)] = 10
    files: tuple[Path, ...] = ()
    force: bool = False
    review: bool | None = None
    count: Annotated[int, Meta(ge=0)] | None = None
    owner: Title = "nobody"


class Second(Paged, frozen=True, kw_only=True):
    session_id: SessionId
    level: Literal["high", "low"] | None = None
    mode: Literal["slow", "fast"] = "slow"
    seconds: Annotated[int, Meta(ge=1, le=50)] = 20
    count: Annotated[int, Meta(ge=3)] | None = None


def test_a_line_says_what_names_and_defaults_do_not() -> None:
    [line] = signatures.lines([("a.first", shapes(First))])
    assert line == (
        "a.first(level: high|low, task_id, note?, under?: id(task), about?: id, "
        "parts?: [{file, weight: light|heavy, line?: int}], data?: {}, mode?=fast|slow, seconds?=10: 1..50, "
        "files?: [], force?=false, review?: bool, count?: int, rarely owner)"
    )


def test_a_later_line_of_the_tool_repeats_only_what_is_different() -> None:
    later = signatures.lines([("a.first", shapes(First)), ("a.second", shapes(Second))])[1]
    assert later == "a.second(session_id, level?, mode?=slow, seconds?=20, count?: 3.., …)"


def test_each_method_has_a_line_and_nothing_else_has() -> None:
    assert set(LINES) == set(table.METHODS)


@pytest.mark.parametrize("name", table.METHODS)
def test_a_line_has_every_parameter_and_whether_it_may_be_left_out(name: str) -> None:
    usual, _, rare = LINES[name].partition("rarely ")
    own = registry.shapes(name)
    for shape in own:
        word = rf"(?<!\w){shape.name}"
        if shape.name in signatures.unsaid(own):
            assert not re.search(word + r"\b", usual)
            assert any(shape.name.endswith(told) for told in TOLD_FOR_ALL), shape.name
        elif shape.required:
            assert re.search(word + r"[:,)]", usual), shape.name
        elif shape.name in signatures.RARE:
            assert re.search(word + r"[,)]", rare), shape.name
        else:
            assert re.search(word + r"\?[=:,)]", usual), shape.name


def bounds(shape: Shape) -> str | None:
    """The words that stand for choices or range, in any order of the choices."""
    if shape.form == "enum":
        return "|".join(sorted(shape.choices))
    return f"{shape.low}..{shape.high}" if shape.high and shape.high < signatures.FAR else None


@pytest.mark.parametrize("group", table.GROUPS, ids=[group.tool for group in table.GROUPS])
def test_defaults_choices_and_ranges_are_told_where_they_hold_or_in_a_line_above(group: table.Group) -> None:
    last: dict[str, str] = {}
    for method in group.methods:
        line = LINES.get(method.name, "")
        for found, _, default, told in re.findall(r"(\w+)(\?)?(?:=([^|:,)]+))?((?:: |\|)[^,)}]+)?", line):
            if told:
                choices = [default, *told.strip("|").split("|")] if told[0] == "|" else told[2:].split("|")
                last[found] = "|".join(sorted(choices))
        usual = line.partition("rarely ")[0]
        for shape in registry.shapes(method.name):
            if shape.name in signatures.RARE | signatures.unsaid(registry.shapes(method.name)):
                continue
            if shape.default not in (None, (), "", {}):
                assert f"{shape.name}?={str(shape.default).lower() if shape.form == 'bool' else shape.default}" in usual
            if expected := bounds(shape):
                assert last[shape.name] == expected, f"{method.name} {shape.name}"


@pytest.mark.parametrize("name", signatures.EITHER)
def test_what_is_said_of_alternatives_names_parameters_of_the_method(name: str) -> None:
    own = {shape.name for shape in registry.shapes(name)}
    assert set(re.findall(r"\w+", signatures.EITHER[name])) - {"and", "or"} <= own
    assert LINES[name].endswith(f"): {signatures.EITHER[name]}")
    assert not any(shape.required and shape.name in signatures.EITHER[name] for shape in registry.shapes(name))
