"""The brief keeps within its budget, whatever the state holds."""

import random
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from codestrator import ids, text
from codestrator.model import Document
from codestrator.records import Checkpoint, Directive, Lease, Message, Task, Thread
from codestrator.records.work import Evidence, Step
from codestrator.store.transaction import Stamp
from tests.actors import Actor
from tests.methods import crew
from tests.methods.test_landing import work

WORDS = ("x", "refresh the cookie ", "ü€—", "\u6f22\u5b57 ", "\U0001f511", '"quoted" \\ ', "a\n\tb ", "{}[],:")
WHEN = "2026-05-04T09:30:00.000Z"


class States:
    """Random documents of one session, always under the same few ids, so that each state differs from the last."""

    def __init__(self, root: Actor, seed: int) -> None:
        self.root = root
        self.draw = random.Random(seed)
        self.tasks = [ids.mint("case") for _ in range(8)]
        self.epic = crew.make(root, "epic", "Shop")
        self.feature = crew.make(root, "feature", "Login", parent_id=self.epic)
        self.threads = [crew.record(root).id for _ in range(6)]
        self.others = {kind: [ids.mint(kind) for _ in range(10)] for kind in ("msg", "dir", "lock", "cp")}

    def words(self, most: int) -> str:
        """Up to so many bytes of text; mostly short, sometimes all of them."""
        wanted = self.draw.choice((5, 40, most // 10, most))
        return text.clean(self.draw.choice(WORDS) * wanted)[:wanted] or "x"

    def several(self, most: int) -> tuple[str, ...]:
        return tuple({self.words(60).strip() or "x" for _ in range(self.draw.choice((0, 1, most)))})

    def task(self) -> Task:
        draw = self.draw
        steps = {
            str(number): Step(
                title=self.words(200),
                order=number,
                status=draw.choice(("todo", "todo", "done", "blocked")),
                evidence=Evidence(note=self.words(2000)),
            )
            for number in range(1, draw.choice((1, 2, 3, 12)))
        }
        owner = draw.choice((self.root.thread, *self.threads))
        return Task(
            id=draw.choice(self.tasks),
            level="case",
            title=self.words(300),
            priority=draw.randrange(5),
            created_by=self.root.thread,
            session_id=self.root.session,
            status=draw.choice(("todo", "in_progress", "blocked", "blocked", "done")),
            parent_id=self.feature,
            acceptance=self.several(30),
            files=self.several(30),
            owner_session_id=self.root.session,
            owner_thread_id=owner,
            latest_checkpoint_id=draw.choice((None, *self.others["cp"])),
            steps=steps,
            step_count=len(steps),
        )

    def thread(self) -> Thread:
        draw = self.draw
        return Thread(
            id=draw.choice(self.threads),
            session_id=self.root.session,
            parent_thread_id=self.root.thread,
            role=draw.choice(("worker", "merge-reviewer")),
            title=self.words(300),
            machine=self.root.world.settings.machine,
            status=draw.choice(("running", "waiting", "waiting", "completed", "failed")),
            blocker=draw.choice((None, self.words(8000))),
            progress=self.words(8000),
            final_message=self.words(8000),
            reason=self.words(8000),
            reported_at=WHEN,
        )

    def message(self) -> Message:
        sender = self.draw.choice(self.threads)
        return Message(
            id=self.draw.choice(self.others["msg"]),
            session_id=self.root.session,
            sender_thread_id=sender,
            receiver_thread_id=self.root.thread,
            text=self.words(8000),
            status="pending",
        )

    def directive(self) -> Directive:
        return Directive(
            id=self.draw.choice(self.others["dir"]),
            thread_id=self.draw.choice(self.threads),
            text=self.words(8000),
            mode="queue",
            sender_thread_id=self.root.thread,
            expires_at="2099-05-04T09:30:00.000Z",
        )

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            id=self.draw.choice(self.others["cp"]),
            session_id=self.root.session,
            thread_id=self.root.thread,
            event="manual",
            commit="0" * 40,
            tree="0" * 40,
            dirty=False,
            summary=self.words(8000),
        )

    def lease(self) -> Lease:
        return Lease(
            id=self.draw.choice(self.others["lock"]),
            domain="paths",
            session_id=self.root.session,
            machine=self.root.world.settings.machine,
            fence=self.draw.randrange(1000, 100_000),
            ttl_seconds=86_400,
            granted_at=WHEN,
            renewed_at=WHEN,
            beat=self.root.world.now().boot_ms,
            boot_id=self.root.world.now().boot_id,
            nonce="n",
            op=ids.mint("op"),
            thread_id=self.root.thread,
            scope_type="prefix",
            scope_path=self.words(500),
        )

    def next(self) -> None:
        """Publish another state."""
        kinds: tuple[Callable[[], Document], ...] = (
            self.task, self.task, self.thread, self.thread, self.message, self.directive, self.checkpoint, self.lease
        )  # fmt: skip
        made = [self.draw.choice(kinds)() for _ in range(3)]
        stamp = Stamp("test", ids.mint("op"), "test", self.root.session, None, self.root.world.settings.machine)
        self.root.world.store.transact(
            lambda tx: [tx.put(one) for one in {one.id: one for one in made}.values()], stamp=stamp
        )


def check(found: dict[str, Any], budget: int) -> None:
    size = text.tokens(msgspec.json.encode(found).decode())
    assert size <= found["tokens"] <= budget
    assert found["session"]["id"] and found["thread"]["id"] and found["notice"] and found["next_calls"]
    told = msgspec.json.encode(found).decode()
    assert re.findall(r'"(?:case|ses|thr|lock|dir)-[0-9a-z]{0,9}[^0-9a-z]', told) == []  # no id is cut


@pytest.mark.parametrize("states", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_it_keeps_within_its_budget_in_every_state(root: Actor, actor: Callable[..., Actor], states: int) -> None:
    work(root)
    root("merge.main.request", auto_review=False)
    generated = States(root, states)
    child = actor("child", session_id=root.session, thread_id=generated.threads[0], role="worker")
    seen: dict[str, int] = {}
    for number in range(states):
        generated.next()
        budget = generated.draw.choice((300, 300, generated.draw.randint(301, 1500), 8000))
        for one in (root, child) if number % 4 == 0 else (root,):
            try:
                found = one("work.brief", token_budget=budget)
            except Exception as error:  # the child's thread is over in some states
                assert one is child and getattr(error, "code", "") in ("wrong_state", "forbidden"), error
                continue
            check(found, budget)
            for name in (*found, *found.get("omitted", ())):
                seen[name] = seen.get(name, 0) + 1
    # The states were not all alike: each part of the brief was there, and was cut where there was no room.
    parts = ("next_step", "decisions", "leases", "children", "directives", "checkpoint", "inbox", "queue", "path")
    assert [one for one in parts if not seen.get(one)] == [] and seen["omitted"] > states // 4
