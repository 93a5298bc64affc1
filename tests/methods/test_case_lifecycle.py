"""Any sequence of calls keeps to the lifecycle of a case: a small model says what each call must do."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codestrator.errors import Conflict, Forbidden, Refused, StaleFence, WrongState
from codestrator.methods.tasks import derived
from tests.actors import Actor, SteeredClock, everything

CASES = 3
STEPS = ("first", "second")
AFTER = {"pass": "done", "fail": "failed", "skip": "skipped", "blocked": "blocked"}
WHO = st.sampled_from([0, 1])
CASE = st.integers(0, CASES - 1)


class Expected:
    """One case as the model sees it."""

    def __init__(self) -> None:
        self.status = "todo"
        self.owner: int | None = None
        self.fence = 0
        self.had: set[int] = set()
        self.steps = dict.fromkeys(STEPS, "todo")


class CaseLifecycle(RuleBasedStateMachine):
    """Two sessions on one repository; the second case waits for the first."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SteeredClock()
        repo = Path(self.folder.name) / "shop"
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
        subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "first"], cwd=repo, check=True)
        self.actors = [Actor(repo, clock=self.clock), Actor(repo, clock=self.clock)]
        self.actors[0]("workspace.init")
        for one in self.actors:
            one.open()
        top = self.actors[0]("task.create", level="feature", title="top")["task"]["id"]
        self.feature: str = top
        self.ids: list[str] = []
        self.cases = [Expected() for _ in range(CASES)]
        self.attempts: dict[tuple[int, str], int] = {}
        for number in range(CASES):
            depends_on = [self.ids[0]] if number == 1 else []
            made = self.actors[0](
                "task.create", level="case", title="c", parent_id=top, steps=list(STEPS), depends_on=depends_on
            )
            self.ids.append(made["task"]["id"])

    def teardown(self) -> None:
        if hasattr(self, "actors"):
            for one in self.actors:
                one.close()
            self.folder.cleanup()

    def attempt(self, who: int, error: type[Refused] | None, method: str, **given: Any) -> dict[str, Any] | None:
        """Make the call: it succeeds, or is refused with exactly this error and changes nothing."""
        before = everything(Path(self.actors[who].world.repo))
        try:
            found = self.actors[who](method, **given)
        except Refused as refusal:
            assert type(refusal) is error, f"{method}: {refusal}, expected {error}"
            assert everything(Path(self.actors[who].world.repo)) == before
            return None
        assert error is None, f"{method} was to be refused with {error}"
        return found

    def busy(self, who: int, but: int) -> bool:
        return any(
            case.owner == who and case.status in ("in_progress", "blocked") and number != but
            for number, case in enumerate(self.cases)
        )

    def refusal_to_begin(self, who: int, number: int, reopen: bool) -> type[Refused] | None:
        case = self.cases[number]
        active = case.status in ("in_progress", "blocked")
        if active and case.owner == who:
            return None
        if active:
            return Conflict
        if case.status != ("done" if reopen else "todo"):
            return WrongState
        waits = number == 1 and self.cases[0].status != "done"
        return WrongState if waits or self.busy(who, number) else None

    @rule(who=WHO, number=CASE, reopen=st.booleans())
    def case_begin(self, who: int, number: int, reopen: bool) -> None:
        case = self.cases[number]
        error = self.refusal_to_begin(who, number, reopen)
        if self.attempt(who, error, "case.begin", case_id=self.ids[number], reopen=reopen) is not None:
            if case.status in ("todo", "done"):
                case.fence += 1
            case.status, case.owner = "in_progress", who
            case.had.add(who)

    def refusal_of_owner(self, who: int, case: Expected, states: tuple[str, ...]) -> type[Refused] | None:
        if case.status not in states:
            return WrongState
        if case.owner == who:
            return None
        return StaleFence if who in case.had else Forbidden

    @rule(who=WHO, number=CASE, title=st.sampled_from(STEPS), result=st.sampled_from(sorted(AFTER)))
    def step_check(self, who: int, number: int, title: str, result: str) -> None:
        case = self.cases[number]
        error = self.refusal_of_owner(who, case, ("in_progress", "blocked"))
        given = {"case_id": self.ids[number], "step_title": title, "result": result, "evidence": {"note": "n"}}
        found = self.attempt(who, error, "step.check", **given)
        if found is None:
            return
        repeated = found["step"]["attempts"] == self.attempts.get((number, title), 0)
        self.attempts[number, title] = found["step"]["attempts"]
        if repeated:
            return
        was, case.steps[title] = case.steps[title], AFTER[result]
        if result == "blocked":
            case.status = "blocked"
        elif was == "blocked" and "blocked" not in case.steps.values():
            case.status = "in_progress"

    @rule(who=WHO, number=CASE)
    def case_complete(self, who: int, number: int) -> None:
        case = self.cases[number]
        if case.status == "done" and case.owner == who:
            error = None
        else:
            error = self.refusal_of_owner(who, case, ("in_progress",))
            if error is None and not set(case.steps.values()) <= {"done", "skipped"}:
                error = WrongState
        if self.attempt(who, error, "case.complete", case_id=self.ids[number]) is not None:
            case.status = "done"

    @rule(who=WHO, number=CASE)
    def task_cancel(self, who: int, number: int) -> None:
        case = self.cases[number]
        closed = case.status in ("done", "cancelled")
        others = case.status in ("in_progress", "blocked") and case.owner != who
        error = WrongState if closed or others else None
        if self.attempt(who, error, "task.cancel", task_id=self.ids[number], reason="no") is not None:
            case.status = "cancelled"

    @rule(seconds=st.sampled_from([1, 30, 900]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def state_is_what_the_model_says(self) -> None:
        if not hasattr(self, "ids"):
            return
        for task_id, case in zip(self.ids, self.cases, strict=True):
            found = self.actors[1]("task.get", task_id=task_id)
            task = found["task"]
            assert (task["status"], {step["title"]: step["status"] for step in task["steps"]}) == (
                case.status,
                case.steps,
            )
            assert found.get("claim", {}).get("fence") == (
                case.fence if case.status in ("in_progress", "blocked") else None
            )
        parent = self.actors[0]("task.get", task_id=self.feature)["task"]["status"]
        assert parent == derived([case.status for case in self.cases])

    @invariant()
    def what_is_ready_can_be_begun(self) -> None:
        if not hasattr(self, "ids"):
            return
        ready = {item["task"]["id"] for item in self.actors[0]("task.ready")["items"]}
        free = {
            self.ids[number]
            for number, case in enumerate(self.cases)
            if case.status == "todo" and not (number == 1 and self.cases[0].status != "done")
        }
        assert ready == free


CaseLifecycle.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCaseLifecycle = CaseLifecycle.TestCase
