"""The gate lets writers through one at a time, in the order in which they came."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from codestrator.store.gate import PLACES, Gate, Line

SECONDS = 20.0
IN_LINE = """
import sys, os, time
from pathlib import Path
from codestrator.store.gate import Gate
with Gate(Path(sys.argv[1]), 30)() as held:
    print(held, flush=True)
"""


def number(gate: Path) -> int:
    """How many have ever stood in line."""
    try:
        return int.from_bytes((gate.with_name("queue") / "tail").read_bytes(), "little")
    except FileNotFoundError:
        return 0


def until(met: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < end, what
        threading.Event().wait(0.001)


@contextmanager
def waiting(gate: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that stands in line."""
    before = number(gate)
    process = subprocess.Popen([sys.executable, "-c", IN_LINE, str(gate)], stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: number(gate) > before, "it does not come")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_who_came_first_passes_first_though_the_holder_comes_again_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    passed: list[str] = []

    def pass_by(name: str) -> None:
        with Gate(path, SECONDS)() as held:
            assert held
            passed.append(name)

    gate = Gate(path, SECONDS)
    threads = []
    with gate() as held:
        assert held
        for name in "abcdefgh":
            threads.append(threading.Thread(target=pass_by, args=(name,)))
            threads[-1].start()
            until(lambda: number(path) > len(threads), f"{name} does not come")
    with gate() as held:
        assert held
        passed.append("the holder")
    for one in threads:
        one.join()
    assert passed == [*"abcdefgh", "the holder"]


def test_one_that_is_killed_in_line_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    with ExitStack() as holding, ExitStack() as others:
        holding.enter_context(Gate(path, SECONDS)())
        first, second = (others.enter_context(waiting(path)) for _ in range(2))
        first.kill()
        first.wait()
        holding.close()
        assert second.stdout and second.stdout.readline() == "True\n"


def test_one_that_is_stopped_in_line_is_passed_after_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    gate = Gate(path, SECONDS)
    with gate(), waiting(path) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        patient = Line(tmp_path / "queue", 0.05)
        place = patient.enter()
        assert place is not None  # before its turn, because the one before does not move
        os.close(place)


def test_a_full_line_or_none_at_all_leaves_the_gate_as_it_is(tmp_path: Path) -> None:
    line = Line(tmp_path / "queue", 0.001)
    places = [line.enter() for _ in range(PLACES)]
    assert None not in places
    assert line.enter() is None
    with Gate(tmp_path / "gate", SECONDS)() as held:
        assert held
    for one in places:
        assert one is not None
        os.close(one)
    found: list[int] = []

    def stands() -> bool:  # who gave up in the line may still be about to leave it
        found.extend(place for place in [line.enter()] if place is not None)
        return bool(found)

    until(stands, "there is room in the line again")
    os.close(found[0])


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100])
def test_a_number_that_is_none_is_a_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "tail").write_bytes(content)
    gate = Gate(tmp_path / "gate", SECONDS)
    for _ in range(3):
        with gate() as held:
            assert held
