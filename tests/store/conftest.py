"""A store with state, on the repository of the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator.store.store import Store
from tests.store.kit import store_of


@pytest.fixture
def store(repo: Path) -> Iterator[Store]:
    one = store_of(repo)
    one.initialise()
    yield one
    one.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Store]]:
    """Makes stores that are closed with the test: a packing left in the background would go on beside the next one."""
    made: list[Store] = []

    def make(repo: Path, **given: Any) -> Store:
        made.append(store_of(repo, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()
