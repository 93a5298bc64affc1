"""The parameters of every method as data: a server says what it can do before any method is loaded.

`shapes.json` is made from the methods by `pytest tests/edges/test_described.py --rewrite`, and held to them there.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from codestrator.decoding import decoder
from codestrator.params import Shape

FILE = Path(__file__).with_name("shapes.json")
Shapes = tuple[Shape, ...]


@cache
def known() -> Mapping[str, Shapes]:
    """By method."""
    found = decoder(dict[str, Shapes]).decode(FILE.read_bytes())
    return {name: tuple(map(_restored, shapes)) for name, shapes in found.items()}


def _restored(shape: Shape) -> Shape:
    """JSON knows lists alone."""
    default = tuple(shape.default) if isinstance(shape.default, list) else shape.default
    return shape._replace(
        default=default,
        item=_restored(shape.item) if shape.item else None,
        fields=tuple(map(_restored, shape.fields)),
    )


def written(shapes: Mapping[str, Shapes]) -> str:
    """The content of the file: a method a line."""
    lines = (f"{_json(name)}: {_json(_plain(of))}" for name, of in shapes.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _plain(value: Any) -> Any:
    """As JSON has it; a shape without those values at its end that are at their default."""
    if not isinstance(value, tuple):
        return value
    values = list(value)
    if isinstance(value, Shape):
        while Shape._field_defaults.get(Shape._fields[len(values) - 1], values) == values[-1]:
            values.pop()
    return [_plain(one) for one in values]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
