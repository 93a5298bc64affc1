"""What is declared is what is imported; and nothing heavy is imported before it is needed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import git
from tests.test_layers import imports

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {"pygit2", "msgspec", "rich", "textual", "mcp", "libtmux", "pydantic", "asyncio", "json", "secrets", "random"}
# What a package is imported as, where that is not its name.
IMPORTED_AS = {"pyyaml": {"yaml"}, "openai-agents": {"agents", "openai"}}
NEVER_FOR_A_SCREEN = {"mcp", "rich", "textual", "libtmux", "pydantic", "asyncio"}


def declared(requirements: list[str]) -> set[str]:
    return {requirement.split(";")[0].strip().partition(">")[0] for requirement in requirements}


def brought(requirements: list[str]) -> set[str]:
    """The names that packages are imported as."""
    return {name for package in declared(requirements) for name in IMPORTED_AS.get(package, {package})}


def imported(arguments: list[str], at: Path) -> set[str]:
    """The top-level modules that a run of the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "codestrator", *arguments],
        cwd=at,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return named(done.stderr)


def named(stderr: str) -> set[str]:
    """What `-X importtime` tells, as top-level names."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_the_libraries_imported_are_exactly_those_declared() -> None:
    foreign = {one.name.split(".")[0] for one in imports()} - set(sys.stdlib_module_names) - {"codestrator"}
    assert foreign == brought(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["agents"])


def test_no_library_of_the_checks_is_needed_to_run() -> None:
    extras = PROJECT["optional-dependencies"]
    assert brought(extras["dev"] + extras["codex"]).isdisjoint(one.name.split(".")[0] for one in imports())


def test_a_floor_is_stated_for_every_library() -> None:
    everything = PROJECT["dependencies"] + [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    assert [one for one in everything if ">=" not in one] == []


def test_help_imports_nothing_heavy_even_where_there_is_no_repository(tmp_path: Path) -> None:
    found = imported(["-h"], tmp_path)
    assert "click" in found
    assert found & HEAVY == set()


@pytest.mark.parametrize("verb", ["status", "next", "brief", "report"])
def test_a_screen_for_a_pipe_does_without_server_terminal_and_tmux_libraries(verb: str, repo: Path) -> None:
    for words in (["workspace", "init"], ["session", "open"]):
        subprocess.run([sys.executable, "-m", "codestrator", *words], cwd=repo, check=True, capture_output=True)
    worktree = Path(git("worktree", "list", "--porcelain", at=repo).splitlines()[-4].removeprefix("worktree "))
    found = imported([verb], worktree)
    assert "pygit2" in found
    assert found & NEVER_FOR_A_SCREEN == set()


def test_watch_in_a_pipe_does_without_server_terminal_and_tmux_libraries(repo: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "codestrator", "workspace", "init"], cwd=repo, check=True, capture_output=True
    )
    command = [sys.executable, "-X", "importtime", "-m", "codestrator", "watch"]
    with subprocess.Popen(command, cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout and watching.stderr
        assert watching.stdout.readline() == "Sessions: nothing\n"
        watching.stdout.close()  # which ends it
        found = named(watching.stderr.read())
    assert "pygit2" in found
    assert found & NEVER_FOR_A_SCREEN == set()


def test_a_hook_does_without_server_terminal_and_tmux_libraries(repo: Path) -> None:
    subprocess.run([sys.executable, "-m", "codestrator", "init"], cwd=repo, check=True, capture_output=True)
    found = imported(["hook", "--", "post-merge", "0"], repo)
    assert "pygit2" in found
    assert found & NEVER_FOR_A_SCREEN == set()
