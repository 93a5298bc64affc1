"""Signs of life: a lock ends with its process, however that ends, and with nothing else."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from codestrator.world import LocalWorld, open_world
from tests.actors import SteeredClock

NAME = "ses-7k2m9q4d1x"
HOLD = """
import subprocess, sys
from pathlib import Path
from codestrator.world import open_world
world = open_world(Path(sys.argv[1]))
print(world.live.take(sys.argv[2]), flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Holder:
    """Another process that has taken a lock, and does what it is told."""

    def __init__(self, repo: Path, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(repo), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.took = self._answer() == "True"

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def do(self, line: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answers = [self._answer()]
        while answers[-1] not in ("done", ""):
            answers.append(self._answer())
        return answers[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def holder(repo: Path, name: str = NAME) -> Iterator[Holder]:
    one = Holder(repo, name)
    try:
        yield one
    finally:
        one.kill()
        assert one.process.stdin and one.process.stdout
        one.process.stdout.close()
        one.process.stdin.close()


@pytest.fixture
def second(repo: Path) -> Iterator[LocalWorld]:
    """Another world in this process: the kernel tells its descriptors apart as it does those of two processes."""
    opened = open_world(repo)
    yield opened
    opened.close()


def test_looking_creates_nothing(world: LocalWorld) -> None:
    assert world.live.beat(NAME) is None
    assert not world.live.held(NAME)
    assert not (world.common_dir / "codestrator" / "live" / NAME).exists()


def test_a_lock_taken_is_held_for_all_and_mine_for_one(world: LocalWorld, second: LocalWorld) -> None:
    assert world.live.take(NAME)
    assert world.live.take(NAME)
    assert world.live.mine(NAME) and world.live.held(NAME)
    assert second.live.held(NAME) and not second.live.mine(NAME)
    assert not second.live.take(NAME)


def test_another_process_cannot_take_what_is_held(world: LocalWorld, repo: Path) -> None:
    assert world.live.take(NAME)
    with holder(repo) as other:
        assert not other.took


def test_of_several_processes_that_want_it_one_gets_it(repo: Path) -> None:
    with ExitStack() as stack:
        ask = "import sys\nfrom pathlib import Path\nfrom codestrator.world import open_world\n"
        ask += "world = open_world(Path(sys.argv[1])); print(flush=True); input()\n"
        ask += "print(world.live.take(sys.argv[2]), flush=True); input()\n"
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", ask, str(repo), NAME],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdin and racer.stdout and racer.stdout.readline() == "\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("\n")
            racer.stdin.flush()
        took = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
        for racer in racers:
            racer.communicate("\n", timeout=60)
    assert sorted(took) == ["False", "False", "False", "True"]


def test_looking_never_keeps_anybody_from_taking(world: LocalWorld, second: LocalWorld) -> None:
    world.live.renew(NAME)
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            second.live.held(NAME)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(200):
            assert world.live.take(NAME)
            world.live.leave(NAME)
            world.live.renew(NAME)
    finally:
        over.set()
        looker.join()


def test_the_lock_ends_with_kill_nine_and_the_beat_stays(world: LocalWorld, repo: Path) -> None:
    with holder(repo) as other:
        assert other.took and world.live.held(NAME)
        other.kill()
        assert not world.live.held(NAME)
        beat = world.live.beat(NAME)
        assert beat and beat.pid == other.process.pid
        assert world.live.take(NAME)


@pytest.mark.parametrize(
    "start",
    [
        "child = subprocess.Popen(['sleep', '60'], close_fds=False); print(child.pid)",
        "import os, signal; r, w = os.pipe(); pid = os.fork() or os.write(w, b'.') and signal.pause(); "
        "os.read(r, 1); print(pid)",  # once the child runs: until then it holds what its parent held
    ],
    ids=["exec", "fork"],
)
def test_a_child_process_does_not_inherit_the_lock(world: LocalWorld, repo: Path, start: str) -> None:
    with holder(repo) as other:
        pid = int(other.do(start))
        try:
            assert world.live.held(NAME)
            other.kill()
            assert not world.live.held(NAME)
        finally:
            os.kill(pid, signal.SIGKILL)


def test_renewing_keeps_the_locked_file(world: LocalWorld, second: LocalWorld, clock: SteeredClock) -> None:
    world.live.take(NAME)
    place = world.common_dir / "codestrator" / "live" / NAME
    before, inode = world.live.beat(NAME), place.stat().st_ino
    clock.advance(20)
    world.live.renew(NAME, ttl_seconds=60)
    after = second.live.beat(NAME)
    assert before and after and after.boot_ms - before.boot_ms >= 20_000
    assert after.ttl_seconds == 60
    assert place.stat().st_ino == inode and second.live.held(NAME)


def test_a_beat_without_a_lock_is_read_by_others(world: LocalWorld, second: LocalWorld) -> None:
    world.live.renew(NAME)
    beat = second.live.beat(NAME)
    assert beat and beat.boot_id == world.now().boot_id
    assert not second.live.held(NAME)


def test_leaving_removes_the_file_and_frees_the_name(world: LocalWorld, second: LocalWorld) -> None:
    world.live.take(NAME)
    world.live.leave(NAME)
    assert world.live.beat(NAME) is None and not second.live.held(NAME)
    assert second.live.take(NAME)


def test_leaving_what_another_holds_changes_nothing(world: LocalWorld, second: LocalWorld) -> None:
    world.live.take(NAME)
    second.live.leave(NAME)
    assert world.live.beat(NAME) is not None
    assert second.live.held(NAME)


def test_a_lock_on_a_file_that_was_removed_is_not_taken_for_the_name(world: LocalWorld, second: LocalWorld) -> None:
    world.live.take(NAME)
    (world.common_dir / "codestrator" / "live" / NAME).unlink()
    assert second.live.take(NAME)
    assert second.live.held(NAME)


def test_renewing_after_the_folder_was_wiped_takes_the_lock_again(world: LocalWorld, second: LocalWorld) -> None:
    world.live.take(NAME)
    place = world.common_dir / "codestrator" / "live" / NAME
    place.unlink()
    place.parent.rmdir()
    world.live.renew(NAME)
    assert second.live.held(NAME) and not second.live.take(NAME)
    place.unlink()
    assert second.live.take(NAME)
    world.live.renew(NAME)
    assert not world.live.mine(NAME)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"boot_id": 1, "boot_ms": 2, "at": ""}', b'{"boot_id": "x"}', b"\xff\xfe"]
)
def test_a_damaged_live_file_is_no_sign_of_life(world: LocalWorld, content: bytes) -> None:
    world.live.renew(NAME)
    (world.common_dir / "codestrator" / "live" / NAME).write_bytes(content)
    assert world.live.beat(NAME) is None
    assert world.live.take(NAME) and world.live.beat(NAME) is not None


@pytest.mark.parametrize("name", ["../escape", "", "a/b", ".hidden", "x\0y"])
def test_a_name_cannot_leave_the_folder(world: LocalWorld, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a live file"):
        world.live.take(name)


def test_closing_gives_every_lock_back(world: LocalWorld, repo: Path) -> None:
    one = open_world(repo)
    one.live.take(NAME)
    one.live.take("thr-7k2m9q4d1x")
    one.close()
    assert not world.live.held(NAME) and not world.live.held("thr-7k2m9q4d1x")


def test_a_process_is_told_from_another_by_its_start(world: LocalWorld, repo: Path) -> None:
    pid, started = world.process_identity()
    assert pid == os.getpid()
    assert world.process_alive(pid, started)
    assert not world.process_alive(pid, "another start")
    with holder(repo) as other:
        print_it = "pid, at = world.process_identity(); print(f'{pid} {at}')"
        number, start = other.do(print_it).split(" ", 1)
        assert world.process_alive(int(number), start)
        other.kill()
        assert not world.process_alive(int(number), start)
    assert not world.process_alive(0, "")
