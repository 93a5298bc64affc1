"""The planning graph as a tree, as Mermaid and as DOT; no title in it can be read as anything but text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from codestrator.edges.context import Context
from codestrator.edges.plain import cell

CONTAINS = "contains"
PLAIN = frozenset(" .,_-")
ARROWS = {"depends_on": "-->|depends on|", "blocks": "-->|blocks|", "relates_to": "-.-", CONTAINS: "-->"}
LINES = {
    "depends_on": '[label="depends on", style=dashed]',
    "blocks": '[label="blocks", color=red]',
    "relates_to": "[dir=none, style=dotted]",
    CONTAINS: "[]",
}


class Line(NamedTuple):
    """An edge between two nodes that are both drawn."""

    start: str
    edge_type: str
    end: str


def drawn(context: Context, form: str) -> dict[str, Any]:
    """The whole graph in one of the formats, with the number of its nodes."""
    nodes = list(_nodes(context))
    make = {"tree": tree, "mermaid": mermaid, "dot": dot}[form]
    return {"format": form, "nodes": len(nodes), "drawing": "\n".join(make(nodes))}


def _nodes(context: Context) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        page = context.call("graph.node.list", {"include": ["edges"], "limit": 1000, "cursor": cursor})
        yield from page["items"]
        cursor = page.get("next_cursor")
        if cursor is None:
            return


def lines_of(nodes: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The edges; one whose other end is not there, as after half a fetch, is left out."""
    known = {node["id"] for node in nodes}
    return [
        Line(node["id"], edge["edge_type"], edge["to_node_id"])
        for node in nodes
        for edge in node["edges"]
        if edge["to_node_id"] in known
    ]


def mermaid(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A flowchart (https://mermaid.js.org/syntax/flowchart.html)."""
    yield "flowchart TD"
    for node in nodes:
        yield f'  {_name(node["id"])}["{in_mermaid(node["title"])}<br/>{_about(node)}"]'
    for one in lines_of(nodes):
        yield f"  {_name(one.start)} {ARROWS[one.edge_type]} {_name(one.end)}"


def in_mermaid(title: str) -> str:
    """Text for inside quotes: all but letters, digits and blanks as entity codes, which Mermaid shows as characters."""
    return "".join(one if one.isalnum() or one in PLAIN else f"#{ord(one)};" for one in cell(title))


def _name(node_id: str) -> str:
    return node_id.replace("-", "_")  # a dash could be read as the beginning of an arrow


def dot(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A digraph (https://graphviz.org/doc/info/lang.html)."""
    yield "digraph plan {"
    yield "  node [shape=box];"
    for node in nodes:
        yield f'  "{node["id"]}" [label="{in_dot(node["title"])}\\n{_about(node)}"];'
    for one in lines_of(nodes):
        yield f'  "{one.start}" -> "{one.end}" {LINES[one.edge_type]};'
    yield "}"


def in_dot(title: str) -> str:
    """Text for inside quotes: no quote, escape sequence or entity of its own."""
    return cell(title).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def _about(node: Mapping[str, Any]) -> str:
    decision = node["approval_state"]
    return f"{node['node_type']}, {node['status']}" + ("" if decision == "none" else f", {decision}")


def tree(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What contains what, each node once with what is below it; other edges are told under the node they come from."""
    if not nodes:
        yield "no nodes: begin with plan bootstrap"
    by_id = {node["id"]: node for node in nodes}
    below: dict[str, dict[str, None]] = {node_id: {} for node_id in by_id}
    others: dict[str, list[Line]] = {node_id: [] for node_id in by_id}
    for one in lines_of(nodes):
        if one.edge_type == CONTAINS:
            below[one.start][one.end] = None
        else:
            others[one.start].append(one)
    inside = {node_id for found in below.values() for node_id in found}
    seen: set[str] = set()
    # Two machines can each lay one half of a ring: what hangs on nothing else is drawn last.
    for node_id in [*(one for one in by_id if one not in inside), *by_id]:
        if node_id not in seen:
            yield from _grown(node_id, by_id, below, others, seen)


def _grown(
    root: str,
    by_id: Mapping[str, Mapping[str, Any]],
    below: Mapping[str, Iterable[str]],
    others: Mapping[str, Sequence[Line]],
    seen: set[str],
) -> Iterator[str]:
    waiting = [(root, "", "")]
    while waiting:
        node_id, head, lead = waiting.pop()
        node, children = by_id[node_id], list(below[node_id])
        known = node_id in seen
        yield f"{head}{cell(node['title'])}  ({_about(node)})  {node_id}" + ("  see above" if known else "")
        if known:
            continue
        seen.add(node_id)
        for one in others[node_id]:
            bar = "│  " if children else "   "
            yield f"{lead}{bar}{one.edge_type} → {cell(by_id[one.end]['title'])}  {one.end}"
        for child in reversed(children):
            last = child == children[-1]
            waiting.append((child, lead + ("└─ " if last else "├─ "), lead + ("   " if last else "│  ")))
