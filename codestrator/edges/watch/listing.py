"""A list on the screen: lines in columns under a line of names, one of them chosen."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from codestrator.edges.watch.panels import Panel
from codestrator.edges.watch.rows import Row, line, text, widths

CHOSEN = Style(color="default", bgcolor="default", dim=False, reverse=True)
HEAD = 1  # the line of names, which stays where it is


class Listing(ScrollView, can_focus=True):
    """The rows of one panel. What is chosen, and where on the screen it stands, survive new rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "leaf(-1)", "Page up", show=False),
        Binding("pagedown", "leaf(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("enter", "open", "Open"),
    ]

    class Opened(Message):
        """Somebody wants to see more of a row."""

        def __init__(self, panel: Panel, row: Row) -> None:
            super().__init__()
            self.panel, self.row = panel, row

    def __init__(self, panel: Panel) -> None:
        super().__init__(id=panel.name)
        self.panel = panel
        self.rows: Sequence[Row] = ()
        self.at = 0
        self.note = ""
        self._wide: list[int] = []

    @property
    def chosen(self) -> Row | None:
        return self.rows[self.at] if self.rows else None

    def show(self, rows: Sequence[Row], note: str) -> None:
        """Show these; `note` stands above them, or in their place where there are none."""
        if note == self.note and rows == self.rows:
            return
        key, old, top = self.chosen.key if self.chosen else None, self.at, self.scroll_offset.y
        self.rows, self.note = rows, note
        same = next((at for at, row in enumerate(rows) if row.key == key), old)
        self.at = 0 if not old and not top else max(0, min(same, len(rows) - 1))  # who looks at the first, sees the new
        self._fit()
        self.scroll_to(y=top + self.at - old, animate=False, immediate=True)

    def _fit(self) -> None:
        """Columns for the width that there is."""
        width = self.scrollable_content_region.width or self.size.width
        self.virtual_size = Size(width, len(self.rows) + HEAD)
        self._wide = widths(self.panel.columns, self.rows, max(0, width - 2))
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()
        self._follow()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y < HEAD:
            return self._strip(self._head(), width, Style())
        at = y - HEAD + self.scroll_offset.y
        if at >= len(self.rows):
            return Strip.blank(width)
        chosen = at == self.at and self.has_focus
        return self._strip(
            line(self.rows[at], self._wide), width, CHOSEN if chosen else Style(), Style(meta={"row": at})
        )

    def _head(self) -> Text:
        if self.note:
            return text(self.note, "bold red" if self.rows else "dim")
        names = [text(column.name.upper(), "dim") for column in self.panel.columns]
        return line(Row("", tuple(names)), self._wide)

    def _strip(self, words: Text, width: int, *styles: Style) -> Strip:
        shown = Text(" ", end="").append_text(words)
        shown.truncate(width, overflow="ellipsis", pad=True)
        segments = [Segment(one.text, one.style or Style.null()) for one in shown.render(self.app.console)]
        for style in styles:
            segments = list(Segment.apply_style(segments, post_style=style))
        return Strip(segments, width)

    def action_move(self, by: int) -> None:
        if self.rows:
            self.at = max(0, min(self.at + by, len(self.rows) - 1))
            self._follow()
            self.refresh()

    def action_leaf(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - HEAD - 1))

    def _follow(self) -> None:
        """Scroll as little as shows the chosen row."""
        height, top = self.scrollable_content_region.height - HEAD, self.scroll_offset.y
        if height > 0 and not top <= self.at < top + height:
            self.scroll_to(y=self.at if self.at < top else self.at - height + 1, animate=False, immediate=True)

    def action_open(self) -> None:
        if self.chosen:
            self.post_message(self.Opened(self.panel, self.chosen))

    def on_click(self, event: events.Click) -> None:
        at = event.style.meta.get("row")
        if isinstance(at, int) and at < len(self.rows):
            self.at = at
            self.refresh()
            if event.chain == 2:
                self.action_open()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
