"""The doctor: looks at everything that can be wrong, on damaged state too, and repairs what is safe to repair."""

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow
from codestrator.errors import CodestratorError, InvalidParams
from codestrator.methods.doctor.checks import BY_ID, CHECKS, Check
from codestrator.methods.doctor.look import ASKED, NAMED, Item, Look, error
from codestrator.params import Params, Short
from codestrator.store.documents import OF_DOCUMENTS

KEPT = "refs/codestrator/rescue/doctor/"
BACKED_UP = (*OF_DOCUMENTS, "refs/notes/codestrator")


class Examine(Params, frozen=True, kw_only=True):
    fix: Annotated[bool, Meta(description="repair what is safe to repair")] = False
    checks: Annotated[tuple[Short, ...], Meta(description=f"only these of: {', '.join(BY_ID)}")] = ()
    dry_run: Annotated[bool, Meta(description="with fix: only say what would be repaired")] = False


def check(flow: Flow, want: Examine) -> dict[str, Any]:
    """Look for everything that can be wrong, on damaged state too; with `fix` repair what is safe to repair.

    Without `fix` nothing is written. With it the tips as they were are kept under `backup_ref` first; no worktree,
    branch or snapshot is ever removed, and a damaged document is left, with the command that shows its last good
    version. What would be repaired has `fixed` false with `dry_run`.
    """
    for one in want.checks:
        if one not in BY_ID:
            raise InvalidParams(
                f"'checks' has '{one[:80]}', expected some of {', '.join(BY_ID)}",
                hint="Leave it out for all of them.",
                field="checks",
                found=one[:80],
                expected=list(BY_ID),
            )
    examination = _Examination(flow, want)
    with examination.look.sound.only_looking():
        return examination.result()


class _Examination:
    """One call: the checks one after another, each with its repairs, so that the next one sees what they did."""

    def __init__(self, flow: Flow, want: Examine) -> None:
        self.look = Look(flow, ASKED if want.checks else NAMED)
        self._want = want
        self._op = flow.op
        self._backup: str | None = None

    def result(self) -> dict[str, Any]:
        items = [one for check in CHECKS for one in self._made(check)]
        return {
            "healthy": not any(one["severity"] == "error" and not one.get("fixed") for one in items),
            "digest": self.look.sound.tree(OF_DOCUMENTS[0]),
            "items": items,
            "count": len(items),
            "backup_ref": self._backup,
        }

    def _made(self, check: Check) -> list[dict[str, Any]]:
        if self._want.checks and check.id not in self._want.checks:
            return []
        self.look.refresh()
        return [self._treated(check, one) for one in list(self._found(check))]

    def _found(self, check: Check) -> Iterator[Item]:
        try:
            if not check.state or self.look.readable:
                yield from check.run(self.look)
        except Exception as problem:  # whatever is wrong here, the other checks are made all the same
            said = problem.message if isinstance(problem, CodestratorError) else f"{type(problem).__name__}: {problem}"
            yield error(f"this check failed: {said[:300]}", "what it looks for is not known", _again(check))

    def _treated(self, check: Check, item: Item) -> dict[str, Any]:
        shown = {"id": check.id, "severity": item.severity, "finding": item.finding}
        shown |= {name: said for name, said in (("consequence", item.consequence), ("fix", item.fix)) if said}
        if item.repair is None or not self._want.fix:
            return shown
        if self._want.dry_run:
            return shown | {"fixed": False}
        try:
            self._keep()
            return shown | {"fixed": item.repair()}
        except Exception as problem:  # one repair that fails is told, and keeps no other from being made
            said = problem.message if isinstance(problem, CodestratorError) else f"{type(problem).__name__}: {problem}"
            return shown | {"fixed": False, "finding": f"{item.finding}; repairing it failed: {said[:300]}"}

    def _keep(self) -> None:
        """Before the first repair: the tips as they are, those that git can read."""
        if self._backup is not None:
            return
        for ref in BACKED_UP:
            sound = self.look.sound
            tip = sound.tip(ref)
            if tip is not None and (sound.whole(ref, tip) if ref in OF_DOCUMENTS else sound.readable(tip)):
                sound.keep(f"{KEPT}{self._op}/{ref.rpartition('/')[2]}", tip)
        self._backup = KEPT + self._op


def _again(check: Check) -> str:
    return f"git codestrator doctor --checks {check.id} --json"
