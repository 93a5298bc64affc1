"""A long list through the library, beside the same rows from SQLite."""

import sqlite3
import time
from pathlib import Path

import msgspec

from codestrator import registry
from codestrator.calls import Seat
from codestrator.model import shown
from codestrator.records import Task
from codestrator.world import LocalWorld
from tests.bench.fill import fill
from tests.bench.measure import Row, at_most, repository

TASKS = 10_000


def task_list(folder: Path) -> list[Row]:
    """All pages of `task.list`, warm, beside the same rows from SQLite decoded in Python."""
    world = fill(repository(folder / "repo"), TASKS)
    base = sqlite3.connect(folder / "rows.sqlite")
    base.execute("create table task (id text primary key, priority int, updated_at text, body text)")
    rows = [
        (one.id, one.priority, one.updated_at, msgspec.json.encode(shown(one)).decode())
        for one in world.store.read().all(Task)
    ]
    base.executemany("insert into task values (?, ?, ?, ?)", rows)
    base.execute("create index sorted on task (priority desc, updated_at, id)")
    base.commit()
    ours, theirs = [], []
    for _ in range(7):
        begun = time.perf_counter()
        assert _ours(world) == TASKS
        ours.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        assert _theirs(base) == TASKS
        theirs.append((time.perf_counter() - begun) * 1000)
    world.close()
    return [at_most("task.list of 10,000 tasks, all pages", min(ours), min(theirs), 1.5)]


def _ours(world: LocalWorld) -> int:
    seat, found = Seat("operator"), 0
    more: dict[str, object] = {}
    while True:
        page = registry.call(world, seat, "task.list", {"limit": 1000} | more)
        found += int(page["count"])
        if "next_cursor" not in page:
            return found
        more = {"cursor": page["next_cursor"]}


def _theirs(base: sqlite3.Connection) -> int:
    found = 0
    for start in range(0, TASKS, 1000):
        wanted = base.execute(
            "select body from task order by priority desc, updated_at, id limit 1000 offset ?", (start,)
        )
        found += len([msgspec.json.decode(body) for (body,) in wanted])
    return found
