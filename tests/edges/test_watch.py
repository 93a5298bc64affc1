"""The screen of `watch`, at real repositories filled by real calls."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.binding import Binding

from codestrator import ids, threadfiles
from codestrator.clock import Clock, rfc3339
from codestrator.edges.watch.app import Watch
from codestrator.edges.watch.details import Reading
from codestrator.edges.watch.listing import Listing
from codestrator.errors import WrongState
from codestrator.records import Directive, Task, Thread
from codestrator.store.transaction import Stamp, Transaction
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.edges.eyes import LARGE, SMALL, Eyes, watching
from tests.methods import crew
from tests.methods.crew import make
from tests.store.kit import STATE

HOSTILE = "[red]x[/red] \x1b[2J\x07\u202etfel \x9b1m\nnew\tline " + "漢字" * 200


def directed(root: Actor, thread: Thread, text: str, state: str, **fields: object) -> Directive:
    """A directive in that state, as a runner's receipts leave it."""
    about = {"thread_id": thread.id, "mode": "queue", "sender_thread_id": root.thread}
    expires = rfc3339(Clock().now().at.replace(year=2999))
    made = Directive(id=ids.mint("dir"), text=text, expires_at=expires, state=state, **about, **fields)  # type: ignore[arg-type]
    return crew.put(root, made)


def test_a_large_screen_shows_all_panels_at_once(root: Actor, busy: dict[str, str], repo: Path) -> None:
    thread = crew.record(root, title="Reads the log", progress="2 of 3 files", turn=4)
    directed(root, thread, "Look at the newest first", "delivered", delivered_at="2026-05-04T09:30:00Z")

    async def does(eyes: Eyes) -> None:
        seen = await eyes.sees("1 Agents", "2 Tasks", "3 Locks", "4 Queue", "5 Directives", "6 Journal")
        for words in (
            *("Fix the login timeout", "Add invoices", "● live", "Reads the log", "t4", "2 of 3 files"),
            *("Tax is added", "███", "1/3", "blocked", "up, or to even?", "waits for Tax is added"),
            *("src/shop/tax.py", "src/shop/pdf/", "✓ held", "min"),
            *("queued", "main", "is next, needs its review"),
            *("Look at the newest", "● delivered", "delivered 05-04"),
            *("merge.main.request", "thread.child.spawn", "directive/dir-"),
        ):
            assert words in seen, words
        assert "need you" in seen and "! 'Rounds the tax' waits: which way?" in seen
        assert "thr-" not in seen.partition("Journal")[0], "people have names, no ids"

    watching(repo, does, size=LARGE)


def test_at_80x24_keys_bring_each_panel_with_the_next_below_it(busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        firsts = (
            "Add invoices",
            "Shop again",
            "src/shop/pdf/",
            "is next",
            "no child was directed",
            "plan.slice.generate",
        )
        for number, words in enumerate(firsts, 1):
            assert words in "\n".join((await eyes.press(str(number))).splitlines()[2:5])
        assert [await eyes.press("tab"), await eyes.press("tab")][1].splitlines()[2].split() == [
            *("TASK", "PROGRESS", "STATE", "BY", "OR", "WHY")
        ]
        assert "PATH" in eyes.screen(), "the next panel fills what is left"
        assert "PATH" not in await eyes.press("z")
        assert "STATE" in (await eyes.press("shift+tab")).splitlines()[2]

    watching(repo, does)


def test_every_size_is_filled_line_by_line(busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        for width, height in ((20, 5), (40, 10), (80, 60), (120, 40), (1, 1), SMALL):
            await eyes.resize(width, height)
            assert [cell_len(line) for line in eyes.lines()] == [width] * height
        await eyes.sees("1 Agents", "2 Tasks", "q Quit")

    watching(repo, does)


def test_a_change_made_elsewhere_is_seen_without_a_key(root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.press("3")
        assert "no path is locked" in eyes.screen()
        root("lock.acquire", scope_type="file", scope_path="src/login.py")
        await eyes.sees("src/login.py", "Fix the login timeout")

    watching(repo, does)


def test_what_a_child_says_beside_the_state_is_seen_after_the_interval(root: Actor, repo: Path) -> None:
    thread = crew.record(root, title="Rounds")
    assert root.world.live.take(thread.id)

    async def does(eyes: Eyes) -> None:
        assert "● running" in eyes.screen() and "no process" not in eyes.screen()
        threadfiles.tell(root.world.live, thread.id, threadfiles.Told(turn=7, progress="half of it"))
        await eyes.sees("t7", "half of it")
        root.world.live.leave(thread.id)
        await eyes.sees("! no process")

    watching(repo, does, interval=0.5)


def test_what_is_chosen_stays_chosen_and_where_it_is_while_rows_come_above_it(root: Actor, repo: Path) -> None:
    for number in range(40):
        make(root, "epic", f"Epic {number:02}")

    async def does(eyes: Eyes) -> None:
        await eyes.press("2", *["down"] * 30)
        listing = eyes.app.listing
        assert listing.chosen and "Epic 30" in listing.chosen.cells[0].plain
        at = next(number for number, line in enumerate(eyes.lines()) if "Epic 30" in line)
        for number in range(3):
            make(root, "epic", f"Another {number}")
        await eyes.until(lambda: len(listing.rows) == 43)
        await eyes.sees("Epic 30")
        assert "Epic 30" in listing.chosen.cells[0].plain and "Epic 30" in eyes.lines()[at]
        assert "Another 0" in await eyes.press("home") and "Epic 39" in await eyes.press("end")

    watching(repo, does)


def test_who_looks_at_the_newest_operation_goes_on_looking_at_the_newest(root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.press("6")
        make(root, "epic", "One")
        await eyes.until(lambda: eyes.app.listing.chosen and "task.create" in eyes.app.listing.chosen.cells[1].plain)
        assert eyes.app.listing.at == 0

    watching(repo, does)


def test_a_case_opens_with_its_steps_evidence_claim_and_checkpoint(busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.press("2", "/", *"tax is", "enter")
        await eyes.press("end", "enter")
        seen = await eyes.sees(busy["case"], "Shop again / Invoices", "$ pytest -q, exit status 0, in 2.5 s")
        for words in (
            "✓ done  write it",
            "! blocked  round it",
            "up, or to even?",
            "○ todo  name it",
            "fence",
            "commit",
        ):
            assert words in seen, words
        assert "Tasks" in await eyes.back()

    watching(repo, does, size=(100, 40))


def test_an_epic_folds_and_stays_folded(busy: dict[str, str], root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        assert "▾ ! Shop again" in await eyes.press("2") or "▾ ● Shop again" in eyes.screen()
        assert "! Tax is added" in eyes.screen()
        assert "! Tax is added" not in await eyes.press("enter")
        make(root, "epic", "Later")
        assert "! Tax is added" not in await eyes.sees("Later")
        assert "! Tax is added" in await eyes.press("enter")

    watching(repo, does)


def test_a_child_opens_its_log_and_the_log_is_followed(root: Actor, repo: Path, tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("".join(f"line {number}\n" for number in range(200)) + f"evil {HOSTILE[:30]}\n", encoding="utf-8")
    crew.record(root, title="Talks", log_file_path=str(log))
    crew.record(root, title="Is silent", log_file_path=str(tmp_path / "none"))

    async def does(eyes: Eyes) -> None:
        await eyes.press("down", "enter")
        seen = await eyes.sees("log of Talks", "line 199", "evil [red]x[/red] \\x1b[2J")
        assert "line 100" not in seen
        with log.open("a", encoding="utf-8") as file:
            file.write("and one more\n")
        await eyes.sees("and one more")
        await eyes.press("home")
        await eyes.sees("│ line 0 ")
        await eyes.back()
        await eyes.press("down", "enter")
        await eyes.sees("log of Is silent", "No such")

    watching(repo, does)


def test_enter_shows_all_there_is_to_anything_else(busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        for number, words in (
            ("1", ("session ses-", "user_request: Add invoices")),
            ("3", ("scope_path: src/shop/pdf", "fence: ")),
            ("4", ("target_branch: main", "reason: is next")),
            ("6", ("method: thread.child.spawn", "documents:")),
        ):
            await eyes.press(number, "enter")
            await eyes.sees(*words)
            await eyes.back()

    watching(repo, does, size=(100, 60))


def test_a_filter_narrows_all_panels_as_it_is_typed_until_escape(busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        assert "Basket" not in eyes.screen() and "src/shop/pdf" in eyes.screen()
        await eyes.press("/", *"shop/TAX")
        seen = await eyes.sees(" /shop/tax ", "src/shop/tax.py")
        assert "src/shop/pdf" not in seen and "Fix the login" not in seen
        assert "nothing has 'shop/tax' in it" in seen
        assert " /shop/tax " in await eyes.press("enter"), "enter keeps it"
        assert "src/shop/pdf" in await eyes.press("escape") and " /shop/tax " not in eyes.screen()
        await eyes.press("2", "/", *"discount")
        seen = await eyes.sees("/discount", "Discount")
        assert "Shop again" in seen and "Tax is added  " not in seen.partition("Tasks")[2].partition("BY OR WHY")[0]

    watching(repo, does, size=LARGE)


def test_a_filter_finds_what_is_too_much_to_be_listed(root: Actor, repo: Path) -> None:
    feature = crew.feature(root)
    about = {"level": "case", "parent_id": feature, "priority": 0, "created_by": root.thread, "status": "in_progress"}

    def many(tx: Transaction) -> None:
        for number in range(300):
            tx.put(Task(id=ids.mint("case"), title=f"Case {number:03}", session_id=root.session, **about))  # type: ignore[arg-type]

    stamp = Stamp("task.create many", ids.mint("op"), "test", root.session, None, root.world.settings.machine)
    root.world.store.transact(many, stamp=stamp)

    async def does(eyes: Eyes) -> None:
        await eyes.press("2", "end")
        assert "100 more, found by a filter" in eyes.screen() and "Case 199" in eyes.screen()
        await eyes.press("/", *"case 299")
        assert "Case 299" in await eyes.misses("Case 199")

    watching(repo, does)


def test_nothing_in_names_and_titles_acts_on_the_screen(root: Actor, repo: Path) -> None:
    thread = crew.record(root, title=HOSTILE, progress=HOSTILE, blocker=HOSTILE)
    directed(root, thread, HOSTILE, "queued")
    about = {"priority": 0, "created_by": root.thread, "session_id": root.session, "status": "in_progress"}
    epic = crew.put(root, Task(id=ids.mint("epic"), level="epic", title=HOSTILE, **about))  # type: ignore[arg-type]
    crew.put(root, Task(id=ids.mint("case"), level="case", title=HOSTILE, parent_id=epic.id, **about))  # type: ignore[arg-type]

    async def does(eyes: Eyes) -> None:
        shown = "[red]x[/red] \\x1b[2J"
        assert eyes.screen().count(shown) >= 5, "child, epic, case, directive, and what needs somebody"
        for keys in (["1"], ["1", "down", "enter"], ["2", "down", "enter"], ["5", "enter"]):
            await eyes.press(*keys)
            seen = await eyes.sees(shown)
            assert not {"\x1b", "\x07", "\x9b", "\u202e", "\t"} & set(seen)
            assert [cell_len(line) for line in eyes.lines()] == [LARGE[0]] * LARGE[1]
            await eyes.back()

    watching(repo, does, size=LARGE)


def test_damage_is_told_and_what_was_seen_stays_until_it_is_repaired(busy: dict[str, str], repo: Path) -> None:
    place = repo / ".git" / STATE
    good = place.read_bytes()

    async def does(eyes: Eyes) -> None:
        place.write_text("no commit at all\n", encoding="utf-8")
        assert "Add invoices" in await eyes.sees("not read: 'refs/codestrator/state'")
        await eyes.press("2", "/", *"tax is", "enter")
        await eyes.press("end", "enter")
        await eyes.sees("cannot be read")
        place.unlink()
        await eyes.press("r")
        await eyes.sees("vanished", "Tax is added")
        place.write_bytes(good)
        await eyes.press("r")
        assert "Tax is added" in await eyes.misses("not read")

    watching(repo, does, interval=0.5)


def test_what_cannot_be_read_costs_its_own_panel_alone(root: Actor, repo: Path) -> None:
    make(root, "epic", "Whole")
    earlier = git("rev-list", STATE, at=repo).splitlines()[-2]
    (repo / ".git" / "objects" / earlier[:2] / earlier[2:]).unlink()

    async def does(eyes: Eyes) -> None:
        seen = await eyes.sees("Fix the login", "Whole", "not read: ")
        assert "not read: " in seen.partition("6 Journal")[2].splitlines()[1]

    watching(repo, does, size=LARGE)


def test_where_nothing_was_initialised_it_refuses_as_others_do(repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        raise AssertionError("there is nothing to see")

    with pytest.raises(WrongState, match="no codestrator state"):
        watching(repo, does)


def test_an_attach_command_is_copied_only_where_one_could_attach(root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.press("2", "a")
        await eyes.sees("Choose a session, a child")
        await eyes.press("1", "a")
        await eyes.sees("no tmux session here")
        assert eyes.app.clipboard == ""

    watching(repo, does)


def test_help_names_the_keys_and_the_line_below_too(root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.sees("/ Filter", "a Attach", "r Redraw", "? Help", "q Quit")
        await eyes.press("?")
        await eyes.sees("copy the command that attaches")
        await eyes.press("q")
        await eyes.misses("copy the command that attaches")

    watching(repo, does)


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("ctrl+c", 130)])
def test_it_ends_with_a_status_of_its_own(key: str, status: int, root: Actor, repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        await eyes.press("?")
        await eyes.back()
        await eyes.press(key)

    assert watching(repo, does) == status


def test_no_key_changes_anything(root: Actor, busy: dict[str, str], repo: Path) -> None:
    async def does(eyes: Eyes) -> None:
        known = [*Watch.BINDINGS, *Listing.BINDINGS, *Reading.BINDINGS]
        keys = [key for one in known if isinstance(one, Binding) for key in one.key.split(",")]
        for key in [*keys, "x", "d", "delete", "backspace", "space"]:
            if key not in ("q", "ctrl+c", "ctrl+z"):  # those that end it
                await eyes.press(key)
                await eyes.press("escape")

    with unchanged(root):
        watching(repo, does)
