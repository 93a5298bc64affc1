"""`git codestrator report`: the state as one HTML page, to standard output or a file of its own."""

import os
import sys
from pathlib import Path
from typing import Any

from codestrator.edges.context import Context
from codestrator.errors import External, WrongState

NAME = "codestrator-report.html"
STDOUT = "-"


def write(context: Context, output: str | None, force: bool) -> dict[str, Any] | None:
    """Write the page; what is to be told of it, or nothing where the page itself went to standard output."""
    from codestrator.edges.report.gathering import gathered
    from codestrator.edges.report.page import page

    piped = not sys.stdout.isatty() and not context.json
    place = None if output == STDOUT or (output is None and piped) else Path(output or NAME)
    if place:
        _check(place, force)  # before the work
    found = gathered(context)
    context.method = "report"
    content = page(found).encode("utf-8", "backslashreplace")
    if place is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return None
    _check(place, force)
    _put(place, content)
    return {"path": str(place), "bytes": len(content)}


def _check(place: Path, force: bool) -> None:
    """Refuse what is no file, and, unless forced, a file that is no report."""
    from codestrator.edges.report.page import MARK

    try:
        if not place.exists():
            return
        plain = place.is_file()
        ours = plain and place.open("rb").read(len(MARK)) == MARK.encode()
    except OSError as error:
        raise _failed(place, error) from None
    if ours or (plain and force):
        return
    found = "a file that is no report" if plain else "no plain file"
    raise WrongState(
        f"'{place}' is {found}, expected a report written before, or nothing",
        hint="Name another file with -o.",
        found=found,
        expected="a report, or nothing",
        path=str(place),
    )


def _put(place: Path, content: bytes) -> None:
    """Replace the file whole; what a link points to, not the link."""
    place = place.resolve()
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with aside.open("xb") as file:
            file.write(content)
        aside.replace(place)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _failed(place, error) from None


def _failed(place: Path, error: OSError) -> External:
    return External(
        f"'{place}' could not be written: {error.strerror}, expected a folder that may be written to",
        hint="Name another file with -o.",
        program="file system",
    )
