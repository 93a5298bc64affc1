"""The keeper ends with its program, as its program did, and leaves nothing that the program started."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.runner.program import KEEPER
from tests.conftest import ended
from tests.runner.codexes import MARK, all_ended, marked


class Kept:
    """A keeper with a shell script as its program; `orders` is the end of the pipe that the runner would hold."""

    def __init__(self, script: str) -> None:
        self.mark = os.urandom(6).hex()
        orders, self.orders = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", KEEPER, str(orders), "sh", "-c", script],
            env=os.environ | {MARK: self.mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(orders,),
            text=True,
        )
        os.close(orders)

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def order(self, letter: bytes) -> None:
        os.write(self.orders, letter)

    def let_go(self) -> None:
        os.close(self.orders)
        self.orders = -1

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        with contextlib.suppress(OSError):
            os.close(self.orders)


@pytest.fixture
def keep() -> Iterator[type[Kept]]:
    made: list[Kept] = []

    class Closed(Kept):
        def __init__(self, script: str) -> None:
            super().__init__(script)
            made.append(self)

    yield Closed
    for one in made:
        one.close()


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_it_ends_as_its_program_did(script: str, status: int, keep: type[Kept]) -> None:
    assert keep(script).process.wait(10) == status


def test_a_program_that_cannot_be_run_is_told_as_a_shell_tells_it() -> None:
    orders, held = os.pipe()
    try:
        command = [sys.executable, "-I", "-S", KEEPER, str(orders), "/no/such/program"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, pass_fds=(orders,))
    finally:
        os.close(orders)
        os.close(held)
    assert (done.returncode, done.stderr) == (127, "/no/such/program: No such file or directory\n")


def test_the_streams_are_the_programs_alone(keep: type[Kept]) -> None:
    kept = keep("exec cat")
    assert kept.process.communicate("words\n", timeout=10) == ("words\n", "")
    assert kept.process.returncode == 0


@pytest.mark.parametrize("end", ["let go", "kill", "program"])
def test_nothing_is_left_whatever_ends_it(end: str, keep: type[Kept]) -> None:
    kept = keep("trap '' HUP; setsid sh -c 'trap \"\" TERM; echo up; sleep 300; sleep 300' & read line; kill -9 $$")
    assert kept.line() == "up"
    assert len(marked(kept.mark)) >= 3
    if end == "let go":
        kept.let_go()
    elif end == "kill":
        kept.order(b"k")
    else:
        assert kept.process.stdin
        kept.process.stdin.write("\n")
        kept.process.stdin.flush()
    assert kept.process.wait(10) < 0
    assert all_ended(kept.mark)


def test_only_orphans_are_ended_when_that_is_asked(keep: type[Kept], tmp_path: Path) -> None:
    kept = keep(f"(setsid sh -c 'echo $$ > {tmp_path}/orphan; echo up; exec sleep 300' &); read line; echo still here")
    assert kept.line() == "up"
    kept.order(b"o")
    assert ended(int((tmp_path / "orphan").read_text(encoding="ascii")))
    assert kept.process.communicate("\n", timeout=10)[0] == "still here\n"
    assert kept.process.returncode == 0


def test_an_interrupt_reaches_the_program_alone(keep: type[Kept]) -> None:
    kept = keep("trap 'echo interrupted; exit 5' INT; echo up; while :; do read line; done")
    assert kept.line() == "up"
    kept.order(b"i")
    assert kept.process.wait(10) == 5
    assert kept.line() == "interrupted"


def test_the_end_of_the_program_and_of_the_runner_may_come_together(keep: type[Kept]) -> None:
    """Both are announced at once; what was taken with the first is not waited for with the second."""
    kept = keep("echo $$; exec sleep 300")
    program = int(kept.line())
    kept.process.send_signal(signal.SIGSTOP)
    os.waitpid(kept.process.pid, os.WUNTRACED)
    os.kill(program, signal.SIGKILL)
    assert ended(program)
    kept.let_go()
    kept.process.send_signal(signal.SIGCONT)
    assert kept.process.wait(10) == -signal.SIGKILL
