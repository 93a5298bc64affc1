"""tmux sessions are found by their whole name, made as ours, and ended only if they carry our tag."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.errors import External, InvalidParams, NotFound
from codestrator.world import tmux_commands
from codestrator.world.panes import BLANK, WINDOW_TAG
from codestrator.world.panes import TAG as OPTION
from codestrator.world.tmux import TmuxServer
from tests.world.desk import SAY, TAG, Desk, desk_in, settle

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: install it to run these"),
]


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Desk]:
    yield from desk_in(tmp_path_factory.mktemp("t"), tmp_path)


@pytest.fixture
def users(sealed: Path, tmp_path: Path) -> Path:
    return settle(sealed, tmp_path / "fish")


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tmux server of the test's own; the path is short, because sockets allow about 100 bytes."""
    place = str(tmp_path_factory.mktemp("t") / "s")
    yield place
    subprocess.run(["tmux", "-S", place, "kill-server"], capture_output=True, check=False)


def start(socket: str, name: str, tag: str = "") -> None:
    subprocess.run(["tmux", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-s", name], check=True)
    if tag:
        subprocess.run(["tmux", "-S", socket, "set-option", "-t", f"={name}:", OPTION, tag], check=True)


def test_the_version_is_told() -> None:
    found = TmuxServer(None).version()
    assert found and Path(found[0]).is_file() and found[1][0].isdigit()


def test_no_tmux_is_no_version_and_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert TmuxServer(None).version() is None
    assert not TmuxServer(None).session_alive("shop")


def test_a_server_that_does_not_run_has_no_sessions(socket: str) -> None:
    assert not TmuxServer(socket).session_alive("shop")
    assert not TmuxServer(socket).end_session("shop", "ses-1")


def test_a_session_is_found_by_its_whole_name(socket: str) -> None:
    start(socket, "shop-küche")
    server = TmuxServer(socket)
    assert server.session_alive("shop-küche")
    assert not server.session_alive("shop") and not server.session_alive("")


def test_only_a_session_with_our_tag_is_ended(socket: str) -> None:
    start(socket, "theirs")
    start(socket, "ours", "ses-1")
    server = TmuxServer(socket)
    assert not server.end_session("theirs", "ses-1")
    assert not server.end_session("ours", "ses-2")
    assert server.session_alive("theirs") and server.session_alive("ours")
    assert server.end_session("ours", "ses-1")
    assert not server.session_alive("ours") and server.session_alive("theirs")


def test_a_server_a_session_and_its_overview_are_made_where_none_is(desk: Desk) -> None:
    assert desk.session() == "shop-login"
    assert (
        desk("display-message", "-p", "-t", "=shop-login:", "#{window_name} #{pane_current_command}") == "overview cat"
    )
    assert desk("show-options", "-v", "-t", "=shop-login:", "@codestrator") == TAG
    assert desk.ours.end_session("shop-login", TAG)


def test_the_session_that_is_there_is_used_again_and_its_dead_overview_revived(desk: Desk) -> None:
    assert desk.session() == desk.session()
    before = desk("display-message", "-p", "-t", "=shop-login:=overview", "#{pane_id} #{pane_pid}").split()
    os.kill(int(before[1]), signal.SIGKILL)
    assert desk.over(before[0]) == 128 + signal.SIGKILL
    assert desk.session() == "shop-login"
    after = desk("display-message", "-p", "-t", before[0], "#{pane_dead} #{pane_pid}").split()
    assert after[0] == "0" and after[1] != before[1]
    assert desk.windows() == ["shop-login:overview:1"]


def test_a_session_whose_maker_was_stopped_half_way_gets_its_overview(desk: Desk) -> None:
    desk("-f", "/dev/null", "new-session", "-d", "-s", "shop-login", "-n", "overview", "--", *BLANK)
    desk("set-option", "-t", "=shop-login:", OPTION, TAG)
    desk("set-option", "-w", "-t", "=shop-login:=overview", WINDOW_TAG, TAG)
    before = desk("display-message", "-p", "-t", "=shop-login:", "#{pane_pid}")
    assert desk.session() == "shop-login"
    found = desk.ours.pane(desk("display-message", "-p", "-t", "=shop-login:", "#{pane_id}"), TAG)
    assert found and found.input_off and str(found.pid) != before
    assert desk.session() == "shop-login"
    assert desk("display-message", "-p", "-t", "=shop-login:", "#{pane_pid}") == str(found.pid)


def test_foreign_sessions_of_the_same_name_are_left_alone(desk: Desk) -> None:
    desk("-f", "/dev/null", "new-session", "-d", "-s", "shop-login")
    desk("new-session", "-d", "-s", "shop-login-2", "-n", "mine")
    desk("set-option", "-t", "=shop-login-2:", "@codestrator", "of another repository")
    assert [desk.session(), desk.session()] == ["shop-login-3", "shop-login-3"]
    with pytest.raises(NotFound):
        desk.open(session="shop-login")
    with pytest.raises(NotFound):
        desk.open(session="shop-login-2")
    assert "shop-login-2:mine:1" in desk.windows() and len(desk.windows()) == 3


def test_a_name_is_never_taken_for_the_beginning_of_another(desk: Desk) -> None:
    desk.session("shop-login-form")
    assert desk.session("shop-login") == "shop-login"
    assert desk.ours.end_session("shop-login", TAG) and not desk.ours.session_alive("shop-login")
    with pytest.raises(NotFound):
        desk.open(session="shop-login")
    assert desk.ours.session_alive("shop-login-form")


@pytest.mark.parametrize("name", ["", "a.b", "a:b", "-t", "=a", "$1", "#(touch x)", "a\nb", "a" * 101])
def test_a_name_that_tmux_would_read_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidParams):
        desk.session(name)
    with pytest.raises(InvalidParams):
        desk.open(window=name)
    assert desk.windows() == ["shop-login:overview:1"]


@pytest.mark.parametrize("running", [True, False], ids=["a running server", "no server"])
def test_the_users_settings_hooks_and_shell_change_nothing(desk: Desk, users: Path, running: bool) -> None:
    if running:
        desk.running(users.read_text(encoding="utf-8"))
    panes = [desk.open(*SAY, f"child {number}") for number in range(3)]
    for number, pane in enumerate(panes):
        assert desk.shows(pane, f"child {number}")
        found = desk.ours.pane(pane, TAG)
        assert found and found.window == "children" and found.input_off and not found.dead
    assert desk.ours.session_alive("shop-login")


def test_a_server_started_by_us_inherits_nothing_of_one_call(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "CODESTRATOR_THREAD"):
        monkeypatch.setenv(name, "of this call")
    monkeypatch.setenv("OF_THE_USER", "kept")
    screen = desk.shows(desk.open("sh", "-c", "env; echo all; exec cat"), "all")
    assert "of this call" not in screen and "OF_THE_USER=kept" in screen


def test_the_overview_takes_no_keys(desk: Desk) -> None:
    desk.session()
    assert desk("display-message", "-p", "-t", "=shop-login:=overview", "#{pane_input_off}") == "1"


def test_a_killed_server_has_nothing_of_ours_and_is_replaced(desk: Desk) -> None:
    session, pane = desk.session(), desk.open()
    desk("kill-server")
    assert not desk.ours.session_alive(session) and desk.ours.pane(pane, TAG) is None
    assert not desk.ours.end_pane(pane, TAG) and not desk.ours.end_session(session, TAG)
    with pytest.raises(NotFound):
        desk.ours.capture(pane, TAG, 10)
    with pytest.raises(NotFound):
        desk.open(session=session)
    assert desk.shows(desk.open(*SAY, "back"), "back")


def test_a_server_that_hangs_is_told_of_and_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pane = desk.open()
    server = int(desk("display-message", "-p", "#{pid}"))
    monkeypatch.setattr(tmux_commands, "SECONDS", 0.3)
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(External) as failed:
            desk.ours.pane(pane, TAG)
        assert failed.value.details == {"program": "tmux", "status": "timeout"} and failed.value.hint
        with pytest.raises(External):
            desk.session()
        assert not desk.ours.session_alive("shop-login")
    finally:
        os.kill(server, signal.SIGCONT)
    assert desk.ours.pane(pane, TAG)


def test_a_tmux_that_is_missing_or_fails_is_told_of(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(External) as failed:
        desk.session()
    assert failed.value.details == {"program": "tmux", "status": "missing"}
    assert failed.value.hint and "apt install tmux" in failed.value.hint
    assert desk.ours.pane("%0", TAG) is None and not desk.ours.end_pane("%0", TAG)
    (tmp_path / "tmux").write_text("#!/bin/sh\necho 'protocol version mismatch' >&2\nexit 1\n", encoding="utf-8")
    (tmp_path / "tmux").chmod(0o755)
    for act in (desk.session, desk.open, lambda: desk.ours.pane("%0", TAG)):
        with pytest.raises(External) as failed:
            act()
        assert failed.value.details == {"program": "tmux", "status": 1, "last_line": "protocol version mismatch"}
