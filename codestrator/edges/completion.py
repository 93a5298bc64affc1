"""What a shell is offered for the word under its cursor. The scripts of `share/` ask, and show what is answered.

They run the program with `COMPLETE` set to the shell's name and the words of the line as arguments, the last one as
far as it is typed. A line of the answer is `plain`, a value and what it is, between tabs; or `file` or `dir`, which
the shell completes by itself. Nothing is written, and nothing is told of what goes wrong: a person is typing.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.edges.context import Context

if TYPE_CHECKING:
    import click

VARIABLE = "_GIT_CODESTRATOR_COMPLETE"
FILES = {
    "bash": "bash-completion/completions/git-codestrator",
    "zsh": "zsh/site-functions/_git-codestrator",
    "fish": "fish/vendor_completions.d/git-codestrator.fish",
}


def script(shell: str) -> str:
    """The script of a shell, from beside an installed package or from the repository that it runs in."""
    here = Path(__file__).parents[1]
    folder = here / "share"
    return ((folder if folder.is_dir() else here.parent / "share") / FILES[shell]).read_text(encoding="utf-8")


def answer(program: "click.Group", context: Context, name: str, words: Sequence[str]) -> int:
    """Print what may stand where the last of the words stands; the exit status."""
    context.looking = True
    try:
        lines = offered(program, context, name, os.environ[VARIABLE], list(words))
    except Exception:
        return 1
    finally:
        context.close()
    os.write(1, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    return 0


def offered(program: "click.Group", context: Context, name: str, shell: str, words: list[str]) -> list[str]:
    """The lines of the answer."""
    from click.shell_completion import ShellComplete

    if shell == "bash":  # it hands over words as they are typed, and `=` as a word of its own
        ends_in_equals = words[-1:] == ["="]
        words = [_unquoted(word) for word in words if word != "="] + ([""] if ends_in_equals else [])
    *before, last = words or [""]
    head = last[: last.find("=") + 1] if shell != "bash" and last.startswith("--") else ""
    found = ShellComplete(program, {"obj": context}, name, VARIABLE).get_completions(before, last)
    plain = (f"plain\t{head}{one.value}\t{one.help or ''}" for one in found if one.type == "plain")
    return [*plain, *dict.fromkeys(one.type for one in found if one.type != "plain")]


def _unquoted(word: str) -> str:
    from click.shell_completion import split_arg_string

    return " ".join(split_arg_string(word))
