"""What agents on Codex share: which program is run, with which settings, and which errors are there to stay."""

import os
import platform
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import pytest

from codestrator.runner import codex
from codestrator.runner.agent import AgentSettings
from codestrator.world.codex import BUNDLE, native_program

TARGETS = {
    ("linux", "x86_64"): ("codex-linux-x64", "x86_64-unknown-linux-musl"),
    ("linux", "aarch64"): ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
    ("darwin", "x86_64"): ("codex-darwin-x64", "x86_64-apple-darwin"),
    ("darwin", "arm64"): ("codex-darwin-arm64", "aarch64-apple-darwin"),
}


def executable(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("#!/bin/sh\n", encoding="utf-8")
    place.chmod(0o755)
    return place


@pytest.fixture
def wrapper(tmp_path: Path) -> Callable[..., Path]:
    """npm's global installation: a link to the wrapper on the path, and the native program if that is asked for."""

    def install(native: bool = True) -> Path:
        modules = tmp_path / "lib" / "node_modules"
        script = executable(modules / "@openai" / "codex" / "bin" / "codex.js")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "codex-npm").symlink_to(script)
        package, target = TARGETS[sys.platform, platform.machine()]
        inner = modules / "@openai" / "codex" / "node_modules" / "@openai" / package
        return executable(inner / "vendor" / target / "bin" / "codex") if native else script

    return install


def test_npms_wrapper_stands_for_the_native_program(wrapper: Callable[..., Path], tmp_path: Path) -> None:
    native = wrapper()
    found = native_program(["codex-npm", "--profile", "work"], {"PATH": str(tmp_path / "bin")})
    assert found == [str(native), "--profile", "work"]


def test_a_wrapper_without_its_platform_is_run_itself(wrapper: Callable[..., Path], tmp_path: Path) -> None:
    script = wrapper(native=False)
    assert native_program(["codex-npm"], {"PATH": str(tmp_path / "bin")}) == [str(script)]


def test_another_program_stays_what_it_is(tmp_path: Path) -> None:
    place = executable(tmp_path / "my-codex")
    assert native_program([str(place), "x"], {}) == [str(place), "x"]
    assert native_program(["no-such-program"], {"PATH": str(tmp_path)}) == ["no-such-program"]


def test_the_plain_word_means_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = module_from_spec(ModuleSpec(BUNDLE, None))
    monkeypatch.setattr(bundle, "bundled_codex_path", lambda: Path("/there/codex"), raising=False)
    monkeypatch.setitem(sys.modules, BUNDLE, bundle)
    assert native_program(["codex", "-p", "x"], {}) == ["/there/codex", "-p", "x"]
    assert native_program(["./codex"], {}) != ["/there/codex"]


def words_of(settings: AgentSettings) -> dict[str, object]:
    """The overrides as Codex reads them: each a line of TOML."""
    words = codex.overrides(settings)
    assert words[::2] == ["-c"] * (len(words) // 2)
    read: dict[str, object] = {}
    for word in words[1::2]:
        key, _, value = word.partition("=")
        read[key] = tomllib.loads(f"x={value}")["x"]
    return read


def test_the_childs_settings_are_toml_whatever_is_in_a_path() -> None:
    hostile = '/tmp/a "b" \\ \x7f ü😀 $(x)\n'
    settings = AgentSettings(
        program=["codex"],
        folder=Path(hostile),
        environment={"CODESTRATOR_THREAD_FILE": "f", "GIT_CONFIG_GLOBAL": "g", "OPENAI_API_KEY": "secret"},
        writable_roots=[hostile],
        mcp_command=["python", "-m", hostile],
        override={"effort": "high"},
    )
    read = words_of(settings)
    assert read["sandbox_workspace_write.writable_roots"] == [hostile]
    assert read["sandbox_mode"] == "workspace-write" and read["approval_policy"] == "never"
    assert read["model_reasoning_effort"] == "high" and "model" not in read
    server = read["mcp_servers.codestrator"]
    assert isinstance(server, dict)
    assert (server["command"], server["args"], server["cwd"]) == ("python", ["-m", hostile], hostile)
    assert server["required"] is True and server["enabled"] is True
    assert (server["startup_timeout_sec"], server["tool_timeout_sec"]) == (60, 120)
    assert server["env_vars"] == ["CODESTRATOR_THREAD_FILE", "GIT_CONFIG_GLOBAL"]


def test_no_more_is_set_than_the_child_needs() -> None:
    settings = AgentSettings(program=["codex"], folder=Path("/"), environment={}, override={"notify": ["evil"]})
    assert set(words_of(settings)) == {"approval_policy", "sandbox_mode", "sandbox_workspace_write.writable_roots"}


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        ({"codexErrorInfo": "usageLimitExceeded"}, True),
        ({"codexErrorInfo": "contextWindowExceeded"}, True),
        ({"codexErrorInfo": "sandboxError"}, True),
        ({"codexErrorInfo": "rateLimitExceeded"}, False),
        ({"codexErrorInfo": {"httpConnectionFailed": {"httpStatusCode": 401}}}, True),
        ({"codexErrorInfo": {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}}, False),
        ({"codexErrorInfo": {"activeTurnNotSteerable": {"turnKind": "review"}}}, False),
        ({"codexErrorInfo": "other", "message": '{"error": {"message": "unknown model"}}'}, True),
        ({"codexErrorInfo": "other", "message": "the wind blew"}, False),
        ({"codexErrorInfo": "heardOfLater", "message": "x"}, False),
        ({"codexErrorInfo": None, "message": "exceeded retry limit, last status: 429 Too Many Requests"}, False),
        ({"message": "unexpected status 403 Forbidden: no"}, True),
        ({"message": "You've hit your usage limit."}, True),
        ({"message": "{broken"}, False),
        ({}, False),
    ],
)
def test_an_error_lasts_or_passes(error: dict[str, object], lasting: bool) -> None:
    assert codex.lasting(error) is lasting


def test_a_refusal_of_the_models_server_is_shown_in_its_words() -> None:
    assert codex.readable('{"error": {"message": "unknown model", "code": 5}}') == "unknown model"
    assert codex.readable('{"error": 5}') == '{"error": 5}' and codex.readable("plain") == "plain"


def test_an_agent_does_not_hear_of_the_runners_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from codestrator.runner.program import surroundings

    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    assert "TMUX" not in surroundings({}) and surroundings({"A": "b"})["A"] == "b"
    assert surroundings({})["PATH"] == os.environ["PATH"]
