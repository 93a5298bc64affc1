"""Fills a repository's state with a plan of a given size."""

from collections.abc import Callable
from pathlib import Path

from codestrator.ids import mint
from codestrator.records import Task
from codestrator.store.transaction import Stamp, Transaction
from codestrator.world import LocalWorld, open_world

CASES_A_FEATURE = 50


def stamp(subject: str = "bench.fill") -> Stamp:
    return Stamp(subject=subject, op=mint("op"), actor="bench", session=None, thread=None, machine="bench00000")


def task(level: str, title: str, parent: str | None, **fields: object) -> Task:
    prefix = {"epic": "epic", "feature": "feat", "case": "case"}[level]
    return Task(
        id=mint(prefix),
        level=level,  # type: ignore[arg-type]
        title=title,
        parent_id=parent,
        priority=0,
        created_by="thr-0000000000",
        session_id="ses-0000000000",
        status="todo",
        **fields,  # type: ignore[arg-type]
    )


def fill(folder: Path, tasks: int) -> LocalWorld:
    """A world whose state has that many tasks: one epic, features of fifty cases each."""
    world = open_world(folder)
    from codestrator import registry
    from codestrator.calls import Seat

    registry.call(world, Seat("operator"), "workspace.init", {})
    world.store.transact(plan(tasks), stamp=stamp())
    return world


def plan(tasks: int) -> Callable[[Transaction], None]:
    def act(tx: Transaction) -> None:
        epic = tx.put(task("epic", "Everything", None))
        made, feature = 1, None
        while made < tasks:
            if feature is None or made % (CASES_A_FEATURE + 1) == 0:
                feature = tx.put(task("feature", f"Feature {made}", epic.id))
            else:
                tx.put(task("case", f"Case {made}: the session survives a refresh", feature.id, files=("src/a.py",)))
            made += 1

    return act
