"""A tmux session is ended only if it carries our tag."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.world.tmux import TAG, TmuxServer

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: install it to run these"),
]


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tmux server of the test's own; the path is short, because sockets allow about 100 bytes."""
    place = str(tmp_path_factory.mktemp("t") / "s")
    yield place
    subprocess.run(["tmux", "-S", place, "kill-server"], capture_output=True, check=False)


def start(socket: str, name: str, tag: str = "") -> None:
    subprocess.run(["tmux", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-s", name], check=True)
    if tag:
        subprocess.run(["tmux", "-S", socket, "set-option", "-t", f"={name}:", TAG, tag], check=True)


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
