"""Draws README's pictures of a report: `python -m tests.report_picture` writes fixtures/report*.png.

A day of a small shop is played by real calls with the clock put back; the page is the command's own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.actors import Actor, SteeredClock
from tests.edges.pages import Browser, chromium
from tests.methods.crew import make
from tests.picture import FIXTURES

DESK, PHONE, DARK = (1120, 1980), (390, 1500), (1120, 1500)
IN_THE_DARK = "--blink-settings=preferredColorScheme=0"
HOUR = 3600
PASS = {"exit_status": 0, "duration_seconds": 2.5}


def draw() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "shop"
        for words in (["init", "-q", "-b", "main", str(repo)],
                      ["-C", str(repo), "config", "user.name", "Demo"],
                      ["-C", str(repo), "config", "user.email", "demo@example.org"],
                      ["-C", str(repo), "commit", "-q", "--allow-empty", "-m", "a small shop"]):  # fmt: skip
            subprocess.run(["git", *words], check=True)
        clock = SteeredClock()
        clock.advance(-2.5 * HOUR)
        actors = Actor(repo, clock=clock), Actor(repo, clock=clock), Actor(repo, clock=clock)
        try:
            _day(*actors, clock)
            place = Path(folder) / "page.html"
            words = [sys.executable, "-m", "codestrator", "report", "-o", str(place)]
            subprocess.run(words, cwd=repo, check=True)
        finally:
            for one in actors:
                one.close()
        browser = Browser(chromium(), Path(folder))
        (FIXTURES / "report.png").write_bytes(browser.shot(place, *DESK))
        (FIXTURES / "report-phone.png").write_bytes(browser.shot(place, *PHONE))
        (FIXTURES / "report-dark.png").write_bytes(browser.shot(place, *DARK, IN_THE_DARK))


def _day(login: Actor, invoices: Actor, search: Actor, clock: SteeredClock) -> None:
    """One session lands, one waits for an answer, one is in the queue."""
    login("workspace.init")
    _logs_in(login, clock)
    clock.advance(0.2 * HOUR)
    epic = _searches(search, clock)
    _bills(invoices, epic, clock)
    clock.advance(-clock.ahead)


def _logs_in(actor: Actor, clock: SteeredClock) -> None:
    actor.open(user_request="Fix the login timeout", heartbeat_timeout_seconds=HOUR)
    feature = make(actor, "feature", "Session survives a refresh", parent_id=make(actor, "epic", "Login"))
    _lock(actor, "prefix", "src/login")
    titles, steps = ("Refresh keeps the cookie", "An expired cookie asks again"), ("write the test", "make it pass")
    for case in [_case(actor, title, feature, *steps) for title in titles]:
        _work(actor, clock, case)
    head = _commit(actor, "login.py")
    actor("merge.request", feature_task_id=feature)
    actor("merge.main.request", auto_review=False)
    actor("merge.main.acquire_lock")
    clock.advance(200)
    actor("merge.review.verdict", verdict="approve", head=head, summary="all criteria met")
    actor("merge.main.land")


def _bills(actor: Actor, epic: str, clock: SteeredClock) -> None:
    actor.open(user_request="Add invoices", heartbeat_timeout_seconds=HOUR)
    feature = make(actor, "feature", "Invoices", parent_id=epic)
    for kind, path in (("file", "src/invoices/tax.py"), ("prefix", "src/invoices/pdf")):
        _lock(actor, kind, path)
    case = _case(actor, "Tax is added", feature, "write it", "round it", "name it")
    _case(actor, "Discounts are taken off", feature, "percent", "fixed", depends_on=[case])
    actor("case.begin", case_id=case)
    clock.advance(0.4 * HOUR)
    actor("step.check", step_id=f"{case}.1", result="pass", evidence=PASS | {"command": "pytest -q tests/test_tax.py"})
    clock.advance(0.2 * HOUR)
    actor("step.check", step_id=f"{case}.2", result="blocked", evidence={"note": "Half a cent: up, or to even?"})


def _searches(actor: Actor, clock: SteeredClock) -> str:
    actor.open(user_request="Search by colour", heartbeat_timeout_seconds=HOUR)
    epic = make(actor, "epic", "Shop")
    feature = make(actor, "feature", "Search", parent_id=epic)
    _lock(actor, "prefix", "src/search")
    case, _ = (_case(actor, title, feature, "index", "query") for title in ("By colour", "By size"))
    _work(actor, clock, case)
    _commit(actor, "search.py")
    actor("merge.request", feature_task_id=feature)
    actor("merge.main.request", auto_review=False)
    return epic


def _lock(actor: Actor, kind: str, path: str) -> None:
    actor("lock.acquire", scope_type=kind, scope_path=path, ttl_seconds=HOUR)


def _case(actor: Actor, title: str, feature: str, *steps: str, **given: Any) -> str:
    return make(actor, "case", title, parent_id=feature, steps=list(steps), **given)


def _work(actor: Actor, clock: SteeredClock, case: str) -> None:
    """Both of its steps, to its end."""
    actor("case.begin", case_id=case)
    for number in (1, 2):
        clock.advance(0.25 * HOUR)
        actor("step.check", step_id=f"{case}.{number}", result="pass", evidence=PASS | {"command": "pytest -q"})
    actor("case.complete", case_id=case, summary="done")


def _commit(actor: Actor, name: str) -> str:
    (actor.path / name).write_text("made = True\n", encoding="utf-8")
    for words in (["add", "."], ["commit", "-q", "-m", name]):
        subprocess.run(["git", *words], cwd=actor.path, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=actor.path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    draw()
