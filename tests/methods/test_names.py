"""Advice on isolation, and names made from words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.errors import InvalidParams
from codestrator.methods import names
from tests.actors import Actor, unchanged

FIELDS = ("changed_files", "estimate_minutes", "risk", "parallel_workers", "conflicting_paths")


@pytest.mark.parametrize(
    ("values", "score", "mode"),
    [
        ((2, 15, 1, 1, 1), 10, "shared"),
        ((6, 60, 2, 2, 2), 24, "worktree"),
        ((12, 0, 0, 0, 0), 12, "worktree"),
        ((11, 0, 0, 0, 0), 11, "shared"),
        ((0, 16, 0, 0, 0), 2, "shared"),
        ((0, 0, 0, 0, 0), 0, "shared"),
    ],
)
def test_advice_follows_the_score(root: Actor, values: tuple[int, ...], score: int, mode: str) -> None:
    found = root("scheduler.decide_worktree", **dict(zip(FIELDS, values, strict=True)))
    assert (found["score"], found["mode"], found["threshold"]) == (score, mode, 12)


def test_each_positive_factor_is_a_reason_in_order(root: Actor) -> None:
    found = root("scheduler.decide_worktree", **dict(zip(FIELDS, (6, 60, 2, 0, 1), strict=True)))
    assert found["reasons"] == ["changed_files=6", "estimate_minutes=60(+4)", "risk=2(+6)", "conflicting_paths=1(+2)"]


@pytest.mark.parametrize("value", [-1, 100_001, True, 1.5, "3"])
def test_advice_refuses_what_is_no_count(root: Actor, value: object) -> None:
    with unchanged(root), pytest.raises(InvalidParams) as refusal:
        root("scheduler.decide_worktree", risk=value)
    assert refusal.value.details["field"] == "risk"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("Fix the login timeout", None), "fix-login"),
        ((None, "Über den Dächern"), "uber-den"),
        (("Größe", None), "grosse"),
        (("", "日本", "Later words"), "later-words"),
        (("the of",), "the-of"),
        ((None, ""), "work"),
        (("Login",), "login"),
        (("x" * 40 + " rest",), "x" * 24 + "-rest"),
        (("a/b_c",), "b-c"),
    ],
)
def test_a_slug_is_the_first_two_words_that_say_something(sources: tuple[str | None, ...], expected: str) -> None:
    assert names.slug(*sources) == expected


@given(st.lists(st.text(max_size=60), max_size=3))
def test_a_slug_is_always_one_or_two_plain_words(sources: list[str]) -> None:
    assert re.fullmatch(r"[a-z0-9]{1,24}(-[a-z0-9]{1,24})?", names.slug(*sources))


def test_there_are_64_names_for_a_slug() -> None:
    found = list(names.attempts("work"))
    assert found[:2] == ["work", "work-2"] and found[-1] == "work-64" and len(found) == 64


@pytest.mark.parametrize(
    ("folder", "worktree", "expected"),
    [("My Shop", "fix-login", "my-shop-fix-login"), ("日本", "", "repo-worktree"), ("x" * 90, "y", "x" * 80)],
)
def test_a_viewer_is_named_after_folder_and_worktree(folder: str, worktree: str, expected: str) -> None:
    assert names.viewer(folder, worktree) == expected
