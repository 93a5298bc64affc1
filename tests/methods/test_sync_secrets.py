"""What looks like a key does not leave this machine with our refs; the user's own pushes are the user's."""

import pytest

from codestrator.errors import External
from tests.machines import NOTES, STATE, Joins
from tests.methods.test_sync import SNAPSHOTS, item
from tests.remotes import Serve

KEY = "AKIA" + "Q" * 16
TOKEN = "ghp_" + "a1" * 20


def test_a_key_in_a_text_keeps_the_state_here_and_says_so(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    one.sync()
    there = host.refs()[STATE]
    epic = one.epic(f"Use {KEY}")
    told = item(one("sync.run"), STATE)
    assert told["verdict"] == "refused" and "an AWS access key" in told["detail"] and KEY not in told["detail"]
    assert host.refs()[STATE] == there
    one("task.update", task_id=epic, title="Use the vault")
    assert one.sync()[STATE] == "pushed"


def test_a_key_in_uncommitted_work_keeps_the_snapshot_here(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    (one.path / "draft.env").write_text(f"TOKEN={TOKEN}\n", encoding="utf-8")
    one("work.checkpoint", summary="half done")
    told = item(one("sync.run"), SNAPSHOTS)
    assert told["verdict"] == "refused" and "a GitHub token" in told["detail"] and TOKEN not in str(told)
    assert not [ref for ref in host.refs() if "/rescue/" in ref]
    assert host.refs()[STATE] == one.tip(STATE) and host.refs()[NOTES] == one.tip(NOTES)


def test_an_offer_with_a_key_in_it_is_refused_and_the_session_goes_on(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    (one.path / "draft.env").write_text(f"TOKEN={TOKEN}\n", encoding="utf-8")
    with pytest.raises(External) as refused:
        one("handoff.offer")
    assert "a GitHub token" in refused.value.message
    assert one("session.context")["session"]["status"] == "active_new"


def test_who_says_so_may_push_it_all_the_same(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host)
    one.git("config", "codestrator.scanSecrets", "false")
    one.epic(f"Use {KEY}")
    other = type(one)(one.folder, kind="operator")
    assert other.sync()[STATE] == "pushed"
    other.close()
