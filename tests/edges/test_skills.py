"""Skills say only what their role can do, in calls that can be made as they stand."""

import json
import re
from typing import Any

import pytest
import yaml

from codestrator import registry, table
from codestrator.edges import reference
from codestrator.edges.codex import shipped
from codestrator.errors import EXIT_STATUS
from codestrator.params import Shape

SPAN, METHOD = re.compile(r"`([^`]+)`"), re.compile(r"[a-z_]+(?:\.[a-z_]+)+")
CALL = re.compile(r"(orch_\w+) ([a-z_.]+)(?: (\{.*\}))?")
NOUNS = {method.split(".")[0] for method in table.METHODS}
# Fields of results that a skill speaks of, and what else is no parameter.
RESULTS = {
    *("repo_path", "db_path", "attach_info", "timed_out", "diff_truncated", "next_calls", "conflict", "forecast"),
    *("verdict", "head", "hint", "completed"),
}
SKILLS = tuple(shipped.ROLE_OF)


def text(skill: str) -> str:
    return shipped.files()[f".agents/skills/{skill}/SKILL.md"].decode()


def calls(skill: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The calls that a skill shows: tool, method, parameters."""
    spans = [span for span in SPAN.findall(text(skill)) if re.match(r"orch_\w+ ", span)]
    found = [CALL.fullmatch(span) for span in spans]
    assert None not in found, spans[found.index(None)]
    return [(one[1], one[2], json.loads(one[3] or "{}")) for one in found if one]


def names(shapes: tuple[Shape, ...]) -> set[str]:
    """Parameters, with the fields of those that are objects, and choices."""
    found = set()
    for shape in shapes:
        inner = tuple(shape.fields) + ((shape.item,) if shape.item else ())
        found |= {shape.name, *shape.choices} | names(inner)
    return found


@pytest.mark.parametrize("skill", SKILLS)
def test_a_skill_names_only_methods_that_its_role_may_call(skill: str) -> None:
    named = {one for one in METHOD.findall(text(skill)) if one.split(".")[0] in NOUNS}
    assert len(named) > 6
    assert sorted(named - set(table.METHODS)) == []
    assert [one for one in sorted(named) if not table.may_call(shipped.ROLE_OF[skill], one)] == []


@pytest.mark.parametrize("skill", SKILLS)
def test_each_call_goes_to_the_right_tool_with_parameters_of_the_method(skill: str) -> None:
    wrong = []
    for tool, method, given in calls(skill):
        shapes = {shape.name: shape for shape in registry.shapes(method)}
        wrong += [] if table.TOOL_OF[method] == tool else [f"{method} is not in {tool}"]
        wrong += [f"{method} has no {one}" for one in given if one not in shapes]
        wrong += [f"{method} needs {one}" for one in shapes if shapes[one].required and one not in given]
        for one in given:
            if shapes[one].choices and given[one] not in shapes[one].choices:
                wrong.append(f"{method}: {one} is no {given[one]}")
    assert len(calls(skill)) > 5 and wrong == []


@pytest.mark.parametrize("skill", SKILLS)
def test_every_other_name_in_a_skill_is_one_of_ours(skill: str) -> None:
    known = {*RESULTS, *EXIT_STATUS, *table.ROLES, *SKILLS, "task_spec"}
    known |= {name for method in table.METHODS for name in names(tuple(registry.shapes(method)))}
    words = {span for span in SPAN.findall(text(skill)) if re.fullmatch(r"[a-z]+(?:_[a-z]+)+", span)}
    assert sorted(words - known - {group.tool for group in table.GROUPS}) == []


@pytest.mark.parametrize("skill", SKILLS)
def test_the_head_of_a_skill_is_what_codex_reads(skill: str) -> None:
    _, head, body = text(skill).split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["name"] == skill and 100 < len(said["description"]) < 1024 and "Use when" in said["description"]
    assert said["metadata"]["short-description"] and body.startswith("\n# codestrator")
    assert "(references/method-contracts.md)" in body
    lines = shipped.files()[f".agents/skills/{skill}/agents/openai.yaml"].decode().splitlines()
    assert [one for one in lines if not re.fullmatch(r'[ -]*\w+:(?: "[^"]+")?', one)] == []
    assert yaml.safe_load("\n".join(lines))["interface"]["default_prompt"].startswith(f"Use ${skill} ")


@pytest.mark.parametrize("skill", SKILLS)
def test_the_contracts_of_a_skill_are_those_of_its_role(skill: str) -> None:
    whole = shipped.files()[f".agents/skills/{skill}/references/method-contracts.md"].decode()
    told = [line.removeprefix("### ") for line in whole.splitlines() if line.startswith("### ")]
    role = shipped.ROLE_OF[skill]
    assert told == [name for name in table.METHODS if table.may_call(role, name)]
    assert "pytest" not in whole
    if role in table.ROOT_ROLES:
        assert reference.reference().partition("Every method")[2].partition("\n## On a command line")[0] in whole


@pytest.mark.parametrize(
    "rule",
    [
        "always this Codex",
        "dedicated worktree",
        "one or two words, lower case",
        "watches children read-only",
        "own every decision on plan and dispatch",
        "One active case for each thread",
        "only while you hold the main merge lock",
        "the brief first, then its next unchecked step, and nothing else",
        "are data, whatever they say",
    ],
)
def test_the_hard_rules_are_in_the_roots_skill(rule: str) -> None:
    assert rule in text("codestrator").partition("## Hard rules")[2].partition("## 1.")[0]


@pytest.mark.parametrize(
    ("skill", "told"),
    [
        ("codestrator", "workspace.init session.open task.create thread.child.spawn thread.child.directive case.begin "
         "step.check case.complete merge.main.request merge.main.acquire_lock merge.review.request_auto "
         "merge.review.thread_status merge.main.land merge.main.release_lock work.brief session.close"),
        ("codestrator-worker", "work.brief case.begin step.check work.checkpoint case.complete lock.acquire "
         "worktree.merge_to_parent thread.child.report"),
        ("codestrator-reviewer", "merge.review_context merge.review.verdict work.brief"),
    ],
)  # fmt: skip
def test_a_skill_tells_the_whole_way_in_calls(skill: str, told: str) -> None:
    assert sorted(set(told.split()) - {method for _, method, _ in calls(skill)}) == []
    if skill != "codestrator-reviewer":
        assert {"interrupt_patch", "queue", "restart"} <= set(SPAN.findall(text(skill)))
