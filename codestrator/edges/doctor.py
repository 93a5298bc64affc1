"""The verb `doctor`: looks at everything, repairs with --fix, and says by its exit status what is left."""

from collections.abc import Mapping
from typing import Any

import click

from codestrator.edges import derived

METHOD = "doctor.check"
FAILED, DAMAGED = 1, 7
# The checks that look at what the state itself consists of.
OF_THE_STATE = ("state", "journal", "documents")


class Doctor(derived.Noun):
    """`doctor` makes the checks; `doctor check` is the method with all of its parameters."""

    def __init__(self, answer: derived.Answer) -> None:
        super().__init__(("doctor",), answer)
        self.bare = METHOD
        self.no_args_is_help, self.invoke_without_command = False, True
        self.params = [
            click.Option(["--fix"], is_flag=True, help="Repair what is safe to repair."),
            click.Option(["--dry-run"], is_flag=True, help="With --fix: only say what would be repaired."),
            click.Option(["--checks"], multiple=True, metavar="ID", help="Only this check; may be repeated."),
            *derived.common(),
        ]
        self.help = self.short_help = "Look for everything that can be wrong; exits 7 for damaged state, 1 for errors."


def status(result: Mapping[str, Any]) -> int:
    """The exit status: 0 where no error is left."""
    left = {one["id"] for one in result["items"] if one["severity"] == "error" and not one.get("fixed")}
    return DAMAGED if left & set(OF_THE_STATE) else FAILED if left else 0
