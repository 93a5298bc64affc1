"""Which kind of agent really runs: decided by what is installed and configured, told with its reason."""

import json
import queue
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

import codestrator
from codestrator import kinds
from codestrator.errors import Unsupported
from codestrator.runner.agent import AgentSettings
from codestrator.runner.kinds import make

KEY = {"OPENAI_API_KEY": "none"}
SDK = ("agents/__init__.py", "agents/mcp/server.py", "openai/__init__.py")
ASK = """
import json, sys
before = set(sys.modules)
from codestrator import kinds
found = [kinds.resolve(kinds.DEFAULT, environment) for environment in json.loads(sys.argv[1])]
print(json.dumps([found, sorted({name.partition(".")[0] for name in set(sys.modules) - before})]))
"""


class Answer(NamedTuple):
    """What each environment resolves to, and the packages that were imported to know it."""

    found: list[tuple[str, str | None]]
    imported: set[str]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What a Python that sees nothing else finds: the package itself and what its leaves need."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for package in (codestrator, msgspec):
        (folder / package.__name__).symlink_to(package.__path__[0])
    return folder


def add(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise ImportError('only to be found, never imported')\n", encoding="utf-8")


def answered(installed: Path, program: str, *arguments: str) -> str:
    """What the program prints in a Python that sees nothing but what is installed there."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        env={"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def resolved(installed: Path, *environments: dict[str, str]) -> Answer:
    found, imported = json.loads(answered(installed, ASK, json.dumps(environments)))
    return Answer([(kind, because) for kind, because in found], set(imported))


def test_without_the_sdk_the_default_becomes_the_app_server_and_says_how_to_get_it(installed: Path) -> None:
    because = "the Agents SDK is not installed: pip install 'codestrator[agents]'"
    assert resolved(installed, KEY).found == [("codex_app_server", because)]


@pytest.mark.parametrize("files", [["agents/main-worker.md"], ["agents/__init__.py", "openai/__init__.py"]])
def test_a_folder_of_the_sdks_name_is_not_the_sdk(files: list[str], installed: Path) -> None:
    add(installed, *files)
    assert resolved(installed, KEY).found[0][0] == "codex_app_server"


def test_with_sdk_and_key_the_default_stays_and_nothing_heavy_is_imported(installed: Path) -> None:
    add(installed, *SDK)
    answer = resolved(installed, KEY)
    assert answer.found == [("agents_sdk_codex_mcp", None)]
    assert "codestrator" in answer.imported
    assert answer.imported.isdisjoint({"agents", "openai", "mcp", "pydantic", "asyncio", "subprocess"})


def test_a_key_is_asked_for_unless_a_provider_is_configured(installed: Path) -> None:
    add(installed, *SDK)
    none, empty, openai, own = resolved(
        installed,
        {},
        {"OPENAI_API_KEY": " "},
        {"OPENAI_BASE_URL": "https://eu.api.openai.com/v1"},
        {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"},
    ).found
    assert own == ("agents_sdk_codex_mcp", None)
    assert none == empty == openai
    assert none[0] == "codex_app_server" and "OPENAI_API_KEY is not set" in (none[1] or "")


@pytest.mark.parametrize("kind", [kind for kind in kinds.KINDS if kind != kinds.DEFAULT])
def test_every_other_kind_is_what_it_says(kind: str) -> None:
    assert kinds.resolve(kind, {}) == (kind, None)


MAKE = """
import queue
from pathlib import Path
from codestrator.errors import External
from codestrator.runner import kinds
from codestrator.runner.agent import AgentSettings
settings = AgentSettings(program=["codex"], folder=Path(), environment={})
try:
    kinds.make("agents_sdk_codex_mcp", settings, queue.SimpleQueue())
except External as error:
    print(error.message, error.hint)
"""


def test_a_kind_whose_libraries_are_gone_says_how_to_get_them(installed: Path) -> None:
    assert "pip install 'codestrator[agents]'" in answered(installed, MAKE)


def test_an_unknown_kind_is_refused_with_those_that_are_offered(tmp_path: Path) -> None:
    settings = AgentSettings(program=["codex"], folder=tmp_path, environment={})
    for attempt in (lambda: kinds.resolve("codex", {}), lambda: make("codex", settings, queue.SimpleQueue())):
        with pytest.raises(Unsupported) as refused:
            attempt()
        assert refused.value.details == {"field": "runner_kind", "found": "codex", "offered": list(kinds.KINDS)}
