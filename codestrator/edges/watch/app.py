"""The screen of `watch`: six panels that follow the state; it only looks."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from codestrator.edges.context import Context
from codestrator.edges.watch import changes, details, frame, panels
from codestrator.edges.watch.listing import Listing
from codestrator.edges.watch.looking import Looker
from codestrator.edges.watch.panels import PANELS, View
from codestrator.edges.watch.rows import Row, text
from codestrator.edges.watch.watcher import Looked, Watcher
from codestrator.errors import CodestratorError

WIDE, HIGH = 110, 34  # from this size on, all panels stand in a grid
AROUND, LEAST = 2, 5  # lines of a panel that are no rows, and how many it is shown with at least
NEEDS = 10  # a line of what needs a person for so many of the screen
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143


class Watch(App[int]):
    """The panels, and what opens over them."""

    TITLE = "git codestrator watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #top, #tabs { height: 1; }
    #needs, #trouble { height: auto; max-height: 8; }
    #tabs Static { width: auto; padding: 0 1; }
    #tabs .now { text-style: reverse bold; }
    #panels { height: 1fr; }
    #panels.-grid { layout: grid; grid-size: 2 3; grid-rows: 5fr 3fr 3fr; }
    Listing { scrollbar-size-vertical: 1; overflow-x: hidden; border-top: solid ansi_bright_black; }
    Listing:focus { border-top: solid ansi_cyan; border-title-style: bold; }
    Listing.-top, Listing.-top:focus { border: none; }
    .-grid Listing, .-grid Listing.-top { border: round ansi_bright_black; }
    .-grid Listing:focus { border: round ansi_cyan; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    Reading { align: center middle; }
    #paper { border: round ansi_cyan; padding: 0 1; height: 1fr; scrollbar-size-vertical: 1; }
    #words { width: 1fr; }
    Toast { width: auto; max-width: 100%; }
    """
    # What is typed next is meant for the panel or the filter that some keys choose: these have priority.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "turn(1)", "Next panel", show=False, priority=True),
        Binding("shift+tab", "turn(-1)", "Panel before", show=False, priority=True),
        *(
            Binding(str(number), f"panel({number})", "Panel", show=False, priority=True)
            for number in range(1, len(PANELS) + 1)
        ),
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("a", "attach", "Attach"),
        Binding("r", "again", "Redraw"),
        Binding("z", "zoom", "Zoom"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("escape", "unfilter", "No filter", show=False),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c", "interrupt", "Quit", show=False, priority=True, system=True),
        Binding("ctrl+z", "suspend_process", "Put aside", show=False),
    ]

    def __init__(self, looker: Looker, interval: float, terminal: int | None = None) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours, whatever they are
        self.theme = "ansi-dark"
        self.looker = looker
        self.seen = looker.seen
        self.view = View()
        self.at = 0
        self.zoomed = False
        self._drawn: dict[str, object] = {}  # what each panel was drawn from
        self._terminal = terminal
        self._watcher = Watcher(looker, interval, lambda seen: self.post_message(Looked(seen)))

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        with Horizontal(id="tabs"):
            for number, panel in enumerate(PANELS, 1):
                yield Static(f"{number} {panel.title}", id=f"tab-{panel.name}")
        with Container(id="panels"):
            for panel in PANELS:
                yield Listing(panel)
        yield Static(id="needs")
        yield Static(id="trouble")
        yield Input(placeholder="filter all panels; esc ends it", id="filter", compact=True)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        with suppress(ValueError, RuntimeError):  # not in the main thread: then nobody signals
            for sent, status in ((signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)):
                asyncio.get_running_loop().add_signal_handler(sent, self.exit, status)
        self._draw()
        self._choose(0)
        self._watcher.start()

    def on_unmount(self) -> None:
        self._watcher.stop()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._draw)  # when the new size is everywhere

    # Panels

    @property
    def base(self) -> Screen[Any]:
        """The screen that the panels are on, whatever is open over it."""
        return self.screen_stack[0]

    @property
    def listing(self) -> Listing:
        """The panel that keys are for."""
        return self._listing(PANELS[self.at])

    def _listing(self, panel: panels.Panel) -> Listing:
        return self.base.query_one(f"#{panel.name}", Listing)

    def _arrange(self) -> None:
        """All panels in a grid; where there is less room, the chosen one and as many of the next as fit below it."""
        width, height = self.size
        grid = not self.zoomed and height >= HIGH and width >= WIDE
        self.base.query_one("#panels").set_class(grid, "-grid")
        self.base.query_one("#tabs").display = not grid
        left = self.base.query_one("#panels").size.height or height - AROUND
        for at, panel in enumerate(PANELS):
            listing = self._listing(panel)
            lines = len(listing.rows) + AROUND - (at == self.at)
            fits = at == self.at or (at > self.at and left >= min(lines, LEAST) and not self.zoomed and listing.rows)
            listing.display = grid or bool(fits)
            listing.styles.height = "1fr" if grid else lines
            listing.set_class(at == self.at, "-top")
            if fits:
                left -= lines
                last = listing
        if not grid:
            last.styles.height = "1fr"

    def _choose(self, at: int) -> None:
        self.at = at % len(PANELS)
        for number, panel in enumerate(PANELS):
            now = number == self.at
            self.base.query_one(f"#tab-{panel.name}").set_class(now, "now")
        self._arrange()
        self.base.set_focus(self.listing)

    def action_turn(self, by: int) -> None:
        self._choose(self.at + by)

    def action_panel(self, number: int) -> None:
        self._choose(number - 1)

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self._arrange()

    def on_click(self, event: events.Click) -> None:
        name = (event.widget.id or "") if event.widget else ""
        for number, panel in enumerate(PANELS):
            if name in (panel.name, f"tab-{panel.name}"):
                self._choose(number)

    # What is shown

    def on_looked(self, message: Looked) -> None:
        if self._terminal is not None and changes.gone(self._terminal):
            self.exit(HUNG_UP)
        self.seen = message.seen
        self._draw()

    def _draw(self) -> None:
        if not self.base.query(Listing):
            return  # the screen is being taken down
        for number, panel in enumerate(PANELS, 1):
            asked = (panels.inputs(panel, self.seen), self.view.query, frozenset(self.view.turned))
            if self._drawn.get(panel.name) == asked:
                continue
            self._drawn[panel.name] = asked
            rows = panel.rows(self.seen, self.view)
            self._listing(panel).show(rows, self._note(panel.parts, bool(rows), panel.empty))
            title = Text(f"{number} {panel.title}")
            if rows:
                title.append(f" {panels.total(panel, self.seen, self.view, rows)}", style="dim")
            self._listing(panel).border_title = title.markup
            self.base.query_one(f"#tab-{panel.name}", Static).update(title)
        self._above_and_below()
        self._arrange()

    def _note(self, parts: tuple[str, ...], rows: bool, empty: str) -> str:
        wrong = next((self.seen.errors[one] for one in parts if one in self.seen.errors), "")
        if wrong:
            return f"not read: {wrong}"
        return "" if rows else f"nothing has '{self.view.query}' in it" if self.view.query else empty

    def _above_and_below(self) -> None:
        width, height = self.size
        self.base.query_one("#top", Static).update(frame.top(self.seen, self.view.query, width))
        self._say("#needs", frame.needs(self.seen, height // NEEDS, width))
        self._say("#trouble", text(f"not read: {self.seen.error}" if self.seen.error else "", "bold red"))

    def _say(self, name: str, words: Text) -> None:
        place = self.base.query_one(name, Static)
        place.display = bool(words)
        place.update(words)

    # Filter

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of priority are not for what is open over the panels, nor for a filter that is being typed."""
        free = len(self.screen_stack) < 2 and not isinstance(self.focused, Input)
        return free or action not in ("filter", "panel", "turn")

    def action_filter(self) -> None:
        field = self.base.query_one("#filter", Input)
        field.display = True
        self.base.set_focus(field)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.view.query = event.value.strip().lower()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.input.display = False
        self.base.set_focus(self.listing)

    def action_unfilter(self) -> None:
        field = self.base.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.base.set_focus(self.listing)

    # What opens

    def on_listing_opened(self, message: Listing.Opened) -> None:
        row = message.row
        if row.kind == "task":
            self.view.turned ^= {row.key}
            self._draw()
        elif row.kind == "child":
            path = row.about["thread"].get("log_file_path")
            self._read(f"log of {row.about['thread']['title']}", lambda: details.tail(path), follows=True)
        elif row.kind == "case":
            self._open_case(row)
        elif row.kind:
            self._read(f"{row.kind} {row.key[:24]}", lambda: details.outline(row.about))

    def _read(self, title: str, look: Callable[[], Sequence[Text]], *, follows: bool = False) -> None:
        self.clear_notifications()
        self.push_screen(details.Reading(title, look, follows=follows))

    @work(thread=True, exclusive=True, group="case")
    def _open_case(self, row: Row) -> None:
        found = self._asked("task.get", task_id=row.key)
        if found:
            lines = details.case(found)
            self.call_from_thread(self._read, f"case {row.key}", lambda: lines)

    def _asked(self, method: str, **given: Any) -> dict[str, Any]:
        """What a method answers; a refusal is shown, and the screen goes on."""
        try:
            return self.looker.call(method, **given)
        except CodestratorError as error:
            self.call_from_thread(self.notify, error.message, severity="error", markup=False)
            return {}

    def action_help(self) -> None:
        self._read("keys", lambda: [Text(one) for one in details.KEYS.splitlines()])

    def action_attach(self) -> None:
        row = self.listing.chosen
        if row is None or not (row.session_id or row.thread_id):
            self.notify("Choose a session, a child, or something that one of them has.", markup=False)
        else:
            self._copy_attach(row)

    @work(thread=True, exclusive=True, group="attach")
    def _copy_attach(self, row: Row) -> None:
        session_id = row.session_id or next(
            (one["thread"]["session_id"] for one in self.seen.children if one["thread"]["id"] == row.thread_id), None
        )
        given = {name: one for name, one in (("session_id", session_id), ("thread_id", row.thread_id)) if one}
        if not (found := self._asked("thread.attach_info", **given)):
            return
        if not found["available"]:
            told = "It has no tmux session here that could be attached to; enter on a child opens its log."
            self.call_from_thread(self.notify, told, severity="warning", markup=False)
            return
        command = _from_here(found, self.looker.context.world.settings.tmux_socket)
        self.call_from_thread(self.copy_to_clipboard, command)
        self.call_from_thread(self.notify, command, title="copied, if the terminal allows it", timeout=10, markup=False)

    def action_again(self) -> None:
        self.clear_notifications()
        self._watcher.now()
        self.refresh(layout=True)

    def action_leave(self) -> None:
        self.exit(0)

    def action_interrupt(self) -> None:
        self.exit(INTERRUPTED)


def _from_here(found: Mapping[str, Any], socket: str | None) -> str:
    """The command for a shell beside this one: inside of tmux no client can be attached, but ours can be switched."""
    inside = os.environ.get("TMUX", "").partition(",")[0]
    if not inside:
        return str(found["attach_command"])
    same = inside == socket if socket and "/" in socket else Path(inside).name == (socket or "default")
    return str(found["switch_command"] if same else f"TMUX= {found['attach_command']}")


def screen(context: Context, interval: float) -> int:
    """The screen until somebody leaves it; the exit status."""
    looker = Looker(context)
    looker.first()
    # What talks to tmux asks standard output for its encoding when it is loaded, which a running screen cannot tell.
    context.world.tmux.session_alive("codestrator")
    if context.coloured():
        os.environ.pop("NO_COLOR", None)
    else:
        os.environ["NO_COLOR"] = "1"
    app = Watch(looker, interval, sys.stdin.fileno())
    app.run(mouse=True)
    return app.return_value if app.return_value is not None else app.return_code or 0
