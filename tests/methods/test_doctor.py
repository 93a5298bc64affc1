"""The doctor on a sound repository: it says so, writes nothing, and answers for what it was asked."""

from pathlib import Path

import pytest

from codestrator.methods.doctor.checks import CHECKS
from tests.actors import SteeredClock
from tests.methods.ward import Ward, ward


@pytest.fixture
def sick(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, clock: SteeredClock) -> Ward:
    return ward(tmp_path, clock, tmp_path_factory.mktemp("ward"))


def test_a_sound_repository_is_healthy_and_every_check_says_so(sick: Ward) -> None:
    found = sick.doctor()
    assert [one for one in found["items"] if one["severity"] != "ok"] == []
    assert found["healthy"] is True and found["count"] == len(found["items"])
    assert [one["id"] for one in found["items"]] == [check.id for check in CHECKS]
