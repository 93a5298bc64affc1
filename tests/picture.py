"""Draws README's pictures from what terminals really showed.

`python -m tests.picture` writes fixtures/demo.svg, the demo in a small sample repository, and fixtures/children.svg,
the panes of two children at work. `python -m tests.report_picture` and `python -m tests.watch_picture` draw the others.
"""

import io
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from codestrator.edges import demo
from tests.actors import Actor

FIXTURES = Path(__file__).parent.parent / "fixtures"
COLUMNS = 118
FILES = {"Tax is added": ("tax.py", "RATE = 0.19"), "The cart has a total": ("cart.py", "TOTAL = 'sum'")}
STEPS = ["write it", "round it", "name it"]
PANE_LINES = 14


def console() -> Console:
    return Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")


def draw_demo() -> None:
    shown = console()
    with tempfile.TemporaryDirectory() as folder:
        demo.run(console=shown, source=Path(folder))
    shown.save_svg(str(FIXTURES / "demo.svg"), title="git codestrator demo")


def draw_children() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo, socket = Path(folder) / "shop", Path(folder) / "tmux"
        for words in (
            ["init", "-q", "-b", "main", str(repo)],
            ["-C", str(repo), "-c", "user.name=Demo", "-c", "user.email=demo@example.org",
             "commit", "-q", "--allow-empty", "-m", "a small shop"],
            ["-C", str(repo), "config", "codestrator.tmuxSocket", str(socket)],
            ["-C", str(repo), "config", "user.name", "Demo"],
            ["-C", str(repo), "config", "user.email", "demo@example.org"],
        ):  # fmt: skip
            subprocess.run(["git", *words], check=True)
        root = Actor(repo)
        try:
            shown = _at_work(root)
        finally:
            subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False, capture_output=True)
            root.close()
    shown.save_svg(str(FIXTURES / "children.svg"), title="tmux attach -r -t shop-fix-login")


def _at_work(root: Actor) -> Console:
    """Two children spawned, one of them directed; their panes and the overview once that has been carried out."""
    root("workspace.init")
    root.open()
    feature = root("task.create", level="feature", title="Totals")["task"]["id"]
    children = []
    for title, words in FILES.items():
        case = root("task.create", level="case", title=title, parent_id=feature, steps=STEPS)
        line = shlex.join([sys.executable, "-P", "-m", "codestrator.edges.demo_worker", *words])
        spawned = root("thread.child.spawn", title=title, scope_case_ids=[case["task"]["id"]], launch_command=line)
        children.append(spawned["thread"])
    first = children[0]["id"]
    root("thread.child.directive", thread_id=first, directive="RATE = 0.21", mode="queue", wait_seconds=20)
    panes = [_pane(one["title"], root("thread.child.status", thread_id=one["id"])["screen"]) for one in children]
    overview = _pane("overview", _overview(root, "%0"))
    for one in children:
        root("thread.child.wait_status", thread_id=one["id"], target_statuses=["completed"])
    shown = console()
    shown.print(Group(overview, Columns(panes, width=COLUMNS // 2 - 1)))
    return shown


def _overview(root: Actor, pane: str) -> str:
    """The screen of `watch` in the first window, made as wide as the picture."""
    _tmux(root, "resize-window", "-t", pane, "-x", str(COLUMNS - 4), "-y", str(PANE_LINES))
    end = time.monotonic() + 20
    while "Quit" not in (shown := _tmux(root, "capture-pane", "-p", "-t", pane)) or "╭" in shown:
        assert time.monotonic() < end, "the overview never showed itself"
        root.world.wait_for_change(0.1)
    return shown


def _tmux(root: Actor, *words: str) -> str:
    socket = str(Path(root.world.repo).parent / "tmux")
    return subprocess.run(["tmux", "-S", socket, *words], check=True, capture_output=True, text=True).stdout


def _pane(title: str, screen: str) -> Panel:
    lines = [line.rstrip() for line in screen.splitlines() if line.strip()][:PANE_LINES]
    return Panel(Text("\n".join(lines), overflow="fold"), title=title, title_align="left", border_style="green")


if __name__ == "__main__":
    draw_demo()
    draw_children()
