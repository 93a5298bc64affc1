"""Waiting ends with the first change, with its time, or when the call is cancelled; never later."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.ids import mint
from codestrator.records import Message
from codestrator.store.documents import STATE
from codestrator.store.transaction import Stamp
from codestrator.world import LocalWorld, open_world


def change(world: LocalWorld) -> None:
    """Publish one document."""
    message = Message(
        id=mint("msg"),
        sender_thread_id="thr-0",
        receiver_thread_id="thr-1",
        session_id="ses-0",
        text="x",
        status="pending",
    )
    stamp = Stamp("inbox.send", mint("op"), "test", None, None, world.settings.machine)
    world.store.transact(lambda tx: tx.put(message), stamp=stamp)


@pytest.fixture
def writer(repo: Path) -> Iterator[LocalWorld]:
    """Another world on the same repository."""
    opened = open_world(repo)
    yield opened
    opened.close()


def test_a_wait_without_change_ends_with_its_time(world: LocalWorld) -> None:
    start = time.monotonic()
    assert not world.wait_for_change(0.1)
    assert 0.1 <= time.monotonic() - start < 5


def test_no_time_is_no_wait(world: LocalWorld) -> None:
    assert not world.wait_for_change(0)
    assert list(world.waiting(0)) == []


def test_a_change_by_another_ends_the_wait(world: LocalWorld, writer: LocalWorld) -> None:
    start = time.monotonic()
    later = threading.Timer(0.2, change, (writer,))
    later.start()
    assert world.wait_for_change(30)
    assert time.monotonic() - start < 10
    later.join()


def test_a_change_made_before_the_wait_began_is_not_missed(world: LocalWorld, writer: LocalWorld) -> None:
    before = world.store.tips()
    change(writer)
    assert world.wait_for_change(0, before)
    assert not world.wait_for_change(0)


def test_a_cancelled_call_stops_waiting_and_no_other_does(world: LocalWorld, writer: LocalWorld) -> None:
    cancelled, start = threading.Event(), time.monotonic()
    mine, others = world.for_call(cancelled), world.for_call(threading.Event())
    threading.Timer(0.1, cancelled.set).start()
    assert not mine.wait_for_change(30)
    assert list(mine.waiting(30)) == []
    assert time.monotonic() - start < 10
    threading.Timer(0.1, change, (writer,)).start()
    assert others.wait_for_change(30)


def test_looks_come_again_at_once_after_each_change(world: LocalWorld) -> None:
    cancelled = threading.Event()
    left: list[float] = []
    for one in world.for_call(cancelled).waiting(40):
        left.append(one)
        if len(left) < 20:
            change(world)
        else:
            cancelled.set()
    assert len(left) == 20 and left == sorted(left, reverse=True)
    assert left[0] - left[-1] < 15  # without a change the rest between two looks is a second


def test_the_last_look_is_within_the_time(world: LocalWorld) -> None:
    left = list(world.waiting(0.3))
    assert len(left) == 1 and 0 < left[0] <= 0.3


def test_a_change_during_a_look_is_not_slept_over(world: LocalWorld, writer: LocalWorld) -> None:
    looks = world.waiting(30)
    next(looks)
    change(writer)
    start = time.monotonic()
    next(looks)
    assert time.monotonic() - start < 0.9  # the rest between two looks is up to a second


def test_a_move_that_leaves_the_ref_s_file_looking_untouched_is_noticed_all_the_same(
    world: LocalWorld, writer: LocalWorld
) -> None:
    """As on a disk that keeps times in whole seconds: two moves later the file is the one it was."""
    before, place = world.store.tips(), world.common_dir / STATE
    old = place.stat()

    def unseen() -> None:
        change(writer)
        change(writer)
        os.utime(place, ns=(old.st_atime_ns, old.st_mtime_ns))
        assert (place.stat().st_ino, place.stat().st_size) == (old.st_ino, old.st_size)

    later, start = threading.Timer(0.2, unseen), time.monotonic()
    later.start()
    assert world.wait_for_change(30, before)
    assert time.monotonic() - start < 10
    later.join()


def test_calls_of_one_process_share_locks_and_store(world: LocalWorld) -> None:
    one = world.for_call(threading.Event())
    assert one.live.take("ses-7k2m9q4d1x")
    assert world.live.mine("ses-7k2m9q4d1x")
    assert (one.store, one.notes, one.settings) == (world.store, world.notes, world.settings)


def test_a_closed_world_has_written_its_notes(repo: Path) -> None:
    from tests.conftest import git

    world = open_world(repo)
    world.store.initialise()
    world.notes.add(git("rev-parse", "HEAD", at=repo), {"case": "case-7k2m9q4d1x"})
    world.close()
    assert "case-7k2m9q4d1x" in git("notes", "--ref=codestrator", "show", at=repo)
