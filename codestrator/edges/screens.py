"""Results for people at a terminal: tables and short sections; meaning is never by colour alone.

The only module of the command line that imports rich, and only a terminal makes it be imported.
"""

from collections.abc import Mapping, Sequence
from string import hexdigits
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from codestrator.edges import plain

COMMIT, SHOWN_OF_COMMIT = 40, 12

STYLES = {
    "done": "green",
    "running": "green",
    "completed": "green",
    "landed": "green",
    "live": "green",
    "pass": "green",
    "in_progress": "cyan",
    "blocked": "red",
    "failed": "red",
    "suspended": "yellow",
    "away": "yellow",
    "waiting": "yellow",
    "cancelled": "dim",
    "closed": "dim",
}


def show(method: str, result: Mapping[str, Any], *, coloured: bool, console: Console | None = None) -> None:
    """Print a result of a method or a verb."""
    console = console or Console(no_color=not coloured, highlight=False, soft_wrap=False)
    console.print(status(result) if method == "status" else any_result(method, result))


def any_result(method: str, result: Mapping[str, Any]) -> RenderableType:
    """A list as a table, anything else as its nested values."""
    items = result.get("items")
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        return outline(result)
    rest = plain.beside_items(result)
    shown: list[RenderableType] = [table(method, items) if items else Text(plain.NOTHING, style="dim")]
    return Group(*shown, outline(rest)) if rest else shown[0]


def status(found: Mapping[str, Any]) -> RenderableType:
    """Who works where on what, what is held, what needs a person, what to call next."""
    parts: list[RenderableType] = []
    for name, title, method in plain.SECTIONS:
        if found[name] or name == "sessions":
            parts.append(Text(title, style="bold"))
            parts.append(table(method, found[name]) if found[name] else Text(f"  {plain.NOTHING}", style="dim"))
    parts.append(Text("Next", style="bold"))
    parts += [Text(f"  {call}") for call in found["next"]]
    return Group(*parts)


def table(method: str, items: Sequence[Mapping[str, Any]]) -> Table:
    """The columns that the plain text has too."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    ways = plain.columns(method, items)
    for way in ways:
        whole = way.rpartition(".")[2] in ("id", "status", "liveness", "op", "call")
        made.add_column(plain.heading(way), no_wrap=whole, overflow="fold")
    for item in items:
        made.add_row(*(word(plain.at(item, way)) for way in ways))
    return made


def word(value: Any) -> Text:
    """One cell; never read as markup, whatever it holds. A commit is cut to what people can take in at a glance."""
    text = plain.cell(value)
    if len(text) == COMMIT and not set(text) - set(hexdigits):
        text = text[:SHOWN_OF_COMMIT]
    return Text(text, style=STYLES.get(text, ""))


def outline(value: Any) -> RenderableType:
    """Nested values as the plain text has them, the names of the first level set off."""
    lines = []
    for line in plain.outline(value):
        head, colon, rest = line.partition(":")
        named = colon and not line.startswith((" ", "-"))
        lines.append(Text.assemble((head + colon, "bold"), rest) if named else Text(line))
    return Group(*lines)
