"""The plugin folder is what the program says, and the real Codex takes it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from codestrator.edges.codex import hook, plugin, shipped
from tests.conftest import git
from tests.edges.shell import PACKAGE_ROOT, Program
from tests.journeys.codex_crew import Models, ours, returned
from tests.runner.codexes import real_codex
from tests.scripted_model import UNATTENDED, codex_config, say


@pytest.mark.parametrize("path", plugin.files())
def test_a_file_of_the_plugin_is_what_the_program_says(path: str, request: pytest.FixtureRequest) -> None:
    place, content = PACKAGE_ROOT / path, plugin.files()[path]
    if request.config.getoption("--rewrite"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    assert place.read_bytes() == content, f"run: pytest {Path(__file__).name} --rewrite"


def test_nothing_else_is_in_the_plugin() -> None:
    there = [one for one in (PACKAGE_ROOT / plugin.FOLDER).rglob("*") if one.is_file()]
    assert {one.relative_to(PACKAGE_ROOT).as_posix() for one in there} == {
        one for one in plugin.files() if one.startswith(f"{plugin.FOLDER}/")
    }


@pytest.mark.codex
def test_codex_takes_the_plugin_and_works_with_its_skill_server_and_hook(
    repo: Path, sealed: Path, program: Program
) -> None:
    codex, home = real_codex(), sealed / "codex"
    home.mkdir()
    # With plugins on it would ask hosts of its own for news; here nobody answers but the model.
    alone = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    environment = os.environ | alone | {"CODEX_HOME": str(home), "SCRIPTED_KEY": "none"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [codex, *words], cwd=repo, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with Models(scripted=[ours("workspace.init"), say("it is ready")]) as model:
        config = codex_config(model.url, top=UNATTENDED).replace("plugins = false", "plugins = true")
        (home / "config.toml").write_text(config, encoding="utf-8")
        run("plugin", "marketplace", "add", str(PACKAGE_ROOT))
        run("plugin", "add", "codestrator@codestrator")
        run("exec", "--json", "-C", str(repo), "make it ready")
        assert returned(model.requests[-1], -1)["repo_path"] == str(repo)
    shown = json.dumps(model.requests[0]["input"])
    assert [name for name in shipped.ROLE_OF if f"{name}/SKILL.md" not in shown] == []
    assert git("rev-parse", "refs/codestrator/state", at=repo)
    kept = next(home.glob("plugins/cache/*/*/*/hooks/hooks.json"))
    assert json.loads(kept.read_text("utf-8"))["hooks"][hook.EVENT] == [hook.ENTRY]
