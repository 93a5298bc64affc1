"""Trees as nested lists that open and close: the tasks with their steps and evidence, the planning graph."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from codestrator.edges.report.gathering import Found, Plan
from codestrator.edges.report.markup import Html, Room, el, join, left_out, passage, within, words
from codestrator.edges.report.pieces import NONE, commit, ident, lasting, section, state, when
from codestrator.records import Edge, Evidence, Node, Step, Task

DEEPEST = 6  # levels that are set in; what lies deeper in a damaged state is left out and counted
FEW = 15  # of one task or node: files, edges, criteria
STEPS = Room(30, 40_000)
OPEN = ("in_progress", "blocked")
DETAILS = 1_200_000  # characters of details in one tree; what comes after that is its title alone


class Grown:
    """A forest drawn from its roots, each member once; `seen` are those that were."""

    def __init__(self, below: Mapping[str, Sequence[str]], draw: Callable[[str, Sequence[Html]], Html]) -> None:
        self.below = below
        self.draw = draw
        self.seen: set[str] = set()

    def grow(self, roots: Iterable[str], depth: int = 0) -> list[Html]:
        made = []
        for one in roots:
            if one not in self.seen and depth < DEEPEST:
                self.seen.add(one)
                made.append(self.draw(one, self.grow(self.below.get(one, ()), depth + 1)))
        return made


def tasks(found: Found) -> Html:
    plan = found.plan
    known = {one.id: one for one in plan.tasks.items}
    below: dict[str, list[str]] = {}
    for one in plan.tasks.items:
        below.setdefault(one.parent_id or "", []).append(one.id)
    drawn = _Tasks(plan, known)
    grown = Grown(below, drawn.task)
    roots = [one.id for one in plan.tasks.items if one.parent_id not in known]
    made = grown.grow(roots)
    tree = el("ul", made, class_="tree", id="task-tree") if made else el("p", NONE, class_="none")
    about = "What is in work comes first. Open a case to see its steps and what shows that they were done."
    more = left_out(plan.tasks.total, len(grown.seen), "tasks")
    return section("tasks", "Tasks", tree, more, about=about if made else "")


class Details:
    """What is said beside the titles of a tree, as long as there is room for it."""

    def __init__(self) -> None:
        self._left = DETAILS

    def fit(self, parts: Callable[[], Sequence[Html | None]]) -> Html | None:
        if self._left <= 0:
            return None
        found = parts()
        if not any(found):
            return None
        made = el("div", found, class_="details")
        self._left -= len(made)
        return made


class _Tasks:
    """Draws tasks."""

    def __init__(self, plan: Plan, known: Mapping[str, Task]) -> None:
        self.plan = plan
        self.known = known
        self.details = Details()

    def task(self, task_id: str, children: Sequence[Html]) -> Html:
        one = self.known[task_id]
        status = self.plan.status.get(task_id, one.status)
        finished, cases, hidden = self.plan.below[task_id]
        head = [
            state(status),
            " ",
            el("span", one.level.replace("_", " "), class_="kind"),
            " ",
            el("span", words(one.title), class_="title"),
            " ",
            el("span", _progress(one, finished, cases), class_="count"),
        ]
        details = self.details.fit(lambda: (_facts(one), _steps(one)))
        if not (details or children or hidden):
            return el("li", el("div", head, class_="leaf"))
        content = [details, el("ul", children) if children else None, left_out(hidden, 0, "tasks below")]
        opened = bool(children) and (one.level == "epic" or status in OPEN)
        return el("li", el("details", el("summary", head), content, open=opened))


def _progress(one: Task, finished: int, cases: int) -> str:
    if one.level == "case":
        return f"{one.steps_done} of {one.steps_total} steps" if one.steps else ""
    return f"{finished} of {cases} cases" if cases else ""


def _facts(one: Task) -> Html | None:
    facts = [
        ("Id", ident(one.id)),
        ("About", passage(one.description) if one.description else None),
        ("Accepted when", _few([words(each) for each in one.acceptance[:FEW]], len(one.acceptance), "criteria")),
        ("Waits for", _few([ident(each) for each in one.waits_for[:FEW]], len(one.waits_for), "tasks")),
        ("Files", _few([el("code", words(each)) for each in one.files[:FEW]], len(one.files), "files")),
        ("Session", ident(one.owner_session_id)),
        ("Begun", when(one.begun_at) if one.begun_at else None),
        ("Done", when(one.done_at) if one.done_at else None),
        ("Next", passage(one.next_action) if one.next_action else None),
        ("Summary", passage(one.summary) if one.summary else None),
        ("Landed as", commit(one.landed_commit)),
        ("Cancelled", passage(one.cancel_reason) if one.cancel_reason else None),
    ]
    said = [(name, value) for name, value in facts if value]
    if len(said) < 2 and one.level != "case":
        return None
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in said], class_="facts")


def _steps(one: Task) -> Html | None:
    if not one.steps:
        return None
    steps = sorted(one.steps.items(), key=lambda item: (item[1].order, item[0]))
    made = within(STEPS, (el("li", _step(step)) for _, step in steps))
    return Html(el("ol", made, class_="steps") + (left_out(len(steps), len(made), "steps") or ""))


def _step(step: Step) -> list[object]:
    said: list[object] = [state(step.status), " ", words(step.title)]
    if step.result_text:
        said.append(el("div", passage(step.result_text), class_="result"))
    if step.evidence:
        said.append(el("div", _evidence(step.evidence), class_="evidence"))
    if step.checked_at:
        said.append(el("div", "checked ", when(step.checked_at), class_="evidence"))
    return said


def _evidence(one: Evidence) -> list[object]:
    said: list[object] = []
    if one.command:
        said += [el("code", words(one.command, 400)), " "]
    if one.exit_status is not None:
        said.append(f"exit status {one.exit_status} ")
    if one.duration_seconds is not None:
        said.append(f"in {_measured(one.duration_seconds)} ")
    if one.commit:
        said += ["on ", commit(one.commit), " "]
    return [*said, passage(one.note) if one.note else None]


def _measured(seconds: float) -> str:
    return f"{seconds:.1f} s" if 0 <= seconds < 60 else lasting(seconds)


def graph(found: Found) -> Html:
    """What contains what; the other edges are told at the node they come from."""
    known = {one.id: one for one in found.nodes.items}
    below = {
        one.id: [edge.to for edge in one.edges if edge.edge_type == "contains" and edge.to in known]
        for one in found.nodes.items
    }
    inside = {to for children in below.values() for to in children}
    details = Details()
    grown = Grown(below, lambda node_id, children: _node(known, details, node_id, children))
    made = grown.grow(one for one in known if one not in inside)
    made += grown.grow(known)  # two machines can each lay one half of a ring, which has no root
    tree = el("ul", made, class_="tree") if made else el("p", NONE, class_="none")
    return section("plan", "Planning graph", tree, left_out(found.nodes.total, len(grown.seen), "nodes"))


def _node(known: Mapping[str, Node], details: Details, node_id: str, children: Sequence[Html]) -> Html:
    one = known[node_id]
    head = [
        state(one.status),
        " ",
        el("span", one.node_type, class_="kind"),
        " ",
        el("span", words(one.title), class_="title"),
        [" ", state(one.approval_state)] if one.approval_state != "none" else None,
    ]
    said = details.fit(lambda: _about(known, one))
    if not children and not said:
        return el("li", el("div", head, class_="leaf"))
    content = [said, el("ul", children) if children else None]
    return el("li", el("details", el("summary", head), content, open=one.status != "done"))


def _about(known: Mapping[str, Node], one: Node) -> list[Html | None]:
    edges = [edge for edge in one.edges if edge.edge_type != "contains"]
    checks = sorted(one.checklist.values(), key=lambda check: (check.facet, check.order))
    return [
        el("p", passage(one.summary)) if one.summary else None,
        el("p", "Decided: ", passage(one.decision_reason)) if one.decision_reason else None,
        _few([el("code", words(each)) for each in one.affected_files[:FEW]], len(one.affected_files), "files"),
        _few([_edge(known, each) for each in edges[:FEW]], len(edges), "edges"),
        _few([[state(each.status), " ", words(each.text)] for each in checks[:FEW]], len(checks), "checks"),
    ]


def _edge(known: Mapping[str, Node], edge: Edge) -> list[object]:
    end = words(known[edge.to].title) if edge.to in known else ident(edge.to)
    return [edge.edge_type.replace("_", " "), " → ", end]


def _few(made: Sequence[object], total: int, what: str) -> Html | None:
    return (
        join([el("ul", [el("li", one) for one in made], class_="few"), left_out(total, len(made), what)])
        if made
        else None
    )
