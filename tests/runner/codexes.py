"""What tests of agents on Codex share: a real Codex and its home, a queue that is heard, processes found by a mark."""

import os
import queue
import signal
import subprocess
import time
from pathlib import Path
from typing import TypeVar

import pytest

from codestrator.runner.agent import AgentSettings, Event, Gone, Said, TurnEnded
from tests.conftest import ended
from tests.scripted_model import codex_config

MARK = "CODESTRATOR_TEST_MARK"
Kind = TypeVar("Kind")


def real_codex() -> str:
    """The path of the Codex binary; without it the test is skipped."""
    found = pytest.importorskip(
        "codex_cli_bin", reason="needs the real Codex: pip install 'codestrator[codex]' (360 MB)"
    )
    return str(found.bundled_codex_path())


def need_sandbox(codex: str) -> None:
    """Codex's sandbox needs namespaces, which not every machine gives."""
    done = subprocess.run([codex, "sandbox", "--", "true"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        pytest.skip(f"codex sandbox cannot run here: {done.stderr[-200:]}")


def codex_home(place: Path, url: str, silent_ms: int = 20000) -> dict[str, str]:
    """A home of Codex's own whose model is the scripted one; the environment that names it and marks all below it."""
    home = place / "codex"
    home.mkdir()
    (home / "config.toml").write_text(codex_config(url, silent_ms=silent_ms), encoding="utf-8")
    return {"CODEX_HOME": str(home), "SCRIPTED_KEY": "none", MARK: os.urandom(6).hex()}


class Ears:
    """The events of an agent, in the order they came; `wire` holds what went to and fro."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.heard: list[Event] = []
        self.wire: list[str] = []

    def until(self, kind: type[Kind], seconds: float = 60) -> Kind:
        """The next event of a kind."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self.events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind.__name__} within {seconds} s after {self.heard[-20:]}") from None
            self.heard.append(event)
            if isinstance(event, kind):
                return event

    def until_said(self, words: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while words not in (said := self.until(Said, end - time.monotonic()).text):
            pass
        return said

    def rest(self) -> list[Event]:
        """What has come meanwhile."""
        while not self.events.empty():
            self.heard.append(self.events.get())
        return self.heard

    @property
    def said(self) -> str:
        return "\n".join(event.text for event in self.rest() if isinstance(event, Said))

    def ends(self) -> list[Event]:
        return [event for event in self.rest() if isinstance(event, TurnEnded | Gone)]


def settings_for(ears: Ears, program: list[str], folder: Path, environment: dict[str, str]) -> AgentSettings:
    return AgentSettings(program=program, folder=folder, environment=environment, log=ears.wire.append)


def marked(mark: str, *, named: str = "") -> list[int]:
    """The living processes that carry the mark in their environment and the name in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            carries = f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0")
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if carries and words and named.encode() in words:
            found.append(int(place.name))
    return found


def all_ended(mark: str, seconds: float = 5) -> bool:
    """Whether all that carries the mark dies within so long, with what it starts meanwhile."""
    end = time.monotonic() + seconds
    while left := marked(mark):
        if not all(ended(pid, max(0.0, end - time.monotonic())) for pid in left):
            return False
    return True


def kill_codex(mark: str) -> None:
    """Kill the program itself, and not its keeper."""
    (keeper,) = marked(mark, named="keeper.py")
    below = Path(f"/proc/{keeper}/task/{keeper}/children").read_text(encoding="ascii").split()
    os.kill(int(below[0]), signal.SIGKILL)
