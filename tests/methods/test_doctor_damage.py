"""Every kind of damage is found and named, and repaired or left with a next step that works; nothing else changes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.methods.doctor.checks import BY_ID, CHECKS
from codestrator.methods.doctor.look import FIX
from tests.actors import SteeredClock
from tests.methods.damages import DAMAGES
from tests.methods.ward import Ward, ward

# What a shell says of a command that is not there, and this program of one that it does not understand.
NO_COMMAND = (126, 127, 129)
# Checks that no repository of a test can fail, without a machine that lacks what the tests need.
OF_THE_MACHINE = {"git", "tmux", "codex"}


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
    assert sick.items(kind.check) == []
    kind.make(sick)

    before = sick.content()
    found = sick.doctor()
    named = [one for one in found["items"] if one["id"] == kind.check and one["severity"] == kind.severity]
    assert any(kind.says in one["finding"] for one in named), found["items"]
    assert found["healthy"] is not any(one["severity"] == "error" for one in found["items"])
    assert all("fixed" not in one for one in found["items"]) and "backup_ref" not in found
    plan = sick.doctor(fix=True, dry_run=True)
    assert sick.content() == before

    named = [one for one in named if kind.says in one["finding"]]
    assert all((one["fix"] == FIX) is kind.repaired for one in named)
    planned = [one for one in plan["items"] if one["id"] == kind.check and kind.says in one["finding"]]
    assert all(one.get("fixed") is (False if kind.repaired else None) for one in planned) and "backup_ref" not in plan

    repaired(sick, name)


def repaired(sick: Ward, name: str) -> None:
    """With `fix`: what is safe is repaired after the tips were kept, and the second time there is nothing to do."""
    kind = DAMAGES[name]
    refs = sick.git("for-each-ref", "refs/heads", "refs/tags")
    fixed = sick.doctor(fix=True)
    treated = [one for one in fixed["items"] if "fixed" in one]
    assert all(one["fixed"] for one in treated), treated
    assert ("backup_ref" in fixed) is bool(treated)
    assert kind.repaired is any(one["id"] == kind.check and kind.says in one["finding"] for one in treated)
    if name != "a process died while it made a worktree":
        assert sick.git("for-each-ref", "refs/heads", "refs/tags") == refs
    after = sick.content()
    again = sick.doctor(fix=True)
    assert sick.content() == after and "backup_ref" not in again
    left = [one for one in again["items"] if one["id"] == kind.check and kind.says in one["finding"]]
    assert (left == []) is kind.repaired


@pytest.mark.parametrize("name", [name for name, kind in DAMAGES.items() if not kind.repaired])
def test_the_next_step_of_what_is_left_is_a_command_that_is_there(sick: Ward, name: str) -> None:
    kind = DAMAGES[name]
    kind.make(sick)
    for one in sick.items(kind.check):
        call = one["fix"].replace("git codestrator", f"'{sys.executable}' -m codestrator")
        done = subprocess.run(["sh", "-c", call], cwd=sick.repo, capture_output=True, text=True, env=os.environ)
        assert done.returncode not in NO_COMMAND and not (done.returncode == 2 and "codestrator" in call), (call, done)


def test_every_check_has_a_damage_that_it_finds() -> None:
    assert {kind.check for kind in DAMAGES.values()} == BY_ID.keys() - OF_THE_MACHINE
    assert {kind.check for kind in DAMAGES.values() if kind.repaired} == {one.id for one in CHECKS if one.repairs}
