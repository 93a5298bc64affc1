"""`report`: what its page tells of the state, and where it is written to."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codestrator.edges.context import Context
from codestrator.edges.report import gathering, timeline
from codestrator.edges.report.gathering import Found
from codestrator.edges.report.page import MARK
from codestrator.ids import mint
from codestrator.records import (
    Task,
)
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.edges.pages import made, read, section, section_words, words
from tests.edges.shell import Run, on_a_terminal, refused, result
from tests.methods.crew import make

HOSTILE = (
    "</title></style></script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onmouseover='alert(1)",
    "javascript:alert(1) [x](javascript:alert(1)) <a href='javascript:alert(1)'>",
    "<!-- --><![CDATA[ ]]> &lt;b&gt; &#x3c;b&#x3e; <svg/onload=alert(1)>",
    "a\x1b[31mred\x07 \u202egnitirw\x9b2J end\x00 \uffff \u2066",
    "</li></ul></details></section>" * 3_500,  # 105 kB
)
BIDI_AND_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MOST = 2_500_000  # bytes of any page, whatever is in the state


# What it tells


def test_it_tells_what_was_done_what_is_held_what_waits_and_what_needs_somebody(
    busy: dict[str, str], root: Actor, other: Actor, run: Run
) -> None:
    with unchanged(root):
        done = run("report")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(MARK)
    text = done.stdout
    summary = section_words(text, "summary")
    for part in ("Cases finished 2 of 4", "Steps done 3 of 5", "Sessions alive 2 of 2 open", "Locks held 2"):
        assert part in summary
    assert f"'{busy['case']}' is blocked" in summary and "Waiting to land 1" in summary
    assert "! blocked 1" in summary and "⚑ landed 2" in summary
    people = section_words(text, "sessions")
    assert root.session in people and "Add invoices" in people and "Rounds the tax worker" in people
    assert "? waiting" in people and "which way?" in people
    held = section_words(text, "locks")
    assert "src/shop/ pdf/ folder held by" in held and f"tax.py file held by {other.session}" in held
    queue = section_words(text, "queue")
    assert f"{busy['queued']} ○ queued main 1 is next, needs its review" in queue
    assert f"{busy['landed']} ✓ merged main ✓ approve all met {git('rev-parse', 'main', at=root.path)[:12]}" in queue
    log = section_words(text, "journal")
    assert "plan.slice.generate" in log and "git codestrator undo" in log


def test_the_tree_has_status_steps_evidence_and_the_commit_that_landed(
    busy: dict[str, str], root: Actor, other: Actor
) -> None:
    text = made(other)
    tree = section(read(text), "tasks")
    (case,) = [
        one for one in tree.iter("details") if words(one.find("summary")) == "! blocked case Tax is added 1 of 3 steps"
    ]
    told = words(case)
    assert f"Id {busy['case']}" in told and f"Session {other.session}" in told
    assert "✓ done write it pytest -q exit status 0 in 2.5 s on " in told
    assert "! blocked round it" in told and "up, or to even?" in told and "○ todo name it" in told
    assert f"Waits for {busy['case']}" in words(tree)
    assert f"Landed as {git('rev-parse', 'main', at=root.path)[:12]}" in words(tree)
    assert words(tree).index("Shop again") < words(tree).index("landed epic Shop 2 of 2 cases")
    (epic,) = [
        one for one in tree.iter("details") if words(one.find("summary")).endswith("epic Shop again 0 of 2 cases")
    ]
    assert "open" in epic.attrib and "open" not in case.attrib


def test_the_timeline_has_a_row_for_each_with_its_times_in_words(busy: dict[str, str], other: Actor) -> None:
    rows = [words(one) for one in section(read(made(other)), "timeline").iter("tr")][1:]
    kinds = [one.split()[0] for one in rows]
    assert sorted(kinds) == sorted(["session"] * 2 + ["case"] * 3 + ["lock"] * 2 + ["landing"] * 2 + ["merge"])
    (landing,) = [one for one in rows if busy["landed"] in one]
    assert "✓ merged" in landing and "now" not in landing
    (going,) = [one for one in rows if busy["case"] in one]
    assert "! blocked" in going and "now" in going
    (diamond,) = section(read(made(other)), "timeline").findall(".//path[@class='diamond']")
    assert diamond.get("d")


def test_a_bar_lies_where_its_time_is() -> None:
    begin = datetime(2026, 5, 4, 9, tzinfo=UTC)
    axis = timeline.Axis(begin, begin + timedelta(hours=10))
    assert [axis.at(begin + timedelta(hours=hours)) for hours in (-5, 0, 2.5, 10, 99)] == [0, 0, 25, 100, 100]


def test_the_planning_graph_shows_what_contains_what_and_the_other_edges(busy: dict[str, str], other: Actor) -> None:
    told = section_words(made(other), "plan")
    assert told.startswith("Planning graph ● in progress initiative Faster checkout ○ todo plan One page ○ todo slice ")
    assert "slice Address depends on → Basket" in told


def test_a_state_with_nothing_in_it_is_a_page_too(actor: Callable[..., Actor], run: Run) -> None:
    actor()("workspace.init")
    text = run("report").stdout
    assert all(
        "None." in section_words(text, name) for name in ("sessions", "tasks", "timeline", "locks", "queue", "plan")
    )
    assert "Cases finished 0 of 0" in section_words(text, "summary")


def test_an_empty_repository_is_refused_and_no_file_is_left(run: Run, repo: Path) -> None:
    done = run("report", "-o", "page.html", "--json")
    assert refused(done)["code"] == "wrong_state"
    assert not list(repo.glob("*page*"))


def test_a_document_that_cannot_be_read_is_left_out(root: Actor) -> None:
    """Its row may still be known while it is gone itself."""
    epic = make(root, "epic", "Whole")
    context = Context()
    context.__dict__["world"] = root.world
    tx = context.tx()
    rows = [*tx.rows(Task), SimpleNamespace(id=mint("epic"))]
    assert [one.id for one in gathering._readable(tx, Task, rows)] == [epic]


# Where it goes


def test_on_a_terminal_it_becomes_a_file_and_is_replaced_by_the_next(root: Actor, repo: Path) -> None:
    status, seen = on_a_terminal(["report"], repo)
    place = repo / "codestrator-report.html"
    assert status == 0 and "codestrator-report.html" in seen and "<html" not in seen
    before = place.read_bytes()
    assert before.startswith(MARK.encode())
    make(root, "epic", "New since then")
    assert on_a_terminal(["report"], repo)[0] == 0
    assert b"New since then" in place.read_bytes() and b"New since then" not in before
    assert [one.name for one in repo.iterdir() if "report" in one.name] == ["codestrator-report.html"]


def test_a_named_file_is_written_there_and_told(root: Actor, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "out" / "page.html"
    assert refused(run("report", "-o", str(place), "--json"))["code"] == "external"
    place.parent.mkdir()
    told = result(run("report", "-o", str(place), "--json"))
    assert told == {"path": str(place), "bytes": place.stat().st_size}
    assert run("report", "-o", "-").stdout.startswith(MARK)
    assert root.session in place.read_text(encoding="utf-8")


def test_a_file_that_is_no_report_is_not_replaced_unless_forced(root: Actor, run: Run, repo: Path) -> None:
    place = repo / "README.md"
    before = place.read_bytes()
    error = refused(run("report", "-o", "README.md", "--json"))
    assert error["code"] == "wrong_state" and "no report" in error["message"]
    assert place.read_bytes() == before and root.session
    result(run("report", "-o", "README.md", "--force", "--json"))
    assert place.read_bytes().startswith(MARK.encode())


def test_a_folder_or_a_device_is_refused_even_when_forced(root: Actor, run: Run, repo: Path) -> None:
    os.mkfifo(repo / "pipe")
    for name in (".", "pipe", "/dev/null"):
        assert refused(run("report", "-o", name, "--force", "--json"))["code"] == "wrong_state"
    assert root.session and Path("/dev/null").is_char_device()


def test_a_link_stays_a_link_and_its_file_is_judged(root: Actor, run: Run, repo: Path, tmp_path: Path) -> None:
    (repo / "page.html").symlink_to(tmp_path / "far.html")
    result(run("report", "-o", "page.html", "--json"))
    assert (repo / "page.html").is_symlink() and (tmp_path / "far.html").read_bytes().startswith(MARK.encode())
    (tmp_path / "far.html").write_text("mine", encoding="utf-8")
    assert refused(run("report", "-o", "page.html", "--json"))["code"] == "wrong_state" and root.session


def test_it_is_read_again_while_others_write(root: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    whole = gathering._read

    def disturbed(context: Context, tx: Any) -> Found:
        found = whole(context, tx)
        if not reads:
            make(root, "epic", "Late")
        reads.append(1)
        return found

    monkeypatch.setattr(gathering, "_read", disturbed)
    assert "Late" in made(root) and len(reads) == 2
