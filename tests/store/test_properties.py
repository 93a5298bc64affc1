"""The store behaves like a dictionary of documents, whatever the order of puts, drops, reads, packing and reopening."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from codestrator.records import Fence, Task
from codestrator.store.store import Store
from codestrator.store.transaction import Transaction
from tests.store.kit import LOCKS, STATE, git, stamp, store_of, task

TITLES = st.text(max_size=20).filter(lambda text: text.isprintable())
STATUSES = st.sampled_from(["todo", "in_progress", "done"])


class Documents(RuleBasedStateMachine):
    """Beside the store: what each operation left behind, as plain dictionaries."""

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        git(self.folder, "init", "-q")
        self.store = store_of(self.folder)
        self.store.initialise()
        self.tasks: dict[str, tuple[str, str, int]] = {}
        self.fence = 0
        self.past: list[tuple[str, dict[str, tuple[str, str, int]]]] = []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.store.close()
            git(self.folder, "fsck", "--strict")
            shutil.rmtree(self.folder)

    def act(self, act: Any) -> None:
        """One mutation, remembered if it changed the state."""
        mark = stamp()
        before = self.store.tips()
        self.store.transact(act, stamp=mark)
        if self.store.tips()[0] != before[0]:
            self.past.append((mark.op, dict(self.tasks)))

    @rule(target=ids, titles=st.lists(TITLES, min_size=1, max_size=30))
    def make(self, titles: list[str]) -> str:
        made = [task(title) for title in titles]
        self.tasks |= {one.id: (one.title, "todo", 0) for one in made}
        self.act(lambda tx: [tx.put(one) for one in made])
        return made[0].id

    @rule(document_id=ids, title=TITLES, status=STATUSES, priority=st.integers(0, 2))
    def change(self, document_id: str, title: str, status: str, priority: int) -> None:
        if document_id not in self.tasks:
            return
        self.tasks[document_id] = (title, status, priority)

        def act(tx: Transaction) -> None:
            found = tx.require(Task, document_id)
            tx.put(found.but(title=title, status=status, priority=priority))

        self.act(act)

    @rule(document_id=ids)
    def drop(self, document_id: str) -> None:
        self.tasks.pop(document_id, None)
        self.act(lambda tx: tx.drop(Task, document_id))

    @rule(document_id=ids)
    def grant(self, document_id: str) -> None:
        """Both refs in one operation."""
        if document_id not in self.tasks:
            return
        self.fence += 1
        title, status, priority = self.tasks[document_id]
        self.tasks[document_id] = (title, status, priority + 1)

        def act(tx: Transaction) -> None:
            tx.put(Fence(id="fence", value=self.fence))
            found = tx.require(Task, document_id)
            tx.put(found.but(priority=found.priority + 1))

        self.act(act)

    @rule()
    def refuse(self) -> None:
        """An act that raises after staging leaves no trace."""
        before = self.store.tips()

        def act(tx: Transaction) -> None:
            for row in list(tx.rows(Task)):
                tx.drop(Task, row.id)
            tx.put(task("never"))
            raise LookupError

        try:
            self.act(act)
        except LookupError:
            assert self.store.tips() == before

    @rule()
    def pack(self) -> None:
        self.store.maintain()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = store_of(self.folder)

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        if self.past:
            op, tasks = data.draw(st.sampled_from(self.past))
            assert told(self.store.read(at=op)) == tasks

    @invariant()
    def all_is_there(self) -> None:
        tx = self.store.read()
        assert told(tx) == self.tasks
        assert {row.id: (row.title, row.status, row.priority) for row in tx.rows(Task)} == self.tasks
        for status in ("todo", "in_progress", "done"):
            expected = {name for name, one in self.tasks.items() if one[1] == status}
            assert {row.id for row in tx.where(Task, status=status)} == expected
        fence = tx.get(Fence, "fence")
        assert (fence.value if fence else 0) == self.fence
        assert tx.damaged == ()

    @invariant()
    def every_mutation_is_one_commit(self) -> None:
        assert int(git(self.folder, "rev-list", "--count", STATE)) == len(self.past) + 1
        assert int(git(self.folder, "rev-list", "--count", LOCKS)) == self.fence + 1


def told(tx: Transaction) -> dict[str, tuple[str, str, int]]:
    return {one.id: (one.title, one.status, one.priority) for one in tx.all(Task)}


Documents.TestCase.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_store_is_a_dictionary_of_documents = Documents.TestCase


def test_another_store_sees_what_the_machine_would_see(store: Store, repo: Path) -> None:
    """A model of two stores on one repository: each sees the other's writes at its next read."""
    rival = store_of(repo)
    expected: dict[str, tuple[str, str, int]] = {}
    for number in range(20):
        one = task(f"Task {number}")
        writer, reader = (store, rival) if number % 2 else (rival, store)
        writer.transact(lambda tx, one=one: tx.put(one), stamp=stamp())  # type: ignore[misc]
        expected[one.id] = (one.title, "todo", 0)
        assert told(reader.read()) == expected
    rival.close()
