"""The verb `doctor`: looks at everything, repairs with --fix, and says by its exit status what is left."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from codestrator.edges import derived, values
from codestrator.edges.context import Context

METHOD = "doctor.check"
FAILED, DAMAGED = 1, 7
# The checks that look at what the state itself consists of.
OF_THE_STATE = ("state", "journal", "documents")


class Check(values.Offered):
    """A check; which there are is told by the parameter of the method."""

    name = "check"

    def known(self, context: Context, start: str) -> Iterator[tuple[str, str]]:
        from codestrator import registry

        (told,) = (shape.description for shape in registry.shapes(METHOD) if shape.name == "checks")
        yield from ((word, "check") for word in told.partition(": ")[2].split(", ") if word.startswith(start))


class Doctor(derived.Noun):
    """`doctor` makes the checks; `doctor check` is the method with all of its parameters."""

    def __init__(self, answer: derived.Answer) -> None:
        super().__init__(("doctor",), answer)
        self.bare = METHOD
        self.no_args_is_help, self.invoke_without_command = False, True
        self.params = [
            click.Option(["--fix"], is_flag=True, help="Repair what is safe to repair."),
            click.Option(["--dry-run"], is_flag=True, help="With --fix: only say what would be repaired."),
            click.Option(["--checks"], multiple=True, metavar="ID", type=Check(), help="Only this check; repeatable."),
            *derived.common(),
        ]
        self.help = self.short_help = "Look for everything that can be wrong; exits 7 for damaged state, 1 for errors."


def status(result: Mapping[str, Any]) -> int:
    """The exit status: 0 where no error is left."""
    left = {one["id"] for one in result["items"] if one["severity"] == "error" and not one.get("fixed")}
    return DAMAGED if left & set(OF_THE_STATE) else FAILED if left else 0
