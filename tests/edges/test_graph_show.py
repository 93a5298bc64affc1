"""`graph show`: the planning graph as a tree, as Mermaid and as DOT, in which no title can be more than text."""

import html
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.edges import drawing
from codestrator.edges.plain import cell
from codestrator.ids import mint
from codestrator.records import Edge, Node
from codestrator.store.transaction import Stamp
from tests.actors import Actor
from tests.edges.shell import Run, refused, result

HOSTILE = [
    'a"]; click n "javascript:alert(1)"',
    "%%{init: {'theme': 'x'}}%%",
    "x\n  node_0 --> node_1\nend\nsubgraph y",
    "<script>alert(1)</script><img src=x onerror=y>",
    "`markdown` **bold** #quot; #35; &quot; &#34;",
    'y"]; "a" -> "b" [URL="http://evil"',
    "ends in a backslash \\",
    '\\" \\N \\G \\l',
    "\x1b[31mred\x07 \u202eback\u202c",
    "ﬂ°°60¶ß style n fill:#f00; class a b",
    "größer, καλά, 日本",
]
MERMAID_NODE = re.compile(r'  (node_[0-9a-z]{10})\["((?:[^\W_]|[ .,_-]|#[0-9]+;)*)<br/>([a-z_, ]+)"\]')
MERMAID_EDGE = re.compile(r"  (node_\w{10}) (?:-->\|(?:depends on|blocks)\||-\.-|-->) (node_\w{10})")
DOT_NODE = re.compile(r'  "(node-[0-9a-z]{10})" \[label="((?:[^"\\\n]|\\\\|\\")*)\\n([a-z_, ]+)"\];')
DOT_EDGE = re.compile(r'  "(node-\w{10})" -> "(node-\w{10})" \[[a-z=", ]*\];')


def read_mermaid(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Titles by node and edges of a flowchart; fails on any line that is neither."""
    head, *lines = text.split("\n")
    assert head == "flowchart TD"
    titles, edges = {}, []
    for line in lines:
        if node := MERMAID_NODE.fullmatch(line):
            titles[node[1].replace("_", "-")] = re.sub(r"#([0-9]+);", lambda one: chr(int(one[1])), node[2])
        else:
            edge = MERMAID_EDGE.fullmatch(line)
            assert edge, line
            edges.append((edge[1].replace("_", "-"), edge[2].replace("_", "-")))
    return titles, edges


def read_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The same of a digraph."""
    head, style, *lines, end = text.split("\n")
    assert (head, style, end) == ("digraph plan {", "  node [shape=box];", "}")
    titles, edges = {}, []
    for line in lines:
        if node := DOT_NODE.fullmatch(line):
            titles[node[1]] = html.unescape(re.sub(r"\\(.)", r"\1", node[2]))
        else:
            edge = DOT_EDGE.fullmatch(line)
            assert edge, line
            edges.append((edge[1], edge[2]))
    return titles, edges


READERS = {"mermaid": read_mermaid, "dot": read_dot}
DRAWERS = {"mermaid": drawing.mermaid, "dot": drawing.dot}


def a_node(title: str, *edges: tuple[str, str], node_id: str = "") -> dict[str, Any]:
    """A node as the list has it."""
    return {
        **{"id": node_id or mint("node"), "node_type": "slice", "title": title, "status": "todo"},
        "approval_state": "none",
        "edges": [{"edge_type": edge_type, "to_node_id": to} for edge_type, to in edges],
    }


def put(root: Actor, nodes: list[Node]) -> None:
    """Publish nodes as they are."""
    stamp = Stamp("graph.node.create many", mint("op"), "test", root.session, None, root.world.settings.machine)
    root.world.store.transact(lambda tx: [tx.put(one) for one in nodes], stamp=stamp)


@pytest.mark.parametrize("form", READERS)
@given(title=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)))
def test_any_title_stays_a_text(form: str, title: str) -> None:
    node = a_node(title)
    titles, edges = READERS[form]("\n".join(DRAWERS[form]([node])))
    assert titles == {node["id"]: cell(title)} and edges == []


@pytest.mark.parametrize("form", READERS)
def test_hostile_titles_are_drawn_as_they_are_stored(form: str, run: Run, root: Actor) -> None:
    top = root("plan.bootstrap", initiative_title="Top", plan_title="Plan")["plan"]
    about: dict[str, Any] = {"node_type": "slice", "facet": "planning", "priority": 0, "status": "todo"}
    # As another machine could have published them: never cleaned by a method of ours.
    made = {mint("node"): title for title in HOSTILE}
    put(root, [Node(id=node_id, title=title, approval_state="none", **about) for node_id, title in made.items()])
    done = run("graph", "show", "--format", form)
    assert done.returncode == 0 and done.stderr == ""
    titles, edges = READERS[form](done.stdout.rstrip("\n"))
    assert titles == {node_id: cell(title) for node_id, title in made.items()} | {
        top["parent_id"]: "Top",
        top["id"]: "Plan",
    }
    assert edges == [(top["parent_id"], top["id"])]


@pytest.mark.parametrize("form", READERS)
def test_every_edge_is_drawn_but_none_to_what_is_not_there(form: str) -> None:
    a, b = mint("node"), mint("node")
    kinds = ("contains", "depends_on", "blocks", "relates_to")
    nodes = [a_node("a", *((kind, b) for kind in kinds), ("blocks", "node-0000000000"), node_id=a)]
    _, edges = READERS[form]("\n".join(DRAWERS[form]([*nodes, a_node("b", node_id=b)])))
    assert edges == [(a, b)] * 4


def test_the_tree_shows_what_contains_what(run: Run, root: Actor) -> None:
    plan = root("plan.bootstrap", initiative_title="Faster login", plan_title="Sessions")["plan"]["id"]
    specs = [{"title": "first", "priority": 1}, {"title": "second", "depends_on": ["first"]}]
    first, second = (one["id"] for one in root("plan.slice.generate", plan_node_id=plan, slice_specs=specs)["slices"])
    root("plan.rollup.submit", node_id=plan, summary="early")
    top = root("graph.node.list", node_type="initiative")["items"][0]["id"]
    assert run("graph", "show").stdout.splitlines() == [
        f"Faster login  (initiative, in_progress)  {top}",
        f"└─ Sessions  (plan, in_review, pending)  {plan}",
        f"   ├─ first  (slice, todo)  {first}",
        f"   └─ second  (slice, todo)  {second}",
        f"         depends_on → first  {first}",
    ]


def test_a_node_in_two_places_is_drawn_once_with_what_is_below_it() -> None:
    a, b, c, d = (mint("node") for _ in range(4))
    nodes = [
        a_node("a", ("contains", c), node_id=a),
        a_node("b", ("contains", c), node_id=b),
        a_node("c", ("contains", d), node_id=c),
        a_node("d", node_id=d),
    ]
    drawn = "\n".join(drawing.tree(nodes))
    assert drawn.count(d) == 1 and drawn.count(c) == 2 and drawn.count("see above") == 1


def test_a_ring_that_a_merge_closed_and_a_long_chain_are_drawn() -> None:
    a, b = mint("node"), mint("node")
    ring = [a_node("a", ("contains", b), node_id=a), a_node("b", ("contains", a), node_id=b)]
    assert [line.split()[-1] for line in drawing.tree(ring)] == [a, b, "above"]
    ids = [mint("node") for _ in range(2000)]
    chain = [
        a_node("x", *([("contains", then)] if then else []), node_id=one)
        for one, then in zip(ids, [*ids[1:], ""], strict=True)
    ]
    assert len(list(drawing.tree(chain))) == 2000


def test_more_nodes_than_a_page_has_are_all_drawn(run: Run, root: Actor) -> None:
    ids = [mint("node") for _ in range(1001)]
    about: dict[str, Any] = {"node_type": "initiative", "facet": "planning", "priority": 0, "status": "todo"}
    nodes = [Node(id=one, title="x", approval_state="none", **about) for one in ids]
    nodes[0] = nodes[0].but(edges=tuple(Edge(edge_type="contains", to=one) for one in ids[1:]))
    put(root, nodes)
    found = result(run("graph", "show", "--format", "dot", "--json"))
    assert (found["format"], found["nodes"]) == ("dot", 1001)
    titles, edges = read_dot(found["drawing"])
    assert titles.keys() == set(ids) and len(edges) == 1000


def test_a_list_of_nodes_shows_what_they_are_and_how_far(run: Run, root: Actor) -> None:
    made = root("graph.node.create", node_type="initiative", title="Top", approval_state="pending")["node"]["id"]
    head, line = run("graph", "node", "list").stdout.splitlines()
    assert head.split("\t") == ["id", "node type", "status", "approval state", "priority", "title"]
    assert line.split("\t") == [made, "initiative", "todo", "pending", "0", "Top"]


def test_no_nodes_are_told_and_another_format_is_refused(run: Run, root: Actor) -> None:
    assert "plan bootstrap" in run("graph", "show").stdout
    assert result(run("graph", "show", "--json")) == {
        **{"format": "tree", "nodes": 0},
        "drawing": "no nodes: begin with plan bootstrap",
    }
    assert run("graph", "show", "--format", "svg").returncode == 2
    assert refused(run("graph", "show", "--format", "svg", "--json"))["code"] == "invalid_params"
    assert root.session


def test_show_stands_among_the_methods_of_its_noun(run: Run) -> None:
    assert "show" in run("graph", "-h").stdout
    assert re.search(r"graph +node, edge, checklist, snapshot, show", run("-h").stdout)
    assert "--format [tree|mermaid|dot]" in run("graph", "show", "-h").stdout


def test_a_person_in_a_sessions_worktree_plans_for_that_session(run: Run, root: Actor) -> None:
    """Also where a method takes no session: the journal says whose it is, so that it can be undone."""
    made = result(run("plan", "bootstrap", "Faster login", "Sessions", "--json", at=root.path))
    assert made["plan"]["owner_session_id"] == root.session
    plan = made["plan"]["id"]
    result(run("graph", "edge", "create", plan, made["initiative"]["id"], "relates_to", "--json", at=root.path))
    submitted = result(run("plan", "rollup", "submit", plan, "--json", at=root.path))
    assert submitted["node"]["submitted_by"] == root.thread
    assert len(result(run("undo", "3", "--yes", "--json", at=root.path))["undone"]) == 3
    assert result(run("graph", "node", "list", "--json"))["items"] == []
