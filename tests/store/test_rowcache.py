"""What was read or written once need not be read again by the next process; and never is a cache believed too much."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.ids import mint
from codestrator.records import Task
from codestrator.store.store import Store
from tests.store.kit import put, task

Opener = Callable[..., Store]
MANY = 200


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The ids of the objects that are read, in order."""
    from codestrator.store.objects import Objects

    found: list[bytes] = []
    raw = Objects.raw

    def watched(self: Objects, oid: bytes) -> bytes:
        found.append(oid)
        return raw(self, oid)

    monkeypatch.setattr(Objects, "raw", watched)
    return found


def titles(store: Store) -> set[str]:
    return {row.title for row in store.read().rows(Task)}


def test_a_bulk_of_documents_is_not_read_again_by_the_next_process(
    repo: Path, opened: Opener, reads: list[bytes]
) -> None:
    first = opened(repo)
    first.initialise()
    put(first, *(task(f"t{number}") for number in range(MANY)))
    first.close()
    reads.clear()
    second = opened(repo)
    assert titles(second) == {f"t{number}" for number in range(MANY)}
    trees = 1 + 16 + 256
    assert len(reads) <= trees


def test_what_the_bulk_did_not_touch_stays_in_the_cache(repo: Path, opened: Opener, reads: list[bytes]) -> None:
    first = opened(repo)
    first.initialise()
    put(first, *(task(f"t{number}") for number in range(MANY)))
    second = opened(repo)
    put(second, *(task(f"u{number}", id=mint("epic")) for number in range(70)))
    reads.clear()
    third = opened(repo)
    assert len(titles(third)) == MANY + 70
    assert len(reads) <= 1 + 16 + 256


def test_a_damaged_cache_is_an_empty_one(repo: Path, opened: Opener) -> None:
    first = opened(repo)
    first.initialise()
    put(first, *(task(f"t{number}") for number in range(MANY)))
    (place,) = (repo / ".git" / "codestrator" / "cache").glob("rows-*")
    raw = place.read_bytes()
    for broken in (b"", raw[:100], raw[:4] + b"x" + raw[5:], b"\0" * len(raw)):
        place.write_bytes(broken)
        assert len(titles(opened(repo))) == MANY
