"""`watch` where there is no screen: in pipes, at simple terminals, and how it ends."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from codestrator.edges.watch.lines import news
from tests.actors import Actor
from tests.conftest import git
from tests.edges.shell import Run, refused
from tests.store.kit import STATE

COMMAND = [sys.executable, "-m", "codestrator", "watch", "--interval", "1"]
SECONDS = 30
Watching = Callable[..., "Reader"]


class Reader:
    """Who reads what a running `watch` prints, from a pipe or at a terminal."""

    def __init__(self, repo: Path, *words: str, terminal: str = "") -> None:
        env = os.environ | ({"TERM": terminal, "COLUMNS": "80", "LINES": "24"} if terminal else {})
        self.ours, theirs = os.openpty() if terminal else os.pipe()
        said = theirs if terminal else subprocess.PIPE
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=repo,
            stdin=theirs if terminal else None,
            stdout=theirs,
            stderr=said,
            env=env,
            text=True,
        )
        os.close(theirs)
        self.read = ""

    def until(self, *words: str, times: int = 1) -> None:
        while any(self.read.count(one) < times for one in words):
            assert select.select([self.ours], [], [], SECONDS)[0], f"{words} are not in: {self.read}"
            more = os.read(self.ours, 65536)
            assert more, f"it ended: {self.read} {self.process.stderr.read() if self.process.stderr else ''}"
            self.read += more.decode("utf-8", "replace")

    def rest(self) -> tuple[int, str]:
        """Its status and what it complained of, read to its end."""
        with suppress(OSError):
            while more := os.read(self.ours, 65536):
                self.read += more.decode("utf-8", "replace")
        return self.left()

    def left(self) -> tuple[int, str]:
        said = self.process.stderr.read().strip() if self.process.stderr else ""
        return self.process.wait(SECONDS), said

    def close(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        if self.process.stderr:
            self.process.stderr.close()
        with suppress(OSError):
            os.close(self.ours)


@pytest.fixture
def watching(repo: Path) -> Iterator[Watching]:
    made: list[Reader] = []

    def start(*words: str, terminal: str = "") -> Reader:
        made.append(Reader(repo, *words, terminal=terminal))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_in_a_pipe_the_status_comes_again_when_it_says_something_else(root: Actor, watching: Watching) -> None:
    reader = watching()
    reader.until("Fix the login timeout", "Next:")
    root("task.create", level="epic", title="no news for a status")
    root("lock.acquire", scope_type="file", scope_path="src/login.py")
    reader.until("Locks:\n", "src/login.py")
    assert reader.read.count("Sessions:") == 2, "what is planned is in no status"
    assert "\x1b" not in reader.read


def test_what_only_runs_down_is_no_news() -> None:
    before = {"locks": [{"id": "lock-1", "seconds_left": 60, "lease_until": "12:00"}], "next": ["x"]}
    assert news(before) == news(
        {"locks": [{"id": "lock-1", "seconds_left": 59, "lease_until": "12:01"}], "next": ["x"]}
    )
    assert news(before) != news({"locks": [], "next": ["x"]})


def test_as_json_each_status_is_one_line(root: Actor, watching: Watching) -> None:
    reader = watching("--json")
    reader.until('"ok":true')
    root("lock.acquire", scope_type="file", scope_path="src/login.py")
    reader.until("src/login.py", "\n", times=1)
    first, second = [json.loads(line)["result"] for line in reader.read.splitlines()]
    assert first["locks"] == [] and second["locks"][0]["scope_path"] == "src/login.py"


def test_a_simple_terminal_gets_plain_lines(root: Actor, watching: Watching) -> None:
    reader = watching(terminal="dumb")
    reader.until("Sessions:", "Fix the login timeout", "Next:")
    assert "\x1b" not in reader.read


def test_who_has_read_enough_is_not_kept_waiting(root: Actor, watching: Watching) -> None:
    reader = watching()
    reader.until("Sessions:")
    os.close(reader.ours)
    assert reader.left() == (0, "")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_without_a_word(root: Actor, watching: Watching, sent: signal.Signals, status: int) -> None:
    reader = watching()
    reader.until("Next:")
    reader.process.send_signal(sent)
    assert reader.rest() == (status, "")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(
    root: Actor, watching: Watching, sent: signal.Signals, status: int
) -> None:
    reader = watching(terminal="xterm")
    reader.until("\x1b[?1049h", "Fix the login")
    assert not re.search(r"\x1b\[(?:\d+;)*3[0-7](?:;\d+)*m", reader.read), "NO_COLOR is set here"
    reader.process.send_signal(sent)
    assert reader.rest() == (status, "")
    for undone in ("\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"):  # the other screen, the cursor, the mouse
        assert undone in reader.read.rpartition("Fix the login")[2]


def test_a_terminal_that_goes_away_ends_it(root: Actor, watching: Watching) -> None:
    reader = watching(terminal="xterm")
    reader.until("Fix the login")
    os.close(reader.ours)
    reader.process.wait(SECONDS)


def test_without_a_state_it_refuses_on_a_terminal_and_in_a_pipe(run: Run, repo: Path, watching: Watching) -> None:
    assert refused(run("watch", "--json"))["code"] == "wrong_state"
    for reader in (watching(), watching(terminal="xterm")):
        status, said = reader.rest()
        assert status == 4 and "no codestrator state" in said + reader.read and "\x1b" not in reader.read
    git("init", "-q", "--object-format=sha256", "other", at=repo.parent)
    assert run("watch", at=repo.parent / "other").returncode == 2


def test_an_interval_that_makes_no_sense_is_refused(run: Run, root: Actor) -> None:
    for interval in ("0", "-1", "nan", "often"):
        assert run("watch", "--interval", interval).returncode == 2


def test_damage_meanwhile_is_told_once_and_then_it_goes_on(root: Actor, repo: Path, watching: Watching) -> None:
    reader = watching()
    reader.until("Next:")
    place = repo / ".git" / STATE
    good = place.read_bytes()
    place.write_text("damaged\n", encoding="utf-8")
    assert reader.process.stderr and "unreadable_state" in reader.process.stderr.readline()
    place.write_bytes(good)
    reader.until("Next:", times=2)
    reader.process.terminate()
    assert reader.rest()[1] == "", "once"
