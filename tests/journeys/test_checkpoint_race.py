"""Eight processes record checkpoints at once: each is kept in the state and in the notes."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from codestrator.records import Checkpoint
from tests.actors import Actor
from tests.conftest import git

# RACE_ROUNDS=200 is the long proof.
PROCESSES, ROUNDS = 8, int(os.environ.get("RACE_ROUNDS", "80"))
SECONDS = 540


def work(folder: str, number: int) -> None:
    actor = Actor(Path(folder))
    actor.open(user_request=f"work {number}")
    for count in range(ROUNDS):
        actor("work.checkpoint", summary=f"{number}/{count}")
    actor.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_checkpoint_is_lost_from_state_or_notes(repo: Path) -> None:
    first = Actor(repo)
    first("workspace.init")
    context = multiprocessing.get_context("spawn")
    agents = [context.Process(target=work, args=(str(repo), number)) for number in range(PROCESSES)]
    try:
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.join(SECONDS)
    finally:
        for agent in agents:
            agent.kill() if agent.is_alive() else None
    assert [agent.exitcode for agent in agents] == [0] * PROCESSES
    made = [one for one in first.world.store.read().all(Checkpoint) if one.event == "manual"]
    expected = {f"{number}/{count}" for number in range(PROCESSES) for count in range(ROUNDS)}
    assert {one.summary for one in made} == expected
    assert len(made) == len(expected)
    head = git("rev-parse", "HEAD", at=repo)
    lines = git("notes", "--ref=codestrator", "show", head, at=repo).splitlines()
    assert {one.id for one in made} <= {json.loads(line)["cp"] for line in lines if line}
    git("fsck", "--no-dangling", "--no-progress", at=repo)
    first.close()
