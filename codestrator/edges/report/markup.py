"""HTML built from values: whatever is not markup of ours already is escaped, here and nowhere else."""

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from codestrator.edges.plain import visible
from codestrator.text import shorten

EMPTY = frozenset(("br", "hr", "input", "link", "meta"))  # elements that have no end
TITLE, PASSAGE = 200, 1500  # characters shown of a title, and of what is longer
# What the visible form leaves, and no document may hold (https://www.w3.org/TR/xml/#charsets).
_NEITHER = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})


class Html(str):
    """Markup that is safe as it stands."""

    __slots__ = ()


def text(words: object) -> Html:
    """Somebody's words as text, for between tags and for inside quotes.

    >>> text('<b title="x">\\x1b & \\u202e')
    '&lt;b title=&quot;x&quot;&gt;\\\\x1b &amp; \\\\u202e'
    """
    return Html(escape(visible(str(words)).translate(_NEITHER)))


def el(name: str, /, *content: object, **attributes: object) -> Html:
    """An element; an attribute that is None or False is left out, one that is True stands alone.

    >>> el("p", "a < b", None, ["c", el("br")], class_="x", aria_label='"')
    '<p class="x" aria-label="&quot;">a &lt; bc<br/></p>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text("" if value is True else value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{said}/>" if name in EMPTY else f"<{name}{said}>{join(content)}</{name}>")


def join(content: Iterable[object]) -> Html:
    """What is markup as it is, anything else as text; None is nothing, a list is its parts."""
    return Html("".join(_part(one) for one in content))


def _part(one: object) -> str:
    if one is None:
        return ""
    if isinstance(one, Html):
        return one
    if isinstance(one, str) or not isinstance(one, Iterable):
        return text(one)
    return join(one)


def words(given: object, limit: int = TITLE) -> Html:
    """What an agent or a person wrote: cut where it is long, its direction kept from the text around it."""
    return el("bdi", shorten(str(given), limit))


def passage(given: object) -> Html:
    """The same for what may have several lines."""
    return el("span", words(given, PASSAGE), class_="passage")


class Room(NamedTuple):
    """How much a list may take: so many entries, of so many characters together."""

    entries: int
    characters: int


def within(room: Room, made: Iterable[Html]) -> list[Html]:
    """As many as there is room for; the rest is not even made."""
    found: list[Html] = []
    left = room.characters
    for one in made:
        left -= len(one)
        if len(found) == room.entries or left < 0:
            break
        found.append(one)
    return found


def left_out(total: int, shown: int, what: str) -> Html | None:
    """That not all are shown; nothing where they are."""
    more = total - shown
    return el("p", f"{more:,} more {what} are left out here.", class_="more") if more > 0 else None
