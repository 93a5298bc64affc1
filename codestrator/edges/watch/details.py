"""What opens over the panels: a text that is read through, the log of a child that is followed, the keys."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from codestrator.edges import plain
from codestrator.edges.report.pieces import lasting
from codestrator.edges.watch.rows import clock, state, text

LOG_BYTES = 64 * 1024
LOG_LINES = 500
LOG_SECONDS = 0.5

KEYS = """\
1 to 6, tab      choose a panel
z                that panel alone, or as many as fit
arrows, j, k     choose a line; page keys, home and end too
enter            of a child, its log; of a case, its steps and what
                 shows that they were done; of an epic or a feature,
                 what is below; of anything else, all there is to it
/                filter all panels; enter keeps the filter, esc ends it
a                copy the command that attaches to the tmux session
                 of the chosen child, session, lock, …
r                look again now
ctrl+z           put aside, as any program of a shell
q, ctrl+c        quit

Nothing here changes anything. Times are those of this machine.
The mouse chooses, too; hold shift to mark text with it."""


class Reading(ModalScreen[None]):
    """A text over the panels; looked up again as long as it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Back"),
        Binding("a", "app.attach", "Attach"),
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("home,g", "edge(True)", "Begin", show=False),
        Binding("end,G", "edge(False)", "End"),
    ]

    def __init__(self, title: str, look: Callable[[], Sequence[Text]], *, follows: bool = False) -> None:
        super().__init__()
        self._look = look
        self._title = title
        self._follows = follows
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="paper"):
            yield Static(id="words")
        yield Footer()

    def on_mount(self) -> None:
        paper = self.query_one("#paper")
        paper.border_title = text(self._title).markup
        paper.focus()
        self.again()
        if self._follows:
            self.set_interval(LOG_SECONDS, self.again)

    def again(self) -> None:
        """Look it up once more; who stands at the end of a text that is followed stays there."""
        lines = self._look()
        plain_lines = [one.plain for one in lines]
        if plain_lines == self._shown:
            return
        paper = self.query_one("#paper", VerticalScroll)
        at_end = not self._shown or paper.scroll_offset.y >= paper.max_scroll_y
        self._shown = plain_lines
        self.query_one("#words", Static).update(Text("\n").join(lines))
        if self._follows and at_end:
            self.call_after_refresh(paper.scroll_end, animate=False)

    def action_leave(self) -> None:
        self.dismiss()

    def action_scroll(self, by: int) -> None:
        self.query_one("#paper").scroll_relative(y=by, animate=False)

    def action_edge(self, first: bool) -> None:
        paper = self.query_one("#paper")
        if first:
            paper.scroll_home(animate=False)
        else:
            paper.scroll_end(animate=False)


def tail(path: str | None) -> list[Text]:
    """The end of a log; it may be gone, or not be there yet."""
    if not path:
        return [text("It keeps no log.", "dim")]
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            found = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return [text(f"{path}: {error.strerror}", "dim")]
    lines = found.splitlines()[1 if size > LOG_BYTES else 0 :][-LOG_LINES:]
    return [text(one) for one in lines] or [text("Nothing was said yet.", "dim")]


def outline(value: Mapping[str, Any]) -> list[Text]:
    """Anything, as the command line shows it: the names of the first level set off."""
    lines = []
    for one in plain.outline(value):
        head, colon, rest = one.partition(":")
        named = bool(colon) and not one.startswith((" ", "-"))
        lines.append(text(head + colon, "bold").append_text(text(rest)) if named else text(one))
    return lines


def case(found: Mapping[str, Any]) -> list[Text]:
    """A case: how it stands, its steps with what shows that they were done, who holds it, where it was secured."""
    task = found["task"]
    lines = [state(task["status"]).append_text(text(f"  {task['title']}", "bold")), text(task["id"], "dim"), Text("")]
    lines += _facts(found)
    lines += [Text(""), text("Steps", "bold")]
    for step in task.get("steps", ()):
        lines += _step(step)
    if not task.get("steps"):
        lines.append(text("  none are planned", "dim"))
    for name in ("claim", "checkpoint"):
        if found.get(name):
            lines += [Text(""), text(name.capitalize(), "bold"), *(text(f"  {one}") for one in _about(name, found))]
    return lines


def _facts(found: Mapping[str, Any]) -> Iterator[Text]:
    task = found["task"]
    facts = {
        "in": " / ".join(one["title"] for one in found.get("path", ())),
        "about": task.get("description"),
        "next": task.get("next_action"),
        "summary": task.get("summary"),
        "waits on": ", ".join(found.get("waits_on", ())),
        "accepted when": "; ".join(task.get("acceptance", ())),
        "files": ", ".join(task.get("files", ())),
        "cancelled": task.get("cancel_reason"),
    }
    for name, value in facts.items():
        if value:
            yield text(f"{name}: ", "dim").append_text(text(value))


def _step(step: Mapping[str, Any]) -> Iterator[Text]:
    yield text("  ").append_text(state(step["status"])).append_text(text(f"  {step['title']}"))
    evidence = step.get("evidence") or {}
    said = [
        f"$ {evidence['command']}" if evidence.get("command") else "",
        f"exit status {evidence['exit_status']}" if "exit_status" in evidence else "",
        f"in {evidence['duration_seconds']:.1f} s" if "duration_seconds" in evidence else "",
        f"on {evidence['commit'][:12]}" if evidence.get("commit") else "",
        evidence.get("note") or "",
        step.get("result_text") or "",
        f"checked {clock(step['checked_at'])}" if step.get("checked_at") else "",
    ]
    if any(said):
        yield text("      " + ", ".join(one for one in said if one), "dim")


def _about(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    one = found[name]
    if name == "claim":
        yield f"held by {one.get('thread_id') or one['session_id']} for {lasting(one['seconds_left'])} more"
        yield f"fence {one['fence']}, granted {clock(one['granted_at'])}"
        return
    yield f"{one['id']} at {clock(one['created_at'])}: {one.get('event', '')}"
    yield f"commit {one['commit'][:12]}" + (", with uncommitted work" if one.get("dirty") else "")
    for key in ("summary", "next_action"):
        if one.get(key):
            yield f"{key.replace('_', ' ')}: {one[key]}"
