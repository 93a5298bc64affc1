"""The screen of `watch` in a real tmux, as a person has it: at 80x24, with a configuration that counts from 1."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edges.shell import PACKAGE_ROOT
from tests.methods.conftest import desk, family
from tests.methods.family import Family
from tests.world.desk import until

__all__ = ["desk", "family"]
pytestmark = pytest.mark.tmux
SETTINGS = "set -g base-index 1\nset -g pane-base-index 1\nset -g renumber-windows on\n"


class Pane:
    """A pane of a person's own tmux, in which `watch` runs."""

    def __init__(self, family: Family, folder: Path) -> None:
        self._desk = family.desk
        settings = folder / "tmux.conf"
        settings.write_text(SETTINGS, encoding="utf-8")
        words = ["env", f"PYTHONPATH={PACKAGE_ROOT}", sys.executable, "-m", "codestrator", "watch"]
        line = f"cd {shlex.quote(str(family.root.world.repo))}; {shlex.join(words)}; echo ended with $?; exec cat"
        self._desk(
            "-f", str(settings), "new-session", "-d", "-x", "80", "-y", "24", "-s", "mine", "--", "sh", "-c", line
        )

    def screen(self) -> str:
        return self._desk("capture-pane", "-p", "-t", "=mine:1.1")

    def press(self, *keys: str) -> None:
        self._desk("send-keys", "-t", "=mine:1.1", *keys)

    def sees(self, *words: str) -> str:
        try:
            until(lambda: all(one in self.screen() for one in words))
        except AssertionError:
            raise AssertionError(f"{words} are not in:\n{self.screen()}") from None
        return self.screen()


def test_somebody_watches_sessions_a_child_and_a_lock_come_and_go(family: Family, tmp_path: Path) -> None:
    pane, root = Pane(family, tmp_path), family.root
    assert len(pane.sees("1 Agents", "Fix the login timeout", "● live", "q Quit").splitlines()) == 24
    pane.press("3")
    pane.sees("no path is locked")
    words = ["--session", root.session, "lock", "acquire", "--scope-type", "prefix", "--scope-path", "src/login"]
    other = subprocess.run(
        [sys.executable, "-m", "codestrator", *words],
        cwd=root.world.repo, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    pane.sees("src/login/", "✓ held", "Fix the login timeout")

    child = family.child("echo at work; exec sleep 300", title="Refresh the cookie")
    pane.press("1")
    pane.sees("● running", "Refresh the cookie", "t1")
    pane.press("j", "Enter")
    pane.sees("log of Refresh the cookie", child, "turn 1")
    pane.press("Escape")
    pane.sees("1 Agents")
    pane.press("a")
    attach = family.root("thread.attach_info", thread_id=child)["switch_command"]
    assert attach.rpartition(" ")[2] in pane.sees("copied, if the terminal allows it")

    pane.press("/", "cookie")
    pane.sees("/cookie", "Refresh the cookie")
    pane.press("Escape")
    pane.sees("1 Agents 2")
    until(lambda: "/cookie" not in pane.screen())
    pane.press("?")
    pane.sees("copy the command")
    pane.press("q")
    family.root("thread.child.stop", thread_id=child)
    until(lambda: "Refresh the cookie" not in pane.screen().partition("Journal")[0])
    pane.press("q")
    assert "1 Agents" not in pane.sees("ended with 0")


def test_the_overview_of_the_children_s_session_is_that_screen_and_takes_no_keys(family: Family) -> None:
    spawned = family.spawn(title="Refresh the cookie")
    name = spawned["tmux"]["session"]

    def screen() -> str:
        return family.desk("capture-pane", "-p", "-t", f"={name}:=overview")

    until(lambda: "Refresh the cookie" in screen() and "1 Agents" in screen())
    assert family.desk("display-message", "-p", "-t", f"={name}:=overview", "#{pane_input_off}") == "1"
