"""Actors on one repository."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.actors import Actor, SteeredClock


@pytest.fixture
def clock() -> SteeredClock:
    return SteeredClock()


@pytest.fixture
def actor(repo: Path, clock: SteeredClock) -> Iterator[Callable[..., Actor]]:
    """Make actors of any kind; they end with the test."""
    made: list[Actor] = []

    def make(kind: str = "root", folder: Path = repo, **seat: object) -> Actor:
        made.append(Actor(folder, kind=kind, clock=clock, **seat))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def root(actor: Callable[..., Actor]) -> Actor:
    """A root process with an open session."""
    one = actor()
    one("workspace.init")
    one.open()
    return one


@pytest.fixture
def other(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A second root process in the same repository, with a session of its own."""
    one = actor()
    one.open(user_request="Add invoices")
    return one


@pytest.fixture
def operator(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A person at a command line who works for the root's session."""
    return actor("operator", session_id=root.session)
