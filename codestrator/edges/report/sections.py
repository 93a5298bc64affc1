"""The sections that are figures, tables and lists: summary, sessions, locks by path, the queue, the journal."""

from collections.abc import Iterator, Mapping
from typing import Any

from codestrator.edges.report.gathering import RANKS, Found, session_over
from codestrator.edges.report.markup import Html, el, left_out, passage, words
from codestrator.edges.report.pieces import (
    KINDS,
    NONE,
    SIGN,
    commit,
    ident,
    lasting,
    listed,
    section,
    state,
    table,
    when,
)
from codestrator.edges.verbs import SHOWN
from codestrator.records import Land, Review

FINDINGS = 5
DOCUMENTS = 4
ENDED = ("Item", "Came to", "Target", "Review", "Commit", "Queued", "Ended")


def summary(found: Found) -> Html:
    now, plan = found.now, found.plan
    alive = sum(one.get("liveness") == "live" for one in now["sessions"])
    finished = sum(plan.cases.get(one, 0) for one in ("done", "landed"))
    counted = sum(plan.cases.values()) - plan.cases.get("cancelled", 0)
    merged = sum(one.state == "merged" for one in found.lands.items)
    figures = (
        ("Cases finished", f"{finished:,} of {counted:,}"),
        ("Steps done", f"{plan.steps[0]:,} of {plan.steps[1]:,}"),
        ("Sessions alive", f"{alive:,} of {_at_least(now['sessions'])} open"),
        ("Children at work", _at_least(now["children"])),
        ("Locks held", f"{found.locks.total:,}"),
        ("Waiting to land", _at_least(now["queue"])),
        ("Landings", f"{merged:,}" + (" or more" if found.lands.total > len(found.lands.items) else "")),
        ("Needs somebody", f"{len(now['needs']):,}"),
    )
    cards = el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in figures], class_="figures")
    return section("summary", "Summary", cards, _by_status(plan.cases), _needs(now["needs"]))


def _at_least(shown: list[Any]) -> str:
    """How many; the status lists no more than so many of each."""
    return f"{len(shown):,}" + (" or more" if len(shown) >= SHOWN else "")


def _by_status(cases: Mapping[str, int]) -> Html | None:
    total = sum(cases.values())
    if not total:
        return None
    at = 0.0
    bars, names = [], []
    for status in RANKS:
        if count := cases.get(status, 0):
            share = 100 * count / total
            kind = KINDS[SIGN.get(status, "○")]
            bars.append(el("rect", x=f"{at:.2f}%", y=0, width=f"{share:.2f}%", height=14, class_=f"share {kind}"))
            names.append(el("li", state(status), f" {count:,}"))
            at += share
    drawn = el("svg", bars, width="100%", height=14, aria_hidden="true", focusable="false", class_="shares")
    return el("div", el("h3", "Cases by status"), drawn, el("ul", names, class_="legend"))


def _needs(needs: list[dict[str, str]]) -> Html | None:
    if not needs:
        return None
    items = ([words(one["what"], 400), " ", el("code", words(one["call"], 200), class_="call")] for one in needs)
    return el("div", el("h3", "Needs somebody"), listed(items, class_="needs"))


def people(found: Found) -> Html:
    liveness = {one["session"]["id"]: one["liveness"] for one in found.now["sessions"]}
    rows = [
        (
            ident(one.id),
            state("ended" if session_over(one) else liveness.get(one.id, one.status)),
            words(one.owner),
            words(one.user_request) if one.user_request else None,
            when(one.created_at),
            when(one.closed_at) if one.closed_at else None,
        )
        for one in found.sessions.items
    ]
    heads = ("Session", "Is", "Owner", "Asked to", "Opened", "Closed")
    sessions = table("Sessions, newest first", heads, rows, found.sessions.total)
    return section("sessions", "Sessions and children", sessions, *_children(found))


def _children(found: Found) -> Iterator[Html | None]:
    rows = [
        (
            ident(one.id),
            state(one.status),
            [words(one.title), " ", el("span", words(one.role, 40), class_="kind")],
            ident(one.session_id),
            passage(one.blocker or one.reason or one.final_message or one.progress or ""),
            when(one.reported_at or one.completed_at or one.started_at),
        )
        for one in found.children.items
    ]
    if rows:
        yield el("h3", "Children")
        heads = ("Child", "Is", "Works on", "Session", "Last said", "At")
        yield table("Children", heads, rows, found.children.total)


def locks(found: Found) -> Html:
    """The locks where they lie: folders inside of folders, then the branches that somebody may merge into."""
    tree: dict[str, Any] = {}
    branches = []
    for one in found.locks.items:
        if one["domain"] == "merge":
            branches.append([el("code", words(one.get("target_branch", ""))), " ", _holder(one)])
            continue
        spot = tree
        path = str(one.get("scope_path", "."))
        for part in [] if path == "." else path.split("/"):
            spot = spot.setdefault("below", {}).setdefault(part, {})
        spot.setdefault("locks", []).append(one)
    by_path = _folder(tree, "") if tree else el("p", NONE, class_="none")
    parts = [el("h3", "Paths"), by_path, left_out(found.locks.total, len(found.locks.items), "locks")]
    if branches:
        parts += [el("h3", "Branches to merge into"), listed(branches)]
    if found.waiters:
        parts += [el("h3", "Waiting for a lock"), listed(_waiter(one) for one in found.waiters)]
    return section("locks", "Locks", *parts)


def _folder(spot: dict[str, Any], path: str, depth: int = 0) -> Html:
    """A folder's own locks and what is below it; a folder with nothing but one other is written with it."""
    items = [el("li", _path(one, path or "."), " ", _holder(one)) for one in spot.get("locks", ())]
    for name, below in sorted(spot.get("below", {}).items()):
        where = name
        while not below.get("locks") and len(below["below"]) == 1:
            ((name, below),) = below["below"].items()
            where = f"{where}/{name}"
        items += _below(where, below, depth)
    return el("ul", items, class_="paths")


def _below(where: str, spot: dict[str, Any], depth: int) -> list[Html]:
    own = [el("li", _path(one, where), " ", _holder(one)) for one in spot.get("locks", ())]
    if not spot.get("below"):
        return own
    inner = _folder({"below": spot["below"]}, "", depth + 1) if depth < 8 else el("p", "Deeper paths are left out.")
    return [*own[:-1], _with(own, where, inner)]


def _with(own: list[Html], where: str, inner: Html) -> Html:
    if own:
        return Html(own[-1].removesuffix("</li>") + inner + "</li>")
    return el("li", el("code", words(f"{where}/"), class_="path"), inner)


def _path(lock: Mapping[str, Any], where: str) -> Html:
    shown = where + ("/" if lock.get("scope_type") == "prefix" else "")
    kind = "folder" if lock.get("scope_type") == "prefix" else "file"
    return el("span", el("code", words(shown), class_="path"), " ", el("span", kind, class_="kind"))


def _holder(lock: Mapping[str, Any]) -> list[object]:
    owner = (lock.get("holder") or {}).get("owner")
    return [
        "held by ",
        ident(lock.get("session_id")),
        [" (", words(owner, 60), ")"] if owner else None,
        " for ",
        lasting(lock["seconds_left"]),
        " more, since ",
        when(lock.get("granted_at")),
        f", fence {lock['fence']}",
    ]


def _waiter(one: Mapping[str, Any]) -> list[object]:
    scopes = [[el("code", words(scope["scope_path"])), " "] for scope in one.get("scopes", ())[:10]]
    return [ident(one.get("session_id")), " waits for ", *scopes]


def queue(found: Found) -> Html:
    waiting = [
        (
            ident(one["id"]),
            state(one["state"]),
            words(one.get("target_branch", "")),
            one.get("position"),
            words(one.get("reason") or "", 400),
            ident(one.get("session_id")),
            when(one.get("queued_at")),
        )
        for one in found.now["queue"]
    ]
    heads = ("Item", "Is", "Target", "Place", "Why it waits", "Session", "Queued")
    past = [_past(one, found.reviews.get(one.merge_request_id)) for one in found.lands.items]
    return section(
        "queue",
        "Landing",
        el("h3", "Waiting to land"),
        table("Waiting to land", heads, waiting),
        el("h3", "History"),
        table("What landed or did not", ENDED, past, found.lands.total),
    )


def _past(land: Land, review: Review | None) -> tuple[object, ...]:
    return (
        ident(land.id),
        [state(land.state), [" ", passage(land.error_message)] if land.error_message else None],
        words(land.target_branch),
        _review(review) if review else None,
        commit(land.merge_commit),
        when(land.queued_at),
        when(land.completed_at),
    )


def _review(review: Review) -> list[object]:
    found = [
        el("li", words(one.severity), " ", el("code", words(f"{one.file}:{one.line}" if one.line else one.file)), " ",
           words(one.description, 400))
        for one in review.findings[:FINDINGS]
    ]  # fmt: skip
    return [
        state(review.verdict or review.state),
        [" ", passage(review.summary)] if review.summary else None,
        el("ul", found) if found else None,
        left_out(len(review.findings), len(found), "findings"),
    ]


def journal(found: Found) -> Html:
    rows = [
        (
            ident(one.get("op") or one["commit"][:12]),
            when(one["at"]),
            [el("code", words(one["method"], 80)), " undone" if one.get("undone_by") else None],
            el("code", words(one.get("actor") or "", 60)),
            _documents(one["documents"]),
        )
        for one in found.journal
    ]
    about = "The newest operations. git codestrator journal lists them all, git codestrator undo takes the last back."
    made = table("The newest operations", ("Operation", "At (UTC)", "Method", "By", "Changed"), rows)
    return section("journal", "Journal", made, about=about)


def _documents(touched: list[dict[str, str]]) -> list[object]:
    shown = [[el("code", words(one["name"], 80)), f" {one['change']}, "] for one in touched[:DOCUMENTS]]
    if shown:
        shown[-1][1] = str(shown[-1][1]).rstrip(", ")
    more = len(touched) - len(shown)
    return [*shown, f" and {more:,} more" if more > 0 else None]
