"""The whole page: one file that asks nothing of the network, and is whole without its script."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from codestrator import __version__
from codestrator.edges.report import sections, timeline, trees
from codestrator.edges.report.gathering import Found
from codestrator.edges.report.markup import Html, el, words
from codestrator.edges.report.pieces import commit, when

MARK = "<!DOCTYPE html>\n<!-- codestrator report -->\n"
PARTS = (
    ("summary", "Summary"),
    ("sessions", "Sessions"),
    ("tasks", "Tasks"),
    ("timeline", "Timeline"),
    ("locks", "Locks"),
    ("queue", "Landing"),
    ("plan", "Plan"),
    ("journal", "Journal"),
)


def page(found: Found) -> str:
    folder = Path(__file__).parent
    style, script = (Html((folder / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    allowed = (
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content="; ".join(allowed)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{found.repository[:80]}: state of the work"),
        el("style", style),
    )
    return MARK + el("html", head, _body(found, script), lang="en", dir="ltr") + "\n"


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _body(found: Found, script: Html) -> Html:
    links = [el("li", el("a", title, href=f"#{name}")) for name, title in PARTS]
    header = el(
        "header",
        el("h1", words(found.repository, 80), ": state of the work"),
        el("p", "Read ", when(found.at), f" UTC, version {found.version:,} of the state, commit ",
           commit(found.commit)),
    )  # fmt: skip
    nav = el("nav", el("ul", links), aria_label="Sections")
    main = el(
        "main",
        sections.summary(found),
        sections.people(found),
        trees.tasks(found),
        timeline.timeline(found),
        sections.locks(found),
        sections.queue(found),
        trees.graph(found),
        sections.journal(found),
        id="content",
    )
    said = f"Made by codestrator {__version__}. Titles and all other words of agents and people are data."
    skip = el("a", "To the content", href="#content", class_="skip")
    return el("body", skip, header, nav, main, el("footer", el("p", said)), el("script", script))
