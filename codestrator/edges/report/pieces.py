"""What several sections are made of: headings, tables that stack on a narrow screen, statuses, times, ids."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from codestrator.edges.report.gathering import moment
from codestrator.edges.report.markup import Html, Room, el, join, left_out, within

DASH = "\u2013"
# A sign and a colour for each status; the word always stands beside them.
SIGNS = {
    "●": ("in_progress", "in_review", "running", "live", "reviewing", "initializing", "active_new", "active_resume"),
    "✓": ("done", "completed", "approved", "merged", "pass", "approve", "held"),
    "⚑": ("landed",),
    "!": ("blocked", "failed", "lost", "fail", "block", "rejected"),
    "?": ("waiting", "suspended", "away", "pending", "interrupted", "offered", "lapsed"),
    DASH: ("cancelled", "closed", "stopped", "skipped", "released", "ended", "handoff_attached"),
}
KINDS = {"●": "working", "✓": "good", "⚑": "landed", "!": "bad", "?": "asking", DASH: "over", "○": "ahead"}
SIGN = {status: sign for sign, statuses in SIGNS.items() for status in statuses}
NONE = "None."
ROWS = Room(200, 400_000)  # of one table


def section(name: str, title: str, *content: object, about: str = "") -> Html:
    head = el("h2", title, id=f"{name}-title")
    return el("section", head, el("p", about, class_="about") if about else None, *content,
              id=name, aria_labelledby=f"{name}-title")  # fmt: skip


def state(status: object) -> Html:
    """A status as sign and word."""
    sign = SIGN.get(str(status), "○")
    name = str(status).replace("_", " ")
    return el("span", el("span", sign, aria_hidden="true"), " ", name[:40], class_=f"state {KINDS[sign]}")


def ident(given: object) -> Html | None:
    return el("code", str(given)[:24], class_="id") if given else None


def commit(given: object) -> Html | None:
    return el("code", str(given)[:12], class_="id") if given else None


def when(given: object) -> Html:
    """A time of day, to the minute, in UTC; a dash where there is none."""
    at = given if isinstance(given, datetime) else moment(given)
    if at is None:
        return Html(DASH)
    return el("time", at.strftime("%Y-%m-%d %H:%M"), datetime=at.strftime("%Y-%m-%dT%H:%M:%SZ"))


def lasting(seconds: float) -> str:
    """A length in its two largest units.

    >>> lasting(42), lasting(3725), lasting(200_000)
    ('42 s', '1 h 2 min', '2 d 7 h')
    """
    left = max(0, int(seconds))
    if left < 60:
        return f"{left} s"
    units = (("d", 86_400), ("h", 3600), ("min", 60))
    parts: list[str] = []
    for unit, length in units:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(one for one in parts[:2] if one)


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[object]], total: int = 0) -> Html:
    """A table, and how many of `total` rows are not in it; the first cell of a row is its header.

    Roles are said again, for a table that is stacked is none to browsers.
    """
    body = within(ROWS, (_row(heads, row) for row in rows))
    if not body and not rows:
        return el("p", NONE, class_="none")
    head = el("tr", [el("th", one, scope="col", role="columnheader") for one in heads], role="row")
    made = el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", head, role="rowgroup"),
        el("tbody", body, role="rowgroup"),
        role="table",
    )
    return join([made, left_out(max(total, len(rows)), len(body), "rows")])


def _row(heads: Sequence[str], row: Sequence[object]) -> Html:
    cells = []
    for number, (head, one) in enumerate(zip(heads, row, strict=True)):
        content = join([one]) or Html(DASH)
        if number:
            cells.append(el("td", el("span", content), data_label=head, role="cell"))
        else:
            cells.append(el("th", el("span", content), data_label=head, scope="row", role="rowheader"))
    return el("tr", cells, role="row")


def listed(items: Iterable[object], **attributes: object) -> Html:
    made = [el("li", one) for one in items]
    return el("ul", made, **attributes) if made else el("p", NONE, class_="none")
