"""Draws README's pictures of `watch`: `python -m tests.watch_picture` writes fixtures/watch.svg and watch-large.svg.

Three sessions of a small shop are played by real calls, two real children work in panes of a real tmux; the screen is
the command's own, at 80x24 and at 150x44.
"""

import asyncio
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from codestrator.edges.context import Context
from codestrator.edges.watch.app import Watch
from codestrator.edges.watch.looking import Looker
from codestrator.errors import LockHeld
from tests.actors import Actor, SteeredClock
from tests.methods.crew import make
from tests.methods.family import reports
from tests.picture import FIXTURES

SIZES = {"watch": (80, 24), "watch-large": (150, 44)}
HOUR = 3600
PASS = {"exit_status": 0, "duration_seconds": 2.5, "command": "pytest -q"}


def draw() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo, socket = Path(folder) / "shop", Path(folder) / "tmux"
        for words in (
            ["init", "-q", "-b", "main", str(repo)],
            ["-C", str(repo), "config", "user.name", "Demo"],
            ["-C", str(repo), "config", "user.email", "demo@example.org"],
            ["-C", str(repo), "config", "codestrator.tmuxSocket", str(socket)],
            ["-C", str(repo), "commit", "-q", "--allow-empty", "-m", "a small shop"],
        ):
            subprocess.run(["git", *words], check=True)
        clock = SteeredClock()
        clock.advance(-0.75 * HOUR)
        actors = [Actor(repo, clock=clock) for _ in range(3)]
        try:
            play(clock, *actors)
            waits = threading.Thread(target=_waits_for_a_lock, args=(actors[0],))
            waits.start()
            while not actors[1]("lock.list").get("waiters"):
                actors[1].world.wait_for_change(0.1)
            for name, size in SIZES.items():
                (FIXTURES / f"{name}.svg").write_text(asyncio.run(shot(repo, size)), encoding="utf-8")
            for one in actors[1]("lock.list", session_id=actors[1].session)["items"]:
                actors[1]("lock.release", lock_id=one["id"])
            waits.join()
        finally:
            invoices = actors[1]
            for one in invoices("thread.child.list", include_root=False)["items"]:
                invoices("thread.child.stop", thread_id=one["thread"]["id"])
            subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False, capture_output=True)
            for one in actors:
                one.close()


async def shot(repo: Path, size: tuple[int, int]) -> str:
    """The screen as it is first drawn."""
    context = Context()
    context.repo = repo
    looker = Looker(context)
    looker.first()
    app = Watch(looker, 60)
    try:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            return app.export_screenshot(title="git codestrator watch")
    finally:
        context.close()


def play(clock: SteeredClock, login: Actor, invoices: Actor, search: Actor) -> None:
    """One session waits to land, one leads two children, one asks for an answer; a lock is wanted by two."""
    login("workspace.init")
    _waits_to_land(login, clock)
    _asks(search, clock)
    _leads(invoices, clock)
    clock.advance(-clock.ahead)


def _waits_to_land(actor: Actor, clock: SteeredClock) -> None:
    actor.open(user_request="Fix the login timeout", heartbeat_timeout_seconds=HOUR)
    feature = make(actor, "feature", "Session survives a refresh", parent_id=make(actor, "epic", "Login"))
    _lock(actor, "prefix", "src/login")
    titles, steps = ("Refresh keeps the cookie", "An expired cookie asks again"), ("write the test", "make it pass")
    for case in [_case(actor, title, feature, *steps) for title in titles]:
        _work(actor, clock, case, 2)
        actor("case.complete", case_id=case, summary="done")
    (actor.path / "login.py").write_text("COOKIE = 'kept'\n", encoding="utf-8")
    for words in (["add", "."], ["commit", "-q", "-m", "login.py"]):
        subprocess.run(["git", *words], cwd=actor.path, check=True)
    actor("merge.request", feature_task_id=feature)
    actor("merge.main.request", auto_review=False)


def _asks(actor: Actor, clock: SteeredClock) -> None:
    actor.open(user_request="Search by colour", heartbeat_timeout_seconds=HOUR)
    feature = make(actor, "feature", "Search", parent_id=make(actor, "epic", "Shop"))
    for path in ("src/search", "docs"):
        _lock(actor, "prefix", path)
    case = _case(actor, "By colour", feature, "index", "query", "rank")
    _case(actor, "By size", feature, "index", "query", depends_on=[case])
    _work(actor, clock, case, 1)
    note = "Is turquoise a green or a blue?"
    actor("step.check", step_id=f"{case}.2", result="blocked", evidence={"note": note})


def _leads(actor: Actor, clock: SteeredClock) -> None:
    actor.open(user_request="Add invoices", heartbeat_timeout_seconds=HOUR)
    shop = next(one["id"] for one in actor("task.list", level="epic")["items"] if one["title"] == "Shop")
    feature = make(actor, "feature", "Invoices", parent_id=shop)
    _lock(actor, "file", "src/invoices/tax.py")
    tax = _case(actor, "Tax is added", feature, "write it", "round it", "name it")
    pdf = _case(actor, "A page to print", feature, "draw it", "number the pages")
    _case(actor, "Discounts are taken off", feature, "percent", "fixed", depends_on=[tax])
    clock.advance(-clock.ahead)
    first = _child(actor, "Tax on invoices", tax, reports(progress="rounding half a cent"), "rounding half a cent")
    second = _child(actor, "Invoice as PDF", pdf, reports(status="waiting", blocker="Letter or A4?"), "Letter or A4?")
    words = {"mode": "queue", "wait_seconds": 3}
    actor("thread.child.directive", thread_id=first, directive="Round to even, as banks do", **words)
    actor("thread.child.directive", thread_id=second, directive="A4, with a margin of 2 cm", mode="queue")


def _child(actor: Actor, title: str, case: str, says: str, words: str) -> str:
    """A child that began its case and said these words; what it is told at its prompt, it takes."""
    one = shlex.join([sys.executable, "-m", "codestrator"])
    step = f'{one} step check --step-id {case}.1 --result pass --evidence \'{{"command": "pytest -q"}}\''
    asks = "printf '> '; read -r line; exec sleep 300" if "status" not in says else "exec sleep 300"
    program = ("sh", "-c", f"{one} case begin --case-id {case} && {step} && {says}; {asks}")
    found = actor("thread.child.spawn", title=title, scope_case_ids=[case], launch_command=shlex.join(program))
    thread_id: str = found["thread"]["id"]
    end = time.monotonic() + 30
    while words not in str(actor("thread.child.list", include_root=False)["items"]):
        assert time.monotonic() < end, f"'{title}' never said {words}"
        actor.world.wait_for_change(0.1)
    return thread_id


def _waits_for_a_lock(actor: Actor) -> None:
    """Until the picture is drawn: what it waits for is then given back."""
    with suppress(LockHeld):
        actor("lock.acquire", scope_type="file", scope_path="src/invoices/tax.py", wait_seconds=50)


def _lock(actor: Actor, kind: str, path: str) -> None:
    actor("lock.acquire", scope_type=kind, scope_path=path, ttl_seconds=HOUR)


def _case(actor: Actor, title: str, feature: str, *steps: str, **given: Any) -> str:
    return make(actor, "case", title, parent_id=feature, steps=list(steps), **given)


def _work(actor: Actor, clock: SteeredClock, case: str, steps: int) -> None:
    actor("case.begin", case_id=case)
    for number in range(1, steps + 1):
        clock.advance(240)
        actor("step.check", step_id=f"{case}.{number}", result="pass", evidence=PASS)


if __name__ == "__main__":
    draw()
