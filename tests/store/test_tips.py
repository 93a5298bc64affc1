"""Recent tips: where the refs were lately, and what they are good for."""

from pathlib import Path

import pytest

from codestrator.errors import UnreadableState
from codestrator.records import Task
from codestrator.store.store import Store
from codestrator.store.tips import KEPT, Tip, Tips
from tests.store.kit import LOCKS, STATE, git, put, store_of, task


def test_every_publish_is_noted_in_the_recent_tips(repo: Path, store: Store) -> None:
    put(store, task())
    put(store, task())
    tips = store.recent.recent()
    assert (tips[0].state, tips[0].locks) == store.tips()
    assert tips[1].state == git(repo, "rev-parse", f"{STATE}~1")


def test_only_the_last_fifty_tips_are_told_and_the_file_stays_small(tmp_path: Path) -> None:
    tips = Tips(tmp_path / "private" / "tips")
    for number in range(500):
        tips.note(Tip("2026-05-04T09:30:00.000Z", f"{number:040x}", "0" * 40))
    found = tips.recent()
    assert [int(tip.state, 16) for tip in found] == list(range(499, 499 - KEPT, -1))
    assert (tmp_path / "private" / "tips").stat().st_size < 20_000


def test_a_broken_line_of_the_recent_tips_is_passed_over(tmp_path: Path) -> None:
    tips = Tips(tmp_path / "tips")
    tips.note(Tip("2026-05-04T09:30:00.000Z", "a" * 40, "b" * 40))
    with (tmp_path / "tips").open("ab") as file:
        file.write(b"2026-05-04T09:30:00.000Z aaaa\n\xff\xfe\n")
    tips.note(Tip("2026-05-04T09:31:00.000Z", "c" * 40, "d" * 40))
    assert [tip.state[0] for tip in tips.recent()] == ["c", "a"]


@pytest.mark.parametrize("ref", [STATE, LOCKS])
def test_a_vanished_ref_is_told_and_never_made_anew(repo: Path, store: Store, ref: str) -> None:
    put(store, task())
    last = git(repo, "rev-parse", ref)
    git(repo, "update-ref", "-d", ref)
    fresh = store_of(repo)
    for act in (fresh.read, fresh.initialise):
        with pytest.raises(UnreadableState) as told:
            act()
        assert told.value.details["last_seen"] == last
    git(repo, "update-ref", ref, last)
    assert len(fresh.read().all(Task)) == 1
