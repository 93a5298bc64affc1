"""What an agent has to read: the tools within their budget, results without what nobody needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator import ids
from codestrator.model import STORAGE_ONLY
from tests.conftest import git
from tests.edges import economy
from tests.edges.wire import Wire
from tests.methods.test_worktrees import commit

# A whole session of nineteen calls, and the most that one of them may cost.
SESSION_TOKENS = 3_700
LARGEST = {"session.open": 560, "case.complete": 380, "work.brief": 380}
OTHERS = 320


@pytest.fixture
def wire(repo: Path) -> Iterator[Wire]:
    one = Wire(repo)
    yield one
    one.finish()


def test_instructions_and_tools_cost_at_most_3500_tokens(wire: Wire) -> None:
    assert economy.surface(wire) <= 3500


def names(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a result with its value, at any depth."""
    for name, one in value.items() if isinstance(value, dict) else ():
        yield name, one
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names(one)


def test_the_results_of_a_session_hold_nothing_for_storage_and_stay_small(wire: Wire, repo: Path) -> None:
    wire.start()

    def work(place: Path) -> str:
        commit(place, "login.py")
        return git("rev-parse", "HEAD", at=place)

    seen = economy.session(wire, repo, work)
    machine = next(result["machine"] for method, result in seen if method == "workspace.init")
    assert ids.kind_of(machine) == "machine"
    for method, result in seen:
        for name, value in names(result):
            assert value is not None and value != "" and name not in (*STORAGE_ONLY, "places", machine), (method, name)
        assert economy.tokens(result) <= LARGEST.get(method, OTHERS), f"{method}: {economy.tokens(result)}"
    assert sum(economy.tokens(result) for _, result in seen) <= SESSION_TOKENS
