"""`report`: the state as one HTML page, whatever anybody wrote into it."""

import json
import os
import re
import struct
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.edges.context import Context
from codestrator.edges.report import gathering, markup, pieces, timeline
from codestrator.edges.report.gathering import Found, gathered
from codestrator.edges.report.page import MARK, page
from codestrator.ids import mint
from codestrator.records import (
    Check,
    Edge,
    Evidence,
    Finding,
    Land,
    Lease,
    MergeRequest,
    Node,
    Review,
    Session,
    Step,
    Task,
)
from codestrator.store import Stamp
from tests.actors import Actor, SteeredClock, unchanged
from tests.bench.fill import plan
from tests.conftest import git
from tests.edges.pages import Browser, read, section, words
from tests.edges.shell import Run, on_a_terminal, refused, result
from tests.methods.crew import make, put, record
from tests.methods.test_landing import approved

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


def made(actor: Actor) -> str:
    """The page as the command makes it, read through a test's own world and clock."""
    return page(found_by(actor))


def found_by(actor: Actor) -> Found:
    context = Context()
    context.__dict__["world"] = actor.world
    return gathered(context)


def section_words(text: str, name: str) -> str:
    return words(section(read(text), name))


@pytest.fixture
def busy(root: Actor, other: Actor, clock: SteeredClock) -> dict[str, str]:
    """Work that landed, work that is blocked, locks, a queue and a plan; the ids."""
    landed = approved(root, cases=2)
    clock.advance(10)
    root("merge.main.land")
    feature = make(other, "feature", "Invoices", parent_id=make(other, "epic", "Shop again"))
    steps = ["write it", "round it", "name it"]
    case = other("task.create", level="case", title="Tax is added", parent_id=feature, steps=steps)["task"]["id"]
    waits = other("task.create", level="case", title="Discount", parent_id=feature, depends_on=[case])["task"]["id"]
    other("lock.acquire", scope_type="file", scope_path="src/shop/tax.py")
    other("lock.acquire", scope_type="prefix", scope_path="src/shop/pdf")
    other("case.begin", case_id=case)
    evidence = {"command": "pytest -q", "exit_status": 0, "duration_seconds": 2.5}
    other("step.check", step_id=f"{case}.1", result="pass", evidence=evidence)
    other("step.check", step_id=f"{case}.2", result="blocked", evidence={"note": "up, or to even?"})
    (other.path / "tax.py").write_text("RATE = 1\n", encoding="utf-8")
    git("add", ".", at=other.path)
    git("commit", "-qm", "tax", at=other.path)
    other("merge.request", feature_task_id=feature)
    queued = other("merge.main.request", auto_review=False)["main_merge_request"]["id"]
    top = other("plan.bootstrap", initiative_title="Faster checkout", plan_title="One page")["plan"]["id"]
    specs = [{"title": "Basket"}, {"title": "Address", "depends_on": ["Basket"]}]
    other("plan.slice.generate", plan_node_id=top, slice_specs=specs)
    record(
        other, title="Rounds the tax", status="waiting", blocker="which way?", reported_at="2026-05-04T09:30:00.000Z"
    )
    return {"landed": landed["id"], "case": case, "waits": waits, "queued": queued}


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
    assert section_words(made(other), "plan") == (
        "Planning graph ● in progress initiative Faster checkout ○ todo plan One page "
        "○ todo slice Address depends on → Basket ○ todo slice Basket"
    ) or "slice Address depends on → Basket" in section_words(made(other), "plan")


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


def test_a_document_that_cannot_be_read_is_left_out(root: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    epic = make(root, "epic", "Whole")
    gone = make(root, "epic", "Damaged")
    path = root.world.store.layout("refs/codestrator/state").place(gone)
    assert path
    context = Context()
    context.__dict__["world"] = root.world
    tx = context.tx()
    rows = [*tx.rows(Task), type("Row", (), {"id": "epic-0000000000"})()]
    assert {one.id for one in gathering._readable(tx, Task, rows)} == {epic, gone}


# What others wrote


def soil(root: Actor, text: str) -> None:
    """Documents that have it wherever a text may be, as another machine could have published them."""
    session, worktree = mint("ses"), root.worktree
    about: dict[str, Any] = {"machine": text, "session_id": session}
    put(root, root.world.store.read().require(Session, root.session).but(
        id=session, owner=text, user_request=text, agent_role=text, status="closed", closed_at=text,
        machine=text,
    ))  # fmt: skip
    put(root, root.world.store.read().require(Session, root.session).but(id=mint("ses"), owner=text, user_request=text))
    record(root, title=text, role=text, progress=text, blocker=text, reason=text, final_message=text, reported_at=text)
    proof = Evidence(command=text, commit=text, tree=text, note=text, exit_status=1, duration_seconds=1e30)
    step = Step(
        title=text, status="done", order=1, result_text=text, evidence=proof, checked_at=text, artifacts=(text,)
    )
    parent = put(root, a_task("epic", text)).id
    for status in ("in_progress", "cancelled", "landed"):
        put(root, a_task("case", text, parent_id=parent, status=status, steps={"1": step, text[:50]: step},
            summary=text, description=text, acceptance=(text,), files=(text,), depends_on=(text[:99],),
            begun_at="0001-01-01T00:00:00+14:00", next_action=text, landed_commit=text, cancel_reason=text,
            owner_session_id=text,
            done_at="9999-12-31T23:59:59-14:00"))  # fmt: skip
    put(root, a_task("case", text, status="done", begun_at="2026-05-04T09:30:00", done_at=text))
    held = {
        "fence": 7,
        "ttl_seconds": 10**7,
        "granted_at": root.world.now().at.isoformat(),
        "beat": 0,
        "boot_id": text,
    }
    held |= {"renewed_at": root.world.now().at.isoformat(), "nonce": text, "op": text, "thread_id": None}
    scopes: Any = (("file", text), ("prefix", "a/" * 400 + text), ("prefix", "a/" * 300 + "b/c"), ("file", "//"))
    for kind, path in scopes:
        put(root, Lease(id=f"lock-{mint('op')[3:]}", domain="paths", scope_type=kind, scope_path=path,
            **held | about | {"session_id": root.session}))  # type: ignore[arg-type]  # fmt: skip
    request = put(root, MergeRequest(id=mint("mrq"), session_id=session, worktree_id=worktree, target_branch=text))
    finding = Finding(file=text, severity="blocking", description=text, evidence=text, line=3)
    put(root, Review(id=mint("rev"), merge_request_id=request.id, session_id=session, state="completed", summary=text,
        verdict="block", findings=(finding,) * 7))  # fmt: skip
    put(root, Land(id=mint("land"), session_id=session, from_worktree_id=worktree, target_branch=text,
        queued_at=text, merge_request_id=request.id, state="failed", merge_commit=text, error_message=text, 
        completed_at=text))  # fmt: skip
    check = Check(text=text, status="todo", facet=text, order=1)
    put(root, Node(id=mint("node"), node_type="plan", facet=text, title=text, priority=0, status="todo",
        approval_state="rejected", summary=text, decision_reason=text, affected_files=(text,),
        edges=(Edge(edge_type="blocks", to=text), Edge(edge_type="contains", to=text)),
        checklist={"1": check}))  # fmt: skip
    subject = "".join(text.split()).replace("\x00", "")  # of a commit's subject the first word is shown
    stamp = Stamp(subject, mint("op"), "a<b>", session, None, "m")
    root.world.store.transact(lambda tx: tx.put(a_task("epic", text)), stamp=stamp)


def a_task(level: str, title: str, **fields: Any) -> Task:
    about: dict[str, Any] = {"priority": 0, "created_by": "thr-0000000000", "session_id": "ses-0000000000"}
    prefix = {"epic": "epic", "feature": "feat", "case": "case"}[level]
    return Task(id=mint(prefix), level=level, title=title, **about | {"status": "todo"} | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_words_of_others_are_more_than_words(text: str, root: Actor) -> None:
    clean = made(root)
    soil(root, text)
    shown = page(found_by(root)._replace(repository=text))
    assert {one.tag for one in read(shown).iter()} - {one.tag for one in read(clean).iter()} <= MORE_TAGS
    assert_nothing_outside(shown)
    assert not BIDI_AND_CONTROL.search(shown)
    assert len(shown) < MOST
    for name in ("sessions", "tasks", "timeline", "locks", "queue", "plan", "journal"):
        assert "".join(markup.text(text).split())[:20] in "".join(shown.split('id="' + name + '"')[1].split()), name


MORE_TAGS = {"dl", "div", "dt", "dd", "ol", "li", "ul", "details", "summary", "bdi", "path", "line", "rect", "time",
             "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "h3"}  # fmt: skip


def assert_nothing_outside(text: str) -> None:
    """One script and one style, those that the policy names by their digests; nothing that is fetched or run."""
    whole = read(text)
    for one in whole.iter():
        assert not {
            name for name in one.attrib if name.startswith("on") or name in ("style", "src", "srcset", "action")
        }
        assert one.get("href", "#").startswith("#")
    (style,), (script,) = whole.iter("style"), whole.iter("script")
    policy = {meta.get("http-equiv"): meta.get("content") for meta in whole.iter("meta")}["Content-Security-Policy"]
    for name, one in (("style-src", style), ("script-src", script)):
        digest = b64encode(sha256((one.text or "").encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy) and "unsafe" not in str(policy)
    for word in ("url(", "@import", "http", "fetch", "innerHTML", "eval", "insertAdjacent"):
        assert word not in f"{style.text}{script.text}"


def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own(busy: dict[str, str], other: Actor) -> None:
    text = made(other)
    assert_nothing_outside(text)
    assert not re.search(r"https?:|//[a-z]|data:", text)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_reads_back_as_what_a_terminal_would_show(text: str) -> None:
    from codestrator.edges.plain import visible

    element = ET.fromstring(markup.el("p", text, title=text))
    wanted = visible(text).translate(markup._NEITHER)
    assert "".join(element.itertext()) == wanted
    assert (element.get("title") or "").split() == wanted.split()


# How it is built


def test_headings_landmarks_and_tables_say_what_they_are(busy: dict[str, str], other: Actor) -> None:
    whole = read(made(other))
    assert whole.get("lang") == "en"
    assert [len(list(whole.iter(name))) for name in ("h1", "main", "nav", "header", "footer")] == [1, 1, 1, 1, 1]
    levels = [int(one.tag[1]) for one in whole.iter() if re.fullmatch("h[1-6]", one.tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [one.get("id") for one in whole.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    for one in whole.iter():
        assert one.get("aria-labelledby", ids[0]) in ids
        assert one.get("href", f"#{ids[0]}")[1:] in ids
    for table in whole.iter("table"):
        assert words(table.find("caption"))
        heads = [one.get("scope") for one in table.findall("thead/tr/th")]
        assert heads and set(heads) == {"col"}
        assert all(row.find("th") is not None and len(row) == len(heads) for row in table.findall("tbody/tr"))
    viewport = {meta.get("name"): meta.get("content") for meta in whole.iter("meta")}["viewport"]
    assert viewport == "width=device-width, initial-scale=1"


def test_every_status_has_a_sign_beside_its_word_so_that_colour_is_not_needed() -> None:
    signs = {status: words(read(pieces.state(status))) for status in (*gathering.RANKS, "failed", "merged", "held")}
    assert signs["in_progress"] == "● in progress" and signs["todo"] == "○ todo" and signs["failed"] == "! failed"
    assert all(len(one.split()[0]) == 1 and len(one.split()) > 1 for one in signs.values())


def test_both_colour_schemes_can_be_read() -> None:
    """Contrast as WCAG 2.2 reckons it: 4.5 for text, on the page and on a card."""
    style = (Path(pieces.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in style.split("prefers-color-scheme")[:2]
    )
    for scheme in (light, dark):
        for name in set(scheme) - {"page", "card", "line"}:
            assert contrast(scheme[name], scheme["page"]) >= 4.5, name
            assert contrast(scheme[name], scheme["card"]) >= 4.5, name


def contrast(one: str, two: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted((light(one), light(two)))
    return (bright + 0.05) / (dark + 0.05)


def test_ten_thousand_tasks_make_a_page_of_bounded_size_that_says_what_it_leaves_out(root: Actor) -> None:
    stamp = Stamp("bench.fill", mint("op"), "test", root.session, None, root.world.settings.machine)
    root.world.store.transact(plan(10_000), stamp=stamp)
    text = made(root)
    assert len(text) < 500_000
    tree = section_words(text, "tasks")
    assert "9,400 more tasks are left out here." in tree and "Cases finished 0 of 9,802" in section_words(
        text, "summary"
    )
    assert "9,400 more tasks below" not in tree and "50 more tasks below are left out here." in tree
    assert "and 9,996 more" in section_words(text, "journal")


def test_rings_that_a_merge_closed_end(root: Actor) -> None:
    one, two = mint("node"), mint("node")
    about: dict[str, Any] = {"node_type": "slice", "facet": "x", "priority": 0, "status": "todo"}
    for this, that in ((one, two), (two, one)):
        edges = (Edge(edge_type="contains", to=that),)
        put(root, Node(id=this, title="Ring", approval_state="none", edges=edges, **about))
    assert section_words(made(root), "plan").count("Ring") == 2


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


# In a browser

ASKED = """
  const wide = page.documentElement.scrollWidth, field = page.querySelector(".tools input");
  const shown = () => [...page.querySelectorAll("#task-tree li")].filter((one) => !one.closest("[hidden]")).length;
  const before = shown();
  field.value = "tax is";
  field.dispatchEvent(new Event("input"));
  const found = shown(), told = page.querySelector(".tools [role=status]").textContent;
  page.querySelectorAll(".tools button")[0].click();
  const closed = page.querySelectorAll("#task-tree details:not([open])").length;
  return {wide, before, found, told, closed, grown: page.documentElement.scrollWidth, alarm: !!f.contentWindow.alarm};
"""


def png_size(picture: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_screen_is_too_narrow_for_it_and_its_filter_finds(
    width: int,
    busy: dict[str, str],
    other: Actor,
    browser: Browser,
) -> None:
    found = json.loads(browser.asked(made(other), ASKED, width))
    assert found["wide"] <= width and found["grown"] <= width
    assert found["told"] == "1 found" and found["before"] > found["found"]
    assert found["closed"] == 0


def test_no_words_of_others_run_or_widen_the_page(root: Actor, browser: Browser) -> None:
    for text in ("<script>alarm = 1</script><img src=x onerror='alarm = 1'>", "x" * 100_000):
        soil(root, text)
    found = json.loads(browser.asked(made(root), ASKED, 390))
    assert found["alarm"] is False and found["grown"] <= 390


def test_it_is_drawn_on_a_desk_on_a_phone_and_in_the_dark(
    busy: dict[str, str],
    other: Actor,
    browser: Browser,
    tmp_path: Path,
) -> None:
    place = tmp_path / "page.html"
    place.write_text(made(other), encoding="utf-8")
    light = browser.shot(place, 1280, 900)
    dark = browser.shot(place, 1280, 900, "--blink-settings=preferredColorScheme=0")
    assert png_size(light) == png_size(dark) == (1280, 900) and light != dark
    assert png_size(browser.shot(place, 390, 844)) == (390, 844)
    assert 'class="tools"' in browser.dom(place) and busy["case"]


def test_a_browser_without_scripts_shows_everything(busy: dict[str, str], other: Actor) -> None:
    """Nothing is hidden but by the reader's own fold, and no control is there that would do nothing."""
    whole = read(made(other))
    assert not [one for one in whole.iter() if one.tag in ("button", "input") or "hidden" in one.attrib]
    assert busy["case"] in words(whole.find("body"))
