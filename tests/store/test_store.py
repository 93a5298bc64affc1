"""Reading pictures, staging, and publishing."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from codestrator import SCHEMA
from codestrator.errors import Busy, InvalidParams, NotFound, WrongState
from codestrator.ports import Contention, Move
from codestrator.records import Fence, Task
from codestrator.store.store import Store
from codestrator.store.transaction import Transaction
from tests.store.kit import (
    LOCKS,
    MACHINE,
    STATE,
    git,
    loose,
    path_of,
    plant,
    put,
    raise_priority,
    raw_of,
    refs,
    stamp,
    store_of,
    task,
)


def test_a_repository_without_state_is_refused_with_the_call_that_makes_it(repo: Path) -> None:
    store = store_of(repo)
    assert not store.initialised
    for act in (store.read, lambda: put(store, task())):
        with pytest.raises(WrongState) as told:
            act()
        assert "workspace.init" in (told.value.hint or "")
    assert refs(repo).count("\n") == 0


def test_initialising_twice_makes_nothing_the_second_time(repo: Path) -> None:
    store = store_of(repo)
    assert store.initialise()
    before = refs(repo)
    assert not store.initialise()
    assert refs(repo) == before


def test_a_document_put_is_read_by_another_store(repo: Path, store: Store) -> None:
    one = task("Détail ✓", description="x" * 1000)
    put(store, one)
    found = store_of(repo).read().require(Task, one.id)
    assert (found.title, found.description) == ("Détail ✓", "x" * 1000)
    assert (found.schema, found.rev, found.writer) == (SCHEMA, 2, MACHINE)
    assert found.created_at == found.updated_at != ""


def test_a_later_write_keeps_the_time_of_making_and_raises_rev(store: Store) -> None:
    one = task()
    put(store, one)
    first = store.read().require(Task, one.id)
    put(store, task())
    raise_priority(store, one.id)
    second = store.read().require(Task, one.id)
    assert second.created_at == first.created_at
    assert (first.rev, second.rev) == (2, 4)


def test_equal_content_stages_nothing_and_publishes_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    before, objects = refs(repo), loose(repo)
    put(store, store.read().require(Task, one.id))
    put(store, one)
    assert (refs(repo), loose(repo)) == (before, objects)


def test_the_answer_of_the_act_is_returned(store: Store) -> None:
    assert store.transact(lambda tx: tx.put(task("x")).title, stamp=stamp()) == "x"
    assert store.transact(lambda tx: 7, stamp=stamp()) == 7


def test_an_act_that_raises_publishes_nothing(repo: Path, store: Store) -> None:
    before = refs(repo)

    def act(tx: Transaction) -> None:
        tx.put(task())
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        store.transact(act, stamp=stamp())
    assert refs(repo) == before


def test_staged_documents_are_seen_in_the_same_transaction(store: Store) -> None:
    one, other = task("a"), task("b")
    put(store, one)

    def act(tx: Transaction) -> None:
        tx.put(other)
        tx.put(one.but(status="done"))
        assert tx.require(Task, other.id).title == "b"
        assert {row.id for row in tx.rows(Task)} == {one.id, other.id}
        assert [row.id for row in tx.where(Task, status="done")] == [one.id]
        assert [row.id for row in tx.where(Task, status="todo")] == [other.id]
        tx.drop(Task, one.id)
        assert tx.get(Task, one.id) is None
        assert [row.id for row in tx.rows(Task)] == [other.id]
        assert tx.where(Task, status="done") == []

    store.transact(act, stamp=stamp())
    assert [row.id for row in store.read().rows(Task)] == [other.id]


def test_dropping_what_is_not_there_stages_nothing(repo: Path, store: Store) -> None:
    before = refs(repo)
    store.transact(lambda tx: tx.drop(Task, task().id), stamp=stamp())
    assert refs(repo) == before


def test_a_document_put_and_dropped_in_one_act_was_never_there(repo: Path, store: Store) -> None:
    before = refs(repo)

    def act(tx: Transaction) -> None:
        one = tx.put(task())
        tx.drop(Task, one.id)

    store.transact(act, stamp=stamp())
    assert refs(repo) == before


def test_one_mutation_is_one_commit_with_its_operation_in_the_journal(repo: Path, store: Store) -> None:
    put(store, task(), task(), op="op-0000000001")
    newest = next(store.journal())
    assert newest.op == "op-0000000001"
    assert newest.trailers["Machine"] == MACHINE
    assert newest.subject.startswith("test.act")
    assert len(newest.documents()) == 2
    assert git(repo, "rev-list", "--count", STATE) == "2"
    assert git(repo, "rev-list", "--count", LOCKS) == "1"


def test_the_journal_tells_old_and_new_content(store: Store) -> None:
    one = task("before")
    put(store, one)
    put(store, one.but(title="after"))
    (touched,) = next(store.journal()).documents()
    assert touched.old and touched.new
    assert (touched.kind, touched.id) == ("task", one.id)
    assert [msgspec.json.decode(raw)["title"] for raw in (touched.old, touched.new)] == ["before", "after"]


def test_the_users_history_comes_first_in_git_log(repo: Path, store: Store) -> None:
    for _ in range(3):
        put(store, task())
    assert git(repo, "log", "--all", "-1", "--format=%s") == "first"
    counters = [int(one) for one in git(repo, "log", "--format=%ct", STATE).split()]
    assert counters == [4, 3, 2, 1]


def test_state_and_lock_book_are_published_together(repo: Path, store: Store) -> None:
    put(store, task(), Fence(id="fence", value=3))
    tx = store.read()
    assert tx.require(Fence, "fence").value == 3
    assert len(tx.all(Task)) == 1
    assert next(store.journal()).op == next(store.book_journal()).op != ""


@pytest.mark.parametrize("order", [("state", "locks"), ("locks", "state")])
def test_refs_move_in_the_order_asked_for_with_the_callers_first_and_last(store: Store, order: tuple[str, ...]) -> None:
    head = store.head(store.common_dir.parent)[0]
    seen: list[str] = []

    def mover(moves: Any) -> None:
        seen.extend(move.ref for move in moves if move.old != move.new)
        store.refs.move(moves)

    def act(tx: Transaction) -> None:
        tx.put(task())
        tx.put(Fence(id="fence", value=1))
        tx.also_move(Move("refs/heads/first", None, head))
        tx.also_move(Move("refs/heads/last", None, head), first=False)

    store.transact(act, stamp=stamp(), mover=mover, order=order)
    names = {"state": STATE, "locks": LOCKS}
    assert seen == ["refs/heads/first", *(names[one] for one in order), "refs/heads/last"]


def test_one_ref_that_moved_meanwhile_keeps_all_of_them_where_they_were(repo: Path, store: Store) -> None:
    before = refs(repo)
    state, locks = store.tips()
    head = git(repo, "rev-parse", "main")
    with pytest.raises(Contention):
        store.refs.move([Move(STATE, state, head), Move("refs/heads/new", None, head), Move(LOCKS, head, head)])
    assert locks != head
    assert refs(repo) == before
    assert not list((repo / ".git" / "refs").rglob("*.lock"))


def test_a_ref_that_was_only_read_is_compared_too(repo: Path, store: Store) -> None:
    rival = store_of(repo)
    runs = []

    def act(tx: Transaction) -> None:
        seen = tx.get(Fence, "fence")
        runs.append(seen.value if seen else 0)
        if len(runs) == 1:
            state, locks = rival.tips()
            commit = plant(repo, LOCKS, "fence.json", b'{"id":"fence","value":5}')
            assert (state, locks) != (state, commit)
        tx.put(task())

    store.transact(act, stamp=stamp())
    assert runs == [0, 5]


def test_the_act_runs_again_on_the_winners_picture(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    runs = []

    def act(tx: Transaction) -> None:
        found = tx.require(Task, one.id)
        runs.append(found.title)
        if len(runs) == 1:
            plant(repo, STATE, path_of(one.id), msgspec.json.encode(raw_of(repo, one.id) | {"title": "rival"}))
        tx.put(found.but(priority=9))

    store.transact(act, stamp=stamp())
    assert runs == ["Login", "rival"]
    found = store.read().require(Task, one.id)
    assert (found.title, found.priority) == ("rival", 9)


def test_losing_the_race_for_too_long_is_busy(repo: Path) -> None:
    store = store_of(repo, patience_seconds=0.05)
    store.initialise()
    before = refs(repo)
    lock = repo / ".git" / f"{STATE}.lock"
    lock.touch()
    with pytest.raises(Busy) as told:
        put(store, task())
    assert told.value.retryable
    lock.unlink()
    assert refs(repo) == before
    put(store, task())


def test_reading_at_an_operation_shows_the_state_as_it_left_it(store: Store) -> None:
    one = task("first")
    put(store, one, op="op-0000000001")
    put(store, one.but(title="second"), op="op-0000000002")
    assert store.read(at="op-0000000001").require(Task, one.id).title == "first"
    assert store.read(at="op-0000000002").require(Task, one.id).title == "second"
    assert store.read().require(Task, one.id).title == "second"


def test_an_unknown_operation_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound) as told:
        store.read(at="op-zzzzzzzzzz")
    assert told.value.details["id"] == "op-zzzzzzzzzz"


def test_a_cursor_goes_on_in_the_picture_that_it_began_in(store: Store) -> None:
    put(store, task("a"))
    cursor = store.read().state_commit
    put(store, task("b"))
    tx = store.read()
    assert len(tx.all(Task)) == 2
    assert [one.title for one in tx.as_of(cursor).all(Task)] == ["a"]


@pytest.mark.parametrize("foreign", ["main", LOCKS, "main^{tree}"])
def test_a_cursor_that_is_no_commit_of_the_state_is_refused(repo: Path, store: Store, foreign: str) -> None:
    with pytest.raises(InvalidParams):
        store.read().as_of(git(repo, "rev-parse", foreign))


@pytest.mark.parametrize("foreign", ["0" * 40, "nonsense", "", "--all", "main"])
def test_a_cursor_that_names_nothing_is_refused(store: Store, foreign: str) -> None:
    with pytest.raises(InvalidParams):
        store.read().as_of(foreign)
