"""The page of `report`: only words where others wrote, sound markup, and what browsers make of it."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.edges.report import gathering, markup, pieces
from codestrator.edges.report.page import page
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
from codestrator.store.transaction import Stamp, Transaction
from tests.actors import Actor
from tests.bench.fill import plan
from tests.edges.pages import Browser, found_by, made, read, section_words, words
from tests.methods.crew import put, record

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
    body = read(shown).find("body")
    assert body is not None and max(len(one) for one in body.itertext() if "use strict" not in one) <= markup.PASSAGE
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


def test_the_longest_texts_in_the_longest_lists_make_a_page_of_bounded_size(root: Actor) -> None:
    """Characters that take six to be shown, wherever many can be."""
    text = "\x07" * 1500
    session = root.world.store.read().require(Session, root.session)
    check = Check(text=text, status="todo", facet="x", order=1)
    step = Step(title=text, status="done", order=1, result_text=text)
    about: dict[str, Any] = {"node_type": "plan", "facet": "x", "priority": 0, "status": "todo", "summary": text}

    def fill(tx: Transaction) -> None:
        for _ in range(100):
            tx.put(session.but(id=mint("ses"), owner=text, user_request=text))
            tx.put(a_task("case", text, steps={str(one): step for one in range(30)}, files=(text,) * 20))
            checks = {str(one): check for one in range(30)}
            tx.put(Node(id=mint("node"), title=text, approval_state="none", checklist=checks, **about))
            tx.put(Land(id=mint("land"), session_id=root.session, from_worktree_id=root.worktree, target_branch=text,
                        merge_request_id=mint("mrq"), queued_at=text, state="failed", error_message=text))  # fmt: skip

    root.world.store.transact(fill, stamp=Stamp("many", mint("op"), "test", root.session, None, "m"))
    shown = made(root)
    assert len(shown) < 2 * MOST
    assert "61 more rows are left out here." in section_words(shown, "sessions")
    assert "more tasks" not in section_words(shown, "tasks") and "steps are left out here." in section_words(
        shown, "tasks"
    )


def test_rings_that_a_merge_closed_end(root: Actor) -> None:
    one, two = mint("node"), mint("node")
    about: dict[str, Any] = {"node_type": "slice", "facet": "x", "priority": 0, "status": "todo"}
    for this, that in ((one, two), (two, one)):
        edges = (Edge(edge_type="contains", to=that),)
        put(root, Node(id=this, title="Ring", approval_state="none", edges=edges, **about))
    assert section_words(made(root), "plan").count("Ring") == 2


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


@pytest.mark.parametrize("width", [390, 1280])
def test_no_words_of_others_run_or_widen_the_page(width: int, root: Actor, browser: Browser) -> None:
    for text in ("<script>alarm = 1</script><img src=x onerror='alarm = 1'>", "x" * 100_000):
        soil(root, text)
    found = json.loads(browser.asked(made(root), ASKED, width))
    assert found["alarm"] is False and found["grown"] <= width


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
