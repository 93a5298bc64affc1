"""Every kind of damage is found and named, and repaired or left with a next step that works; nothing else changes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator.methods.doctor.checks import BY_ID, CHECKS
from codestrator.methods.doctor.look import FIX
from tests.actors import SteeredClock
from tests.methods.damages import DAMAGES, Damage
from tests.methods.ward import Ward, ward

# What a shell says of a command that is not there, and this program of one that it does not understand.
NO_COMMAND = (126, 127, 129)
# Checks that no repository of a test can fail, without a machine that lacks what the tests need.
OF_THE_MACHINE = {"git", "tmux", "codex"}


@pytest.fixture(autouse=True)
def no_codex(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed: what the real program thinks of a folder is not asked here."""
    monkeypatch.setitem(sys.modules, "codex_cli_bin", None)


@pytest.fixture
def sick(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, clock: SteeredClock) -> Iterator[Ward]:
    made = ward(tmp_path, clock, tmp_path_factory.mktemp("ward"))
    yield made
    for one in made.processes:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_and_repaired_or_left_with_a_next_step(sick: Ward, name: str) -> None:
    kind = DAMAGES[name]
    kind.make(sick)
    before = sick.content()
    found, plan = sick.doctor(), sick.doctor(fix=True, dry_run=True)
    assert sick.content() == before
    for told, fixed in ((found, None), (plan, False)):
        named = about(told, kind)
        assert named and all(one["severity"] == kind.severity for one in named), told["items"]
        assert all((one["fix"] == FIX) is kind.repaired for one in named)
        assert all(one.get("fixed") is (fixed if kind.repaired else None) for one in named)
        assert told["healthy"] is not any(one["severity"] == "error" for one in told["items"])
        assert "backup_ref" not in told
    repair(sick, name)
    for one in about(found, kind):
        assert kind.repaired or is_there(one["fix"], sick.repo)


def about(told: dict[str, Any], kind: Damage) -> list[dict[str, Any]]:
    """What is told of that damage."""
    return [one for one in told["items"] if one["id"] == kind.check and kind.says in one["finding"]]


def repair(sick: Ward, name: str) -> None:
    """With `fix`: what is safe is repaired after the tips were kept, and the second time there is nothing to do."""
    kind, branches = DAMAGES[name], sick.git("for-each-ref", "refs/heads")
    done = sick.doctor(fix=True)
    treated = [one for one in done["items"] if "fixed" in one]
    assert all(one["fixed"] for one in treated), treated
    assert ("backup_ref" in done) is bool(treated)
    assert kind.repaired is bool([one for one in treated if one in about(done, kind)])
    if kind.check != "intents":  # an act taken back takes its own branch away
        assert sick.git("for-each-ref", "refs/heads") == branches
    after = sick.content()
    again = sick.doctor(fix=True)
    assert sick.content() == after and "backup_ref" not in again
    assert (about(again, kind) == []) is kind.repaired


def is_there(call: str, at: Path) -> bool:
    """Whether a command that was proposed can be typed: it may fail for what is damaged, but not for being none."""
    typed = call.replace("git codestrator", f"'{sys.executable}' -m codestrator")
    done = subprocess.run(["sh", "-c", typed], cwd=at, capture_output=True, text=True, check=False)
    return done.returncode not in NO_COMMAND and not (done.returncode == 2 and typed != call)


def test_every_check_has_a_damage_that_it_finds() -> None:
    assert {kind.check for kind in DAMAGES.values()} == BY_ID.keys() - OF_THE_MACHINE
    assert {kind.check for kind in DAMAGES.values() if kind.repaired} == {one.id for one in CHECKS if one.repairs}
