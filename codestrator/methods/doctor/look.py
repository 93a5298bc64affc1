"""What a check is given to look at, and the form of what it finds."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

from codestrator.calls import Flow, Tx
from codestrator.store.documents import OF_DOCUMENTS, Damage

Severity = Literal["ok", "warning", "error"]
FIX = "git codestrator doctor --fix"
NAMED, ASKED = 20, 1000  # so many of one sort are told one by one: in passing, and where that check was asked for


class Item(NamedTuple):
    """One finding: what follows from it, what to call, and how it is repaired where that is safe."""

    severity: Severity
    finding: str
    consequence: str = ""
    fix: str = ""
    repair: Callable[[], bool] | None = None


Found = Iterator[Item]


class Look:
    """One repository as the checks see it; nothing is read of it before a check asks."""

    def __init__(self, flow: Flow, named: int = NAMED) -> None:
        self.named = named
        self.flow = flow
        self.world = flow.world
        self.settings = flow.settings
        from codestrator.store.soundness import Soundness

        self.sound = Soundness(flow.store)

    @cached_property
    def tx(self) -> Tx:
        """The present picture; a check asks for it only where the state can be read."""
        return self.flow.read()

    @cached_property
    def damaged(self) -> tuple[Damage, ...]:
        """What of that picture cannot be read."""
        return self.tx.base.damaged

    @property
    def readable(self) -> bool:
        """Whether there is a state, and it can be read as a whole."""
        return all(self.sound.tip(ref) and self.sound.broken(ref) is None for ref in OF_DOCUMENTS)

    def refresh(self) -> None:
        """Read anew: something was repaired."""
        self.__dict__.pop("tx", None)
        self.__dict__.pop("damaged", None)

    def git(self, *arguments: str, **how: Any) -> tuple[int, str, str]:
        return self.world.git.try_run(*arguments, **how)


def ok(finding: str) -> Item:
    return Item("ok", finding)


def warning(finding: str, consequence: str, fix: str) -> Item:
    return Item("warning", finding, consequence, fix)


def error(finding: str, consequence: str, fix: str) -> Item:
    return Item("error", finding, consequence, fix)


def mendable(severity: Severity, finding: str, consequence: str, repair: Callable[[], bool]) -> Item:
    """What `fix` repairs; the repair says whether it did."""
    return Item(severity, finding, consequence, FIX, repair)


def more(severity: Severity, finding: str, check: str) -> Item:
    """What is not named one by one, and the call that names it."""
    return Item(severity, finding, fix=f"git codestrator doctor --checks {check}")


def some(items: list[str]) -> str:
    """The first few, for a sentence."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
