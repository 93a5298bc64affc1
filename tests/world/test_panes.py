"""Panes in a real tmux: programs run without a shell, viewers cannot type, and nobody else's panes are touched."""

import os
import pty
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codestrator.errors import InvalidParams, Limit, NotFound, WrongState
from tests.world.desk import SAY, TAG, Desk, desk_in, settle, until

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
def viewer(desk: Desk) -> Iterator[Callable[[str], Callable[[str], None]]]:
    """Attach a terminal that may write, look at a pane, and give what types into it until tmux has read it."""
    master, slave = pty.openpty()
    attached: list[subprocess.Popen[bytes]] = []

    def swallow() -> None:
        try:
            while os.read(master, 65536):
                pass
        except OSError:
            return

    def type_in(text: str) -> None:
        os.write(master, text.encode() + b"\r\x14")
        desk("wait-for", "typed")

    def look_at(pane: str) -> Callable[[str], None]:
        if not attached:
            desk("bind-key", "-n", "C-t", "wait-for", "-S", "typed")
            desk("set-option", "-g", "assume-paste-time", "0")  # keys as fast as these are not taken for a paste
            command = ["tmux", "-S", desk.socket, "attach", "-t", desk.session()]
            env = os.environ | {"TERM": "xterm"}
            one = subprocess.Popen(command, start_new_session=True, env=env, stdin=slave, stdout=slave, stderr=slave)
            attached.append(one)
            threading.Thread(target=swallow, daemon=True).start()
            until(lambda: desk("list-clients"))
        desk("switch-client", "-t", pane)
        return type_in

    yield look_at
    for one in attached:
        one.kill()
        one.wait()
    os.close(slave)
    os.close(master)


def test_arguments_marks_and_folder_reach_the_program_as_they_are(desk: Desk, tmp_path: Path) -> None:
    words = [
        ";",
        "a;",
        "a\\;",
        "-x",
        "$HOME",
        "$(touch x)",
        "`touch x`",
        "#(touch x)",
        "#{pid}",
        "'\"",
        "two  words",
        "",
    ]
    place = tmp_path / "#(touch x) #{pid} #[fg=red];"
    place.mkdir()
    program = ("sh", "-c", 'printf "<%s>\n" "$PWD" "$MARK" "$@"; exec cat', "sh")
    pane = desk.open(*program, *words, folder=place, env={"MARK": "#(touch x);"})
    screen = desk.shows(pane, "<>")
    assert screen.splitlines() == [f"<{place}>", "<#(touch x);>", *(f"<{word}>" for word in words)]
    assert list(place.iterdir()) == []


def test_a_single_word_is_a_program_and_not_a_line_for_the_shell(desk: Desk, users: Path, tmp_path: Path) -> None:
    program = tmp_path / "say $(touch x); it"
    program.write_text("#!/bin/sh\necho said\nexec cat\n", encoding="utf-8")
    program.chmod(0o755)
    assert desk.shows(desk.open(str(program)), "said")
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_handed_over_is_refused_before_anything_is_opened(desk: Desk, tmp_path: Path) -> None:
    for refused in ({"env": {"A-B": "1"}}, {"env": {"A": "\0"}}, {"env": {"": "1"}}):
        with pytest.raises(InvalidParams):
            desk.open(**refused)
    with pytest.raises(InvalidParams):
        desk.open("A=1")
    with pytest.raises(NotFound):
        desk.open(folder=tmp_path / "gone")
    assert desk.windows() == ["shop-login:overview:1"]


HOSTILE = [
    "$(touch x)",
    "`touch x`",
    "#(touch x)",
    "##(touch x)",
    "###{E:#(touch x)}",
    "#{E:#(touch x)}",
    "#[fg=red,range=left]",
    "-t %0",
    ";kill-server;",
    "a\nb\tc",
    "\x1b]0;taken\x07\x1b[2Jcleared\x9b1m",
    "\u202emirrored",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_is_only_shown(desk: Desk, viewer: Callable[[str], Callable[[str], None]], title: str) -> None:
    desk.running("set -g status-right '#{E:pane_title} #{T:pane_title}'\n")
    theirs = desk("display-message", "-p", "-t", "=theirs:", "#{pane_id}")
    pane = desk.open(title=title)
    viewer(pane)("drawn")
    found = desk("display-message", "-p", "-t", pane, "#{pane_title}")
    assert found and found.isprintable() and len(found) <= 80
    assert desk("display-message", "-p", "-t", pane, "#{E:pane_title}") == found
    # A status line that expands titles twice does run what stands in one.
    desk("select-pane", "-t", theirs, "-T", f"##(touch {desk.folder}/x-of-theirs)")
    viewer(theirs)("drawn")
    until((desk.folder / "x-of-theirs").exists)
    assert [one.name for one in desk.folder.glob("x*")] == ["x-of-theirs"] and not Path("x").exists()
    assert desk.ours.pane(pane, TAG)


def test_an_issue_number_in_a_title_stays_one(desk: Desk) -> None:
    pane = desk.open(title="Fix #12: 100 % of küche")
    assert desk("display-message", "-p", "-t", pane, "#{pane_title}") == "Fix #12: 100 % of küche"


def test_typing_into_a_view_only_pane_does_nothing(desk: Desk, viewer: Callable[[str], Callable[[str], None]]) -> None:
    watched, talked_to = (desk.folder / name for name in ("watched", "talked-to"))
    closed = desk.open("sh", "-c", f"cat > '{watched}'")
    opened = desk.open("sh", "-c", f"cat > '{talked_to}'", view_only=False)
    viewer(opened)("hello")
    until(lambda: talked_to.exists() and talked_to.read_text(encoding="utf-8") == "hello\n")
    viewer(closed)("hello")
    viewer(closed)("\x03\x04\x1a")  # keys that would end or stop it
    desk("send-keys", "-t", closed, "hello", "Enter")
    desk("select-pane", "-e", "-t", closed)  # from here on it can be written to, after all that came before
    viewer(closed)("now")
    assert until(lambda: watched.read_text(encoding="utf-8")) == "now\n"


def test_pasted_text_arrives_as_one_paste_and_enter_even_where_no_key_does(desk: Desk) -> None:
    raw = desk.folder / "raw"
    pane = desk.open("sh", "-c", f"stty raw -echo; printf '\\033[?2004hready'; exec cat > '{raw}'")
    desk.shows(pane, "ready")
    desk("copy-mode", "-t", pane)  # a viewer scrolls
    desk.ours.paste(pane, TAG, "-t %0 \x1b[201~#(touch x);\n$(touch x)\tend\x07;\n")
    expected = b"\x1b[200~-t %0 #(touch x);\r$(touch x)    end;\x1b[201~\r"
    assert until(lambda: (found := raw.read_bytes()).endswith(b"~\r") and found) == expected
    found = desk.ours.pane(pane, TAG)
    assert found and found.input_off
    assert desk("list-buffers") == ""


def test_a_paste_leaves_an_open_pane_open_and_a_long_one_arrives_whole(desk: Desk) -> None:
    typed = desk.folder / "typed"
    pane = desk.open("sh", "-c", f"stty -icanon; echo ready; exec cat > '{typed}'", view_only=False)
    desk.shows(pane, "ready")
    text = "\n".join(f"line {number} of küche" for number in range(3000))
    desk.ours.paste(pane, TAG, text)
    until(lambda: typed.read_bytes().count(b"\n") >= 3000)
    assert typed.read_text(encoding="utf-8") == text + "\n"
    found = desk.ours.pane(pane, TAG)
    assert found and not found.input_off


def test_nothing_is_pasted_into_a_dead_pane_nor_an_empty_text_into_any(desk: Desk) -> None:
    pane = desk.open("sh", "-c", "exit 3")
    assert desk.over(pane) == 3
    with pytest.raises(WrongState):
        desk.ours.paste(pane, TAG, "hello")
    with pytest.raises(InvalidParams):
        desk.ours.paste(desk.open(), TAG, "\x1b[2J \n")
    assert desk("list-buffers") == ""


def test_a_pane_of_somebody_else_is_left_alone(desk: Desk) -> None:
    ours = desk.open()
    desk("new-session", "-d", "-s", "theirs", "-n", "cat", "--", "cat", "-")  # named: tmux would rename it
    foreign = desk("display-message", "-p", "-t", "=theirs:", "#{pane_id}")
    beside = desk("split-window", "-P", "-F", "#{pane_id}", "-t", ours, "--", "cat", "-")  # by hand, among ours
    for pane, tag in (
        (foreign, TAG),
        (beside, TAG),
        (ours, "of another"),
        ("%999", TAG),
        ("%", TAG),
        ("=theirs:", TAG),
    ):
        assert desk.ours.pane(pane, tag) is None and desk.ours.foreground(pane, tag) is None
        assert not desk.ours.end_pane(pane, tag)
        with pytest.raises(NotFound):
            desk.ours.capture(pane, tag, 10)
        with pytest.raises(NotFound):
            desk.ours.paste(pane, tag, "hello")
    assert desk("list-panes", "-a", "-F", "#{pane_id}").split() == [
        *desk("list-panes", "-s", "-t", "=shop-login:", "-F", "#{pane_id}").split(),
        foreign,
    ]
    assert desk.windows() == ["shop-login:overview:1", "shop-login:children:2", "theirs:cat:1"]


def test_a_window_of_the_users_in_our_session_is_not_ours_by_its_name(desk: Desk) -> None:
    desk("-f", "/dev/null", "new-session", "-d", "-s", "theirs", "--", "cat", "-")
    desk("new-window", "-d", "-t", f"={desk.session()}:", "-n", "children", "--", "cat", "-")
    desk.open()
    desk.open()
    assert desk.windows()[:3] == ["shop-login:overview:1", "shop-login:children:1", "shop-login:children:2"]


def test_eight_panes_are_tiled_in_one_window(desk: Desk) -> None:
    panes = [desk.open(vertical=number % 2 == 0) for number in range(8)]
    rows = desk("list-panes", "-a", "-F", "#{pane_id} #{window_name} #{pane_width} #{pane_height}").splitlines()
    sizes = {row.split()[0]: (int(row.split()[2]), int(row.split()[3])) for row in rows if " children " in row}
    assert set(sizes) == set(panes)
    assert all(width >= 60 and height >= 17 for width, height in sizes.values())
    assert desk("display-message", "-p", "-t", panes[0], "#{window_width}x#{window_height}") == "200x60"
    assert desk.ours.end_pane(panes[3], TAG) and desk.ours.pane(panes[3], TAG) is None
    assert desk.windows() == ["shop-login:overview:1", "shop-login:children:7"]


def test_a_window_without_room_is_followed_by_another_and_by_a_limit(desk: Desk) -> None:
    desk.open()
    while len(desk.windows()) < 10:
        window = desk("list-windows", "-t", "=shop-login:", "-F", "#{window_id}").splitlines()[-1]
        desk("resize-window", "-t", window, "-x", "4", "-y", "3")
        desk.open()
    names = [one.split(":")[1] for one in desk.windows()]
    assert names == ["overview", "children", *(f"children-{number}" for number in range(2, 10))]
    desk("resize-window", "-t", "=shop-login:=children-9", "-x", "4", "-y", "3")
    with pytest.raises(Limit):
        for _ in range(9):
            desk.open()


def test_children_opened_at_once_share_one_session_and_one_window(desk: Desk) -> None:
    with ThreadPoolExecutor(6) as pool:
        panes = list(pool.map(lambda number: desk.open(*SAY, f"child {number}"), range(6)))
    assert len(set(panes)) == 6
    assert desk.windows() == ["shop-login:overview:1", "shop-login:children:6"]
    for number, pane in enumerate(panes):
        desk.shows(pane, f"child {number}")


def test_a_dead_pane_stays_readable_and_is_used_again(desk: Desk) -> None:
    first = desk.open("sh", "-c", "seq 200; echo last words; exit 3", title="first")
    assert desk.over(first) == 3
    until(lambda: "last words" in desk.ours.capture(first, TAG, 200))  # tmux may hear of the end before the last words
    second = desk.open(*SAY, "born again", title="second", reuse=["%99", first], view_only=False)
    assert second == first
    assert "last words" not in desk.shows(second, "born again")
    found = desk.ours.pane(second, TAG)
    assert found and not found.dead and not found.input_off
    assert desk("display-message", "-p", "-t", second, "#{pane_title}") == "second"
    assert desk.windows() == ["shop-login:overview:1", "shop-login:children:1"]


def test_only_a_dead_pane_of_ours_is_used_again(desk: Desk) -> None:
    alive = desk.open()
    desk("set-option", "-g", "remain-on-exit", "on")
    foreign = desk("new-window", "-d", "-P", "-F", "#{pane_id}", "-t", "=shop-login:", "--", "sh", "-c", "exit 3")
    until(lambda: desk("display-message", "-p", "-t", foreign, "#{pane_dead}") == "1")
    assert desk.open(reuse=[alive, foreign]) not in (alive, foreign)
    assert desk("display-message", "-p", "-t", foreign, "#{pane_dead}") == "1"


def test_one_dead_pane_is_used_again_by_one_of_two_who_ask_at_once(desk: Desk) -> None:
    dead = desk.open("sh", "-c", "exit 0")
    assert desk.over(dead) == 0
    with ThreadPoolExecutor(2) as pool:
        panes = list(pool.map(lambda number: desk.open(*SAY, f"child {number}", reuse=[dead]), range(2)))
    assert dead in panes and len(set(panes)) == 2
    for number, pane in enumerate(panes):
        desk.shows(pane, f"child {number}")


def test_how_a_program_ended_is_told(desk: Desk) -> None:
    assert desk.over(desk.open("sh", "-c", "exit 42")) == 42
    assert desk.over(desk.open("/no/such/program", "x")) == 1
    killed = desk.open()
    found = desk.ours.pane(killed, TAG)
    assert found and not found.dead and found.status is None
    os.kill(found.pid, signal.SIGKILL)
    assert desk.over(killed) == 128 + signal.SIGKILL
    assert desk.ours.foreground(killed, TAG) is None


def test_a_screen_is_read_without_controls_and_with_long_lines_whole(desk: Desk) -> None:
    words = "x" * 700
    pane = desk.open(*SAY, "\x1b[31mred\x1b[0m", "  indented", "a\u202eb", words, "over and out")
    screen = desk.shows(pane, "over and out")
    assert screen.splitlines()[0] == "red" and screen.splitlines()[1] == "  indented"
    assert all(line.isprintable() for line in screen.splitlines())
    assert desk.ours.capture(pane, TAG, 2) == f"{words}\nover and out"


def test_letters_survive_a_locale_that_has_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    pane = desk.open(*SAY, "küche ショップ")
    assert "küche ショップ" in desk.shows(pane, "ショップ")


def test_the_program_in_the_foreground_is_told(desk: Desk) -> None:
    pane = desk.open("sh", "-c", "exec sleep 1000")
    assert until(lambda: (found := desk.ours.foreground(pane, TAG)) == "sleep" and found)
    assert until(lambda: desk.ours.foreground(desk.open(), TAG) == "cat")


def test_without_a_command_a_pane_is_empty_even_one_that_is_used_again(desk: Desk) -> None:
    dead = desk.open("sh", "-c", "echo once; exit 0")
    desk.over(dead)
    session = desk.session()
    pane = desk.ours.open_pane(
        session, TAG, window="children", folder=desk.folder, command=(), env={}, title="", vertical=True,
        view_only=True, reuse=[dead],
    )  # fmt: skip
    assert pane == dead and desk.ours.capture(pane, TAG, 10) == ""
    found = desk.ours.pane(pane, TAG)
    assert found and not found.dead
