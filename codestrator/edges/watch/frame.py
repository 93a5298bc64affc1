"""What stands above and below the panels: how much there is of everything, and what needs a person."""

from rich.text import Text

from codestrator.edges.watch.looking import Seen
from codestrator.edges.watch.panels import count, who
from codestrator.edges.watch.rows import clock, text


def top(seen: Seen, query: str, width: int) -> Text:
    """One line of figures, with the filter and the time of the look."""
    sessions = seen.status.get("sessions", ())
    live = sum(one.get("liveness") == "live" for one in sessions)
    rows, below = seen.plan.rows, seen.plan.below
    whole = [below[one] for one, row in rows.items() if row.parent_id not in rows]
    done, total = sum(one[0] for one in whole), sum(one[1] for one in whole)
    facts = [
        count(len(sessions), "session") + f", {live} live" if sessions else "no session",
        count(len(seen.children), "child", "children"),
        f"{done}/{total} cases" if total else "",
    ]
    made = Text.assemble(text(f" {seen.repository} ", "bold reverse"), "  ")
    if query:
        made.append_text(text(f"/{query}", "bold magenta")).append("  ")
    made.append(" · ".join(one for one in facts if one))
    if needing := len(seen.status.get("needs", ())):
        made.append(f" · {needing} need you", style="bold yellow")
    at = clock(seen.at)
    made.truncate(max(1, width - len(at) - 1), overflow="ellipsis", pad=True)
    return made.append(f" {at}", style="dim")


def needs(seen: Seen, most: int, width: int) -> Text:
    """What needs a person, a line each."""
    found = needed(seen)
    lines = [text(f"! {one}", "yellow") for one in found[:most]]
    if len(found) > most > 0:
        lines[-1] = text(f"! and {len(found) - most + 1} more, see git codestrator status", "yellow")
    for one in lines:
        one.truncate(max(1, width), overflow="ellipsis")
    return Text("\n").join(lines)


def needed(seen: Seen) -> list[str]:
    """What needs a person, in a person's words instead of ids."""
    names = {item["session"]["id"]: who(seen, item["session"]["id"]) for item in seen.status.get("sessions", ())}
    names |= {item["thread"]["id"]: item["thread"]["title"] for item in seen.children}
    names |= {one["id"]: one["title"] for one in seen.status.get("cases", ())}
    found = []
    for one in seen.status.get("needs", ()):
        quoted = one["what"].split("'")[1] if one["what"].startswith("'") else ""
        why = seen.blocked.get(quoted, "")
        said = one["what"].replace(quoted, names.get(quoted, quoted), 1)
        found.append(f"{said}: {why}" if why and why not in said else said)
    return found
