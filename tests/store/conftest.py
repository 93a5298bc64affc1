"""A store with state, on the repository of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.store import Store
from tests.store.kit import store_of


@pytest.fixture
def store(repo: Path) -> Iterator[Store]:
    one = store_of(repo)
    one.initialise()
    yield one
    one.close()
