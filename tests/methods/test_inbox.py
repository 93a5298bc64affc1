"""Messages between the threads of one session."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import Forbidden, InvalidParams, NotFound, WrongState
from codestrator.records import Thread
from codestrator.store.transaction import Stamp
from tests.actors import Actor, unchanged


@pytest.fixture
def child(root: Actor, actor: Callable[..., Actor], repo: Path) -> Actor:
    return make_child(root, actor, repo, "thr-0000000001")


def make_child(root: Actor, actor: Callable[..., Actor], repo: Path, thread_id: str, status: str = "running") -> Actor:
    """A worker's thread, as a spawn would record it, and its process."""
    thread = Thread(
        id=thread_id,
        session_id=root.session,
        role="worker",
        title="Worker",
        machine=root.world.settings.machine,
        status=status,  # type: ignore[arg-type]
        parent_thread_id=root.thread,
    )
    stamp = Stamp("thread.child.spawn", "op-0000000001", "root", root.session, None, root.world.settings.machine)
    root.world.store.transact(lambda tx: tx.put(thread), stamp=stamp)
    one = actor("child", folder=repo, session_id=root.session, thread_id=thread_id, role="worker")
    one.session, one.thread = root.session, thread_id
    return one


def test_a_message_reaches_its_receiver_and_no_other(root: Actor, child: Actor) -> None:
    sent = root("inbox.send", receiver_thread_id=child.thread, message="keep the cookie name")["message"]
    assert (sent["status"], sent["sender_thread_id"]) == ("pending", root.thread)
    (got,) = child("inbox.pending")["items"]
    assert got == {
        "id": sent["id"],
        "sender": root.thread,
        "text": "keep the cookie name",
        "created_at": sent["created_at"],
    }
    assert root("inbox.pending")["items"] == []


def test_root_is_understood_as_receiver(root: Actor, child: Actor) -> None:
    child("inbox.send", receiver_thread_id="root", message="which cookie?")
    assert [one["text"] for one in root("inbox.pending")["items"]] == ["which cookie?"]


def test_the_beginning_of_a_receivers_id_is_enough(root: Actor, child: Actor) -> None:
    sent = root("inbox.send", receiver_thread_id="thr-00000", message="x")["message"]
    assert sent["receiver_thread_id"] == child.thread


def test_looking_marks_nothing_and_delivering_marks_once(root: Actor, child: Actor) -> None:
    sent = root("inbox.send", receiver_thread_id=child.thread, message="x")["message"]
    with unchanged(root):
        child("inbox.pending")
    first = child("inbox.deliver", message_id=sent["id"])["message"]
    assert first["status"] == "delivered"
    with unchanged(root):
        assert root("inbox.deliver", message_id=sent["id"])["message"]["delivered_at"] == first["delivered_at"]
    assert child("inbox.pending")["count"] == 0
    assert child("inbox.list", status="delivered")["count"] == 1


def test_messages_come_oldest_first_and_after_a_mark(root: Actor, child: Actor) -> None:
    sent = [
        root("inbox.send", receiver_thread_id=child.thread, message=f"m{number}")["message"]["id"]
        for number in range(4)
    ]
    assert [one["text"] for one in child("inbox.pending")["items"]] == ["m0", "m1", "m2", "m3"]
    assert [one["text"] for one in child("inbox.pending", after_id=sent[1])["items"]] == ["m2", "m3"]
    page = child("inbox.pending", limit=3)
    assert [one["text"] for one in child("inbox.pending", limit=3, cursor=page["next_cursor"])["items"]] == ["m3"]
    assert root("inbox.list")["count"] == 4


def test_a_wait_ends_with_the_message(root: Actor, child: Actor) -> None:
    got: list[dict[str, object]] = []
    call = threading.Thread(target=lambda: got.append(child("inbox.pending", wait_seconds=30)), daemon=True)
    call.start()
    root("inbox.send", receiver_thread_id=child.thread, message="now")
    call.join(20)
    assert got[0]["count"] == 1
    assert "timed_out" not in got[0]


def test_a_wait_without_message_is_an_answer(child: Actor) -> None:
    assert child("inbox.pending", wait_seconds=1) == {"items": [], "count": 0, "timed_out": True}


def test_a_child_writes_to_the_root_or_its_parent_only(
    root: Actor, child: Actor, actor: Callable[..., Actor], repo: Path
) -> None:
    sibling = make_child(root, actor, repo, "thr-0000000002")
    with unchanged(root), pytest.raises(Forbidden):
        child("inbox.send", receiver_thread_id=sibling.thread, message="x")
    assert root("inbox.send", receiver_thread_id=sibling.thread, message="x")


def test_another_session_is_out_of_reach(root: Actor, other: Actor, child: Actor) -> None:
    for sender in (root, child):
        with unchanged(root), pytest.raises(Forbidden):
            sender("inbox.send", receiver_thread_id=other.thread, message="x")
    with unchanged(root), pytest.raises(Forbidden):
        other("inbox.pending", receiver_thread_id=child.thread)
    sent = root("inbox.send", receiver_thread_id=child.thread, message="x")["message"]
    with unchanged(root), pytest.raises(Forbidden):
        other("inbox.deliver", message_id=sent["id"])


def test_a_child_reads_and_marks_only_its_own(
    root: Actor, child: Actor, actor: Callable[..., Actor], repo: Path
) -> None:
    sibling = make_child(root, actor, repo, "thr-0000000002")
    sent = root("inbox.send", receiver_thread_id=child.thread, message="x")["message"]
    with unchanged(root), pytest.raises(Forbidden):
        sibling("inbox.list", thread_id=child.thread)
    with unchanged(root), pytest.raises(Forbidden):
        sibling("inbox.deliver", message_id=sent["id"])
    with unchanged(root), pytest.raises(Forbidden):
        child("inbox.send", sender_thread_id=root.thread, receiver_thread_id="root", message="x")


def test_an_ended_thread_receives_nothing(root: Actor, actor: Callable[..., Actor], repo: Path) -> None:
    ended = make_child(root, actor, repo, "thr-0000000003", "completed")
    with unchanged(root), pytest.raises(WrongState):
        root("inbox.send", receiver_thread_id=ended.thread, message="x")


def test_a_message_to_oneself_an_unknown_or_nobody_is_refused(root: Actor) -> None:
    for receiver, error in (("root", InvalidParams), ("thr-zzzzzzzzzz", NotFound), ("ses-1", InvalidParams)):
        with unchanged(root), pytest.raises(error):
            root("inbox.send", receiver_thread_id=receiver, message="x")
    with unchanged(root), pytest.raises(InvalidParams):
        root("inbox.send", receiver_thread_id="root", message="   ")


def test_a_keyed_message_is_sent_once(root: Actor, child: Actor) -> None:
    given = {"receiver_thread_id": child.thread, "message": "x", "idempotency_key": "k"}
    first = root("inbox.send", **given)
    again = root("inbox.send", **given)
    assert again["message"]["id"] == first["message"]["id"]
    assert again["repeated"] is True
    assert child("inbox.pending")["count"] == 1
