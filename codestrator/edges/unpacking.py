"""A call of a tool taken apart: which method it means, with which parameters."""

from collections.abc import Mapping
from typing import Any

from codestrator import registry, table
from codestrator.errors import InvalidParams


def unpack(tool: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method and its parameters; refuses another shape than `{method, params}` and a method of another tool."""
    for name in arguments:
        if name not in ("method", "params"):
            raise InvalidParams(
                f"unknown argument '{name[:80]}' of {tool}, expected 'method' and 'params'",
                hint=f"Put '{name[:80]}' inside params.",
                field=name[:80],
                expected=["method", "params"],
            )
    method, given = arguments.get("method"), arguments.get("params")
    for field, value, right, expected in (
        ("method", method, isinstance(method, str), "the name of a method"),
        ("params", given, given is None or isinstance(given, dict), "an object"),
    ):
        if not right:
            found = "nothing" if value is None else type(value).__name__
            raise InvalidParams(
                f"'{field}' of {tool} is {found}, expected {expected}", field=field, found=found, expected=expected
            )
    assert isinstance(method, str)
    found_in = table.TOOL_OF[registry.find(method.strip()).name]
    if tool not in (table.CATCH_ALL, found_in):
        raise InvalidParams(
            f"'{method.strip()}' is not a method of {tool}, expected {found_in}",
            hint=f"Call the tool {found_in} with the same arguments.",
            field="method",
            found=tool,
            expected=found_in,
        )
    return method.strip(), given or {}
