"""A server that runs for days, and what becomes of its repository and settings meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.calls import Seat
from codestrator.edges import server
from tests.conftest import git
from tests.edges.wire import Json, Wire
from tests.world.desk import until


@pytest.fixture
def one(repo: Path) -> Iterator[Wire]:
    wire = Wire(repo)
    wire.start()
    yield wire
    wire.finish()


def test_a_setting_that_is_changed_holds_from_the_next_call_on(one: Wire, repo: Path, tmp_path: Path) -> None:
    machine = one.call("workspace.init")["machine"]
    git("init", "-q", "--bare", str(tmp_path / "hub.git"), at=repo)
    git("remote", "add", "origin", str(tmp_path / "hub.git"), at=repo)
    assert one.result("sync.run")["structuredContent"]["code"] == "wrong_state"
    git("config", "codestrator.remote", "origin", at=repo)
    git("config", "codestrator.refPrefix", "refs/heads/ours/", at=repo)
    assert one.call("sync.run")["remote"] == "origin"
    assert "refs/heads/ours/state" in git("for-each-ref", at=tmp_path / "hub.git")
    git("config", "codestrator.authority", "nobody", at=repo)
    assert "codestrator.authority" in one.result("session.list")["structuredContent"]["message"]
    git("config", "codestrator.authority", "remote", at=repo)
    found = one.call("workspace.init")
    assert (found["authority"], found["machine"]) == ("remote", machine)


def test_where_the_repository_is_gone_nothing_is_made_and_once_it_is_back_all_goes_on(
    repo: Path, tmp_path: Path
) -> None:
    desk = server.Desk(repo, Seat("root"), renew_seconds=0.001)

    def call(method: str) -> Json:
        return desk.call("orch_session", {"method": method}, threading.Event()).structured_content or {}

    try:
        assert "machine" in call("workspace.init")
        session_id = call("session.open")["session_context"]["session"]["id"]
        repo.rename(tmp_path / "elsewhere")
        for _ in range(100):  # the renewal looks many times meanwhile
            found = call("session.list")
            assert found["code"] == "not_found" and "moved or removed" in found["message"]
        assert not repo.exists()
        (tmp_path / "elsewhere").rename(repo)
        live = desk.world().live
        first = live.beat(session_id)
        assert first and call("session.list")["count"] == 1
        until(lambda: (live.beat(session_id) or first).boot_ms > first.boot_ms)
        repo.rename(tmp_path / "elsewhere")
    finally:
        desk.close()
    assert not repo.exists()
