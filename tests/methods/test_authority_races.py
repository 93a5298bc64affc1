"""Machines that race for locks through one server: one holder at a time, numbers that only grow."""

import os
import signal
from pathlib import Path

import pytest

from codestrator.errors import LockHeld
from tests.machines import Joins, Machine
from tests.remotes import Serve

# Each takes overlapping scopes; whoever has one makes a file that nobody else may have made.
RACER = """
import os, random, time
from codestrator.errors import Busy, LockHeld
mark, log, rounds, end = sys.argv[3], sys.argv[4], int(sys.argv[5]), time.monotonic() + float(sys.argv[6])
scopes = [("prefix", "src"), ("file", "src/a.py"), ("prefix", "src/a.py"), ("prefix", ".")]
got = 0
print("ready", flush=True); sys.stdin.readline()
while got < rounds and time.monotonic() < end:
    kind, path = random.choice(scopes)
    try:
        lock = call("lock.acquire", scope_type=kind, scope_path=path)["lock"]
    except (LockHeld, Busy):
        continue
    handle = os.open(mark, os.O_CREAT | os.O_EXCL)
    with open(log, "a") as file:
        file.write(f"{lock['fence']} {lock['session_id']}\\n")
    os.close(handle)
    os.unlink(mark)
    call("lock.release", lock_id=lock["id"])
    got += 1
world.close()
print(got, flush=True)
"""


def race(machines: list[Machine], folder: Path, rounds: int, seconds: float) -> list[int]:
    """The fences in the order in which they were granted."""
    mark, log = folder / "mark", folder / "log"
    crowd = [one.start(RACER, str(mark), str(log), str(rounds), str(seconds)) for one in machines]
    for one in crowd:
        assert one.stdout and one.stdin and one.stdout.readline() == "ready\n"
    for one in crowd:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in crowd:
        out, err = one.communicate(timeout=seconds + 60)
        assert one.returncode == 0, err
        assert int(out) > 0, err
    return [int(line.split()[0]) for line in log.read_text(encoding="ascii").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "many", "rounds"), [("http", 8, 3)])
def test_machines_that_race_hold_one_lock_at_a_time(
    serve: Serve, machine: Joins, tmp_path: Path, kind: str, many: int, rounds: int
) -> None:
    host = serve(kind)
    machines = [machine(host, authority="remote") for _ in range(many)]
    fences = race(machines, tmp_path, rounds, 120)
    assert len(fences) == many * rounds
    assert fences == sorted(set(fences))


def test_a_holder_that_was_stopped_finds_its_lock_with_another(serve: Serve, machine: Joins, tmp_path: Path) -> None:
    """SIGSTOP while it holds; the other waits on its own clock, takes over; awake, the first is refused."""
    from tests.actors import SteeredClock

    host, hers = serve(), SteeredClock()
    one, two = machine(host, authority="remote"), machine(host, clock=hers, authority="remote")
    holder = one.start(
        """
from codestrator.errors import CodestratorError
lock = call("lock.acquire", scope_type="file", scope_path="a.py", ttl_seconds=60)["lock"]
print("held", flush=True); sys.stdin.readline()
try:
    call("sync.run")
    call("lock.heartbeat", lock_id=lock["id"])
    print("renewed", flush=True)
except CodestratorError as error:
    print(error.code, flush=True)
"""
    )
    assert holder.stdout and holder.stdin and holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        two.sync()
        with pytest.raises(LockHeld):
            two("lock.acquire", scope_type="file", scope_path="a.py")
        hers.advance(70)
        assert two("lock.acquire", scope_type="file", scope_path="a.py")["granted"]
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    out, err = holder.communicate("go\n", timeout=60)
    assert out == "stale_fence\n", err
