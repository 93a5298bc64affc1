"""The table, the registry behind it and the written surface are in step."""

import ast
import inspect
import json
from functools import cache
from pathlib import Path

import pytest

from codestrator import registry, table
from codestrator.errors import InvalidParams

FIXTURES = Path(__file__).parent.parent / "fixtures"
TESTS = Path(__file__).parent

# Each group's size; together they are the whole surface.
SIZES = {
    "orch_session": 9,
    "orch_task": 12,
    "orch_graph": 5,
    "orch_workspace": 13,
    "orch_thread": 10,
    "orch_lifecycle": 4,
    "orch_merge": 12,
    "orch_inbox": 4,
    "orch_system": 16,
}
WORKER_MAY = {
    "task.get",
    "task.list",
    "task.ready",
    "case.begin",
    "step.check",
    "case.complete",
    "resume.next",
    "worktree.list",
    "worktree.merge_to_parent",
    "lock.acquire",
    "lock.heartbeat",
    "lock.release",
    "lock.list",
    "conflict.forecast",
    "rescue.list",
    "work.current_ref",
    "work.current_ref.ack",
    "work.brief",
    "work.checkpoint",
    "sync.status",
    "thread.child.report",
    "thread.directive.list",
    "inbox.send",
    "inbox.pending",
    "inbox.list",
    "inbox.deliver",
}


def test_the_table_has_85_methods_in_nine_groups() -> None:
    assert {group.tool: len(group.methods) for group in table.GROUPS} == SIZES
    assert sum(SIZES.values()) == len(table.METHODS) == 85


def test_each_method_names_what_does_it() -> None:
    assert [name for name, method in table.METHODS.items() if not method.does] == []


@pytest.mark.parametrize("name", table.METHODS)
def test_a_method_has_a_function_a_summary_and_known_parameters(name: str) -> None:
    found = registry.handler(name)
    assert inspect.isfunction(found.run)
    first, _ = inspect.signature(found.run).parameters.values()
    assert first.name == ("flow" if found.acts else "tx")
    assert found.acts or table.METHODS[name].kind != "flow"
    assert 10 <= len(registry.summary(name)) <= 120 and registry.summary(name).endswith(".")
    for shape in registry.shapes(name):
        assert shape.form != "list" or shape.item is not None
    assert registry.signature(name).startswith(f"{name}(")


@pytest.mark.parametrize("name", table.METHODS)
def test_a_method_that_lists_takes_a_page_and_a_reader_of_the_past_does_not_act(name: str) -> None:
    names = {shape.name for shape in registry.shapes(name)}
    assert ("limit" in names) == ("cursor" in names)
    if table.METHODS[name].at:
        assert not registry.handler(name).acts


@pytest.mark.parametrize("name", table.METHODS)
def test_a_method_is_called_by_some_test(name: str) -> None:
    """By its name as a whole text in a call, not merely mentioned in a sentence."""
    assert name in _texts_of_tests()


@cache
def _texts_of_tests() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        if path != Path(__file__):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found


def test_a_worker_may_call_exactly_its_row() -> None:
    assert {name for name in table.METHODS if table.may_call("worker", name)} == WORKER_MAY
    assert {name for name in table.METHODS if table.may_call("nobody knows this role", name)} == WORKER_MAY


@pytest.mark.parametrize("role", table.ROOT_ROLES)
def test_a_root_may_call_everything(role: str) -> None:
    assert all(table.may_call(role, name) for name in table.METHODS)


def test_every_tool_of_a_method_is_its_group() -> None:
    for group in table.GROUPS:
        assert {table.TOOL_OF[method.name] for method in group.methods} == {group.tool}


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidParams) as refusal:
        registry.find("task.craete")
    assert refusal.value.details["nearest"] == "task.create"


def test_the_written_surface_names_every_method_with_its_parameters() -> None:
    written = {
        one["name"]: one for one in json.loads((FIXTURES / "methods.json").read_text(encoding="utf-8"))["methods"]
    }
    assert list(written) == list(table.METHODS)
    for name, one in written.items():
        assert [param["name"] for param in one["params"]] == [shape.name for shape in registry.shapes(name)]


def test_the_reference_has_a_section_for_every_method() -> None:
    headings = {
        line for line in (FIXTURES / "reference.md").read_text(encoding="utf-8").splitlines() if line.startswith("### ")
    }
    assert headings == {f"### {name}" for name in table.METHODS}
