"""Sessions with what they did, each a bar on one axis of time: a table whose bars are drawn as SVG in percent.

Percent, so that a bar is as wide as the screen lets it be and its strokes and marks are not stretched with it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from codestrator.edges.report.gathering import Found, Some, moment, session_over
from codestrator.edges.report.markup import Html, Room, el, left_out, within, words
from codestrator.edges.report.pieces import DASH, NONE, ident, lasting, section, state
from codestrator.records import Land, Lease, Session, Task

ROWS = Room(240, 400_000)
TICKS = 4
HEIGHT = 16


class Bar(NamedTuple):
    """Something that lasted; `end` is None while it goes on, `mark` is when it came to what it was for."""

    kind: str
    name: object
    document: str
    session: str | None
    begin: datetime
    end: datetime | None
    status: str
    mark: datetime | None = None


class Axis(NamedTuple):
    begin: datetime
    end: datetime

    def at(self, time: datetime) -> float:
        """Where that is, in percent."""
        part = (time - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, part)), 2)


def timeline(found: Found) -> Html:
    sessions = list(_sessions(found.sessions))
    parts = [*_cases(found.begun), *_locks(found), *_landings(found)]
    bars = _grouped(sessions, parts)
    if not bars:
        return section("timeline", "Timeline", el("p", NONE, class_="none"))
    axis = _axis(bars, found.at)
    rows = within(ROWS, (_row(one, axis) for one in bars))
    total = found.sessions.total + len(parts) + found.begun.total - len(found.begun.items)
    head = el(
        "tr",
        el("th", "What", scope="col", role="columnheader"),
        el("th", _scale(axis), scope="col", role="columnheader", class_="scale"),
        el("th", "When (UTC)", scope="col", role="columnheader"),
        role="row",
    )
    made = el(
        "table",
        el("caption", "Sessions, cases, locks and landings over time", class_="unseen"),
        el("thead", head, role="rowgroup"),
        el("tbody", rows, role="rowgroup"),
        class_="gantt",
        role="table",
    )
    about = "Sessions, newest first, each with its cases, locks and landings. An arrow goes on; a diamond is a landing."
    return section("timeline", "Timeline", made, left_out(total, len(rows), "lines"), about=about)


def _sessions(sessions: Some[Session]) -> Iterator[Bar]:
    for one in sessions.items:
        if begin := moment(one.created_at):
            end = moment(one.closed_at or one.updated_at) if session_over(one) else None
            yield Bar("session", one.user_request or one.owner, one.id, one.id, begin, end, one.status)


def _cases(cases: Some[Task]) -> Iterator[Bar]:
    for one in cases.items:
        if begin := moment(one.begun_at):
            yield Bar("case", one.title, one.id, one.owner_session_id, begin, moment(one.done_at), one.status)


def _locks(found: Found) -> Iterator[Bar]:
    alive = {one["id"] for one in found.locks.items}
    for one in found.leases.items:
        begin = moment(one.granted_at)
        if begin is None:
            continue
        end, status = _end_of(one, found.at) if one.id not in alive else (None, "held")
        kind = "merge lock" if one.domain == "merge" else "lock"
        name = one.target_branch if one.domain == "merge" else one.scope_path
        yield Bar(kind, name or "", f"fence {one.fence}", one.session_id, begin, end, status)


def _end_of(lease: Lease, now: datetime) -> tuple[datetime | None, str]:
    if lease.state != "held":
        return moment(lease.updated_at), lease.state
    renewed = moment(lease.renewed_at)
    return (min(now, renewed + timedelta(seconds=min(lease.ttl_seconds, 10**6))) if renewed else None), "lapsed"


def _landings(found: Found) -> Iterator[Bar]:
    for one in found.lands.items:
        if begin := moment(one.queued_at):
            yield _landing(one, begin)
    for item in found.now["queue"]:
        if begin := moment(item.get("queued_at")):
            about = f"to {item.get('target_branch')}"
            yield Bar("landing", about, item["id"], item.get("session_id"), begin, None, item["state"])


def _landing(land: Land, begin: datetime) -> Bar:
    end = moment(land.completed_at) or moment(land.updated_at)
    mark = end if land.state == "merged" else None
    return Bar("landing", f"to {land.target_branch}", land.id, land.session_id, begin, end, land.state, mark)


def _grouped(sessions: Iterable[Bar], parts: Iterable[Bar]) -> list[Bar]:
    """Each session followed by what is its own, in order of time; what belongs to none that is shown comes last."""
    of: dict[str | None, list[Bar]] = {}
    for one in sorted(parts, key=lambda one: (one.begin, one.document)):
        of.setdefault(one.session, []).append(one)
    bars: list[Bar] = []
    for session in sessions:
        bars += [session, *of.pop(session.session, ())]
    return bars + [one for rest in of.values() for one in rest]


def _axis(bars: list[Bar], now: datetime) -> Axis:
    begin, end = min(one.begin for one in bars), now
    return Axis(begin, end if end > begin else begin + timedelta(seconds=1))


def _scale(axis: Axis) -> Html:
    span = axis.end - axis.begin
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M" if span < timedelta(hours=20) else "%m-%d"
    times = (axis.begin + span * number / TICKS for number in range(TICKS + 1))
    return el("span", [el("span", one.strftime(form)) for one in times], class_="ticks")


def _row(bar: Bar, axis: Axis) -> Html:
    what = [el("span", bar.kind, class_="kind"), " ", words(bar.name, 80), " ", state(bar.status)]
    return el(
        "tr",
        el("th", what, scope="row", role="rowheader"),
        el("td", _drawn(bar, axis), role="cell"),
        el("td", _times(bar, axis), " ", ident(bar.document), role="cell", class_="times"),
        class_=bar.kind.replace(" ", "-"),
        role="row",
    )


def _times(bar: Bar, axis: Axis) -> str:
    form = "%H:%M:%S" if axis.end - axis.begin < timedelta(hours=20) else "%m-%d %H:%M"
    end = bar.end.strftime(form) if bar.end else "now"
    length = lasting(((bar.end or axis.end) - bar.begin).total_seconds())
    return f"{bar.begin.strftime(form)} {DASH} {end}, {length}"


def _drawn(bar: Bar, axis: Axis) -> Html:
    """The bar itself; all that it says stands in the row as words too."""
    begin, end = axis.at(bar.begin), axis.at(bar.end) if bar.end else 100.0
    shapes = [el("line", x1=f"{25 * one}%", x2=f"{25 * one}%", y1=0, y2=HEIGHT, class_="grid") for one in range(5)]
    if bar.kind == "lock" or bar.kind == "merge lock":  # dashed
        shapes.append(el("line", x1=f"{begin}%", x2=f"{end}%", y1=HEIGHT // 2, y2=HEIGHT // 2, class_="held"))
    elif bar.kind == "landing":
        shapes.append(el("line", x1=f"{begin}%", x2=f"{end}%", y1=HEIGHT // 2, y2=HEIGHT // 2, class_="queued"))
    else:
        top, high = (1, HEIGHT - 2) if bar.kind == "session" else (4, HEIGHT - 8)
        width = f"{round(end - begin, 2)}%"
        shapes.append(el("rect", x=f"{begin}%", y=top, width=width, height=high, rx=3, class_="span"))
    shapes.append(el("rect", x=f"{begin}%", y=3, width=3, height=HEIGHT - 6, class_="begin"))
    if bar.end is None:
        shapes.append(_mark("100%", "M-9 3 L-1 8 L-9 13 z", "open"))
    if bar.mark:
        shapes.append(_mark(f"{axis.at(bar.mark)}%", "M0 1 L7 8 L0 15 L-7 8 z", "diamond"))
    return el("svg", shapes, width="100%", height=HEIGHT, aria_hidden="true", focusable="false")


def _mark(x: str, path: str, name: str) -> Html:
    return el("svg", el("path", d=path, class_=name), x=x, y=0, overflow="visible")
