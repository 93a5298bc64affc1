"""Finds the Codex that a command means: the native program, for only with it all that it starts ends with it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

DEFAULT = "codex"
# The package that brings the program from PyPI.
BUNDLE = "codex_cli_bin"
_SYSTEMS = {"linux": ("linux", "unknown-linux-musl"), "darwin": ("darwin", "apple-darwin")}
_MACHINES = {"x86_64": ("x64", "x86_64"), "amd64": ("x64", "x86_64"), "arm64": ("arm64", "aarch64")} | {
    "aarch64": ("arm64", "aarch64")
}


def native_program(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command, its first word replaced by the native program behind it where there is one.

    The plain word `codex` means the program of the package `openai-codex-cli-bin` if that is installed. The wrapper of
    the npm package stands for the program of its platform's package. All else is left as it is.
    """
    first, *rest = command
    if first == DEFAULT and (bundled := _bundled()):
        return [bundled, *rest]
    place = shutil.which(first, path=environment.get("PATH"))
    return [_behind(Path(place).resolve()) if place else first, *rest]


def _bundled() -> str | None:
    if find_spec(BUNDLE) is None:
        return None
    try:
        return str(import_module(BUNDLE).bundled_codex_path())
    except (OSError, AttributeError):  # installed in part
        return None


def _behind(program: Path) -> str:
    """What npm's wrapper would start, looked for where Node looks for modules."""
    if program.name == "codex.js":
        for place in _places(program.parent.parent):
            if place.is_file() and os.access(place, os.X_OK):
                return str(place)
    return str(program)


def _places(package: Path) -> Iterator[Path]:
    if sys.platform not in _SYSTEMS or platform.machine().lower() not in _MACHINES:
        return
    (system, target), (short, long) = _SYSTEMS[sys.platform], _MACHINES[platform.machine().lower()]
    inside = Path("vendor") / f"{long}-{target}"
    for folder in (package, *package.parents):
        yield folder / "node_modules" / "@openai" / f"codex-{system}-{short}" / inside / "bin" / "codex"
    for older in ("bin", "codex"):
        yield package / inside / older / "codex"
