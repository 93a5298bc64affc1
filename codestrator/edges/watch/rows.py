"""What a panel's lines are made of: cells with a style, the tree they lie in, and what they are about."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from codestrator.edges import plain
from codestrator.edges.report.gathering import moment
from codestrator.edges.report.pieces import KINDS, SIGN

GAP = 2
LONGEST = 400  # characters of one cell; no screen shows more
BAR = 8
STYLES = {"working": "cyan", "good": "green", "landed": "green", "bad": "bold red", "asking": "yellow", "over": "dim"}


class Column(NamedTuple):
    """A column: as wide as it needs, or, with a share, as there is room; those of the highest rank go first."""

    name: str
    share: int = 0
    least: int = 0
    goes: int = 0


class Row(NamedTuple):
    """One line. `kind` and `about` say what it opens, `session_id` and `thread_id` where one could attach."""

    key: str
    cells: tuple[Text, ...]
    depth: int = 0
    kind: str = ""
    about: Any = None
    session_id: str | None = None
    thread_id: str | None = None
    words: str = ""  # that a filter finds beside those that are shown

    def matches(self, query: str) -> bool:
        return query in self.words.lower() or any(query in cell.plain.lower() for cell in self.cells)


def text(value: object, style: str | Style = "") -> Text:
    """A cell; never read as markup, and nothing in it can act on a terminal."""
    return Text(plain.cell(value)[:LONGEST], style=style, no_wrap=True, end="")


def state(status: object) -> Text:
    """A status as sign and word, so that its colour says nothing that they do not."""
    return text(f"{sign(status).plain} {str(status).replace('_', ' ')}", sign(status).style)


def sign(status: object) -> Text:
    """The sign of a status, in its colour."""
    found = SIGN.get(str(status), "○")
    return text(found, STYLES.get(KINDS[found], ""))


def bar(done: int, total: int) -> Text:
    """How far, as a picture and in numbers."""
    if not total:
        return Text("")
    full = BAR if done >= total else min(BAR - 1, round(BAR * done / total))
    made = Text(end="").append("█" * full, style="green").append("░" * (BAR - full), style="dim")
    return made.append(f" {done}/{total}")


def clock(given: object) -> str:
    """A time of day where the person is; the date where it is another day's."""
    at = given if isinstance(given, datetime) else moment(given)
    if at is None:
        return ""
    at = at.astimezone()
    today = datetime.now().astimezone().date() == at.date()
    return at.strftime("%H:%M:%S" if today else "%m-%d %H:%M")


def kept(rows: Iterable[Row], query: str) -> list[Row]:
    """The rows that a filter leaves: those that match, and what they lie in."""
    if not query:
        return list(rows)
    found: list[Row] = []
    needed = 0  # of a row of this depth or less, what comes below it is wanted
    for row in reversed(list(rows)):
        if row.matches(query) or row.depth < needed:
            found.append(row)
            needed = row.depth
    return found[::-1]


def widths(columns: Sequence[Column], rows: Sequence[Row], room: int) -> list[int]:
    """How wide each column is; 0 for those that there is no room for."""
    natural = [_natural(one, at, rows) for at, one in enumerate(columns)]
    shown = [at for at in range(len(columns)) if natural[at]]
    while True:
        found = _shared(columns, natural, shown, room)
        narrow = any(found[at] < min(natural[at], columns[at].least) for at in shown)
        droppable = [at for at in shown if columns[at].goes]
        if not (narrow and droppable):
            return found
        shown.remove(max(droppable, key=lambda at: columns[at].goes))


def _natural(column: Column, at: int, rows: Sequence[Row]) -> int:
    """As wide as its widest cell and its name; 0 where every cell is empty."""
    widest = max((cell_len(row.cells[at].plain) for row in rows), default=0)
    return max(widest, cell_len(column.name)) if widest else 0


def _shared(columns: Sequence[Column], natural: Sequence[int], shown: Sequence[int], room: int) -> list[int]:
    found = [0] * len(columns)
    left = room - GAP * max(0, len(shown) - 1)
    open_ = []
    for at in shown:
        if columns[at].share:
            open_.append(at)
        else:
            found[at] = natural[at]
            left -= natural[at]
    while open_:
        shares = sum(columns[at].share for at in open_)
        content = [at for at in open_ if natural[at] * shares <= left * columns[at].share]
        if not content:
            for at in open_:
                found[at] = max(0, left * columns[at].share // shares)
            return found
        for at in content:
            found[at] = natural[at]
            left -= natural[at]
            open_.remove(at)
    return found


def line(row: Row, wide: Sequence[int]) -> Text:
    """The row on one line, each cell cut or filled to its column."""
    made = Text(end="", no_wrap=True)
    for cell, width in zip(row.cells, wide, strict=True):
        if width:
            shown = cell.copy()
            shown.truncate(width, overflow="ellipsis", pad=True)
            made.append(" " * GAP if made else "").append_text(shown)
    return made
