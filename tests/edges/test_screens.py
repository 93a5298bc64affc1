"""What people and pipes are shown."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from codestrator.edges import plain, screens

HOSTILE = "a\x1b[31mred\x07 \u202egnitirw\x9b2J end\x00"
STATUS: dict[str, Any] = {
    "sessions": [
        {"session": {"id": "ses-7k2m9q4d1x", "status": "active_new"}, "liveness": "suspended", "active_cases": 1}
    ],
    "cases": [{"id": "case-5d0g8v3k6m", "status": "blocked", "title": "[bold]Refresh[/bold]", "steps": "1/3"}],
    "queue": [],
    "locks": [],
    "children": [{"id": "thr-2b7y4j9s1c", "status": "waiting", "turn": 3, "title": "Refresh", "progress": "2 of 3"}],
    "needs": [{"what": "'ses-7k2m9q4d1x' fell silent", "call": "git codestrator resume ses-7k2m9q4d1x"}],
    "next": ["git codestrator brief"],
}


def shown(method: str, result: dict[str, Any], *, coloured: bool = False, width: int = 120) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=True,
        no_color=not coloured,
        color_system="standard",
        highlight=False,
        legacy_windows=False,
    )
    screens.show(method, result, coloured=coloured, console=console)
    return out.getvalue()


def test_a_status_names_who_works_what_is_blocked_and_what_to_call() -> None:
    text = shown("status", STATUS)
    for part in ("ses-7k2m9q4d1x", "suspended", "case-5d0g8v3k6m", "blocked", "1/3", "2 of 3", "git codestrator brief"):
        assert part in text
    assert "Locks" not in text


def test_the_plain_status_has_the_same_words_as_the_screen() -> None:
    lines = "\n".join(plain.render("status", STATUS))
    for part in ("ses-7k2m9q4d1x", "suspended", "case-5d0g8v3k6m", "blocked", "Needs you:", "Locks: nothing"):
        assert part in lines


def test_markup_in_a_title_is_shown_and_not_obeyed() -> None:
    assert "[bold]Refresh[/bold]" in shown("status", STATUS)


def test_without_colour_there_is_no_colour_and_with_it_no_other_words() -> None:
    bare, coloured = shown("status", STATUS), shown("status", STATUS, coloured=True)
    assert "\x1b[3" not in bare
    assert "\x1b[3" in coloured


@pytest.mark.parametrize(
    "show", [lambda result: shown("task.get", result), lambda result: "\n".join(plain.render("x", result))]
)
def test_control_characters_reach_no_terminal(show: Any) -> None:
    for result in ({"task": {"title": HOSTILE}}, {"items": [{"id": "case-1", "title": HOSTILE}], "count": 1}):
        text = show(result)
        assert "\\x1b[31mred\\x07" in text
        assert "\\u202e" in text
        assert not {"\x07", "\x9b", "\u202e", "\x00"} & set(text)
        assert "\x1b[31m" not in text


def test_json_escapes_control_characters_and_reads_back_the_same() -> None:
    line = plain.success("task.get", {"title": HOSTILE + "\ud800", "name": "Grüße 日本"})
    assert json.loads(line)["result"] == {"title": HOSTILE + "\ud800", "name": "Grüße 日本"}
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\ud800", "\n"} & set(line)
    assert "Grüße 日本" in line


def test_a_plain_list_is_one_line_an_item_under_a_line_of_names() -> None:
    items = [{"id": "case-1", "level": "case", "title": "a\nb\tc"}, {"id": "case-2", "level": "case", "title": ""}]
    lines = list(plain.render("task.list", {"items": items, "count": 2, "next_cursor": "2.abc"}))
    assert lines == ["id\tlevel\ttitle", "case-1\tcase\ta\\nb\\tc", "case-2\tcase\t", "next_cursor: 2.abc"]


def test_a_list_of_an_unknown_kind_shows_its_plain_fields() -> None:
    items = [{"name": "x", "deep": {"id": "wt-1", "other": 1}, "many": [1, 2]}]
    assert list(plain.table("nobody.knows", items)) == ["name\tdeep", "x\twt-1"]


def test_nested_values_are_indented_and_longer_texts_keep_their_lines() -> None:
    result = {
        "task": {"id": "case-1", "ok": True, "files": ["a", "b"]},
        "notes": "one\ntwo",
        "steps": [{"id": 1, "t": "x"}],
    }
    assert list(plain.outline(result)) == [
        "task:",
        "  id: case-1",
        "  ok: yes",
        "  files: a, b",
        "notes:",
        "  one",
        "  two",
        "steps:",
        "  - id: 1",
        "    t: x",
    ]


def test_an_empty_list_says_so_on_a_screen_and_is_silent_in_a_pipe() -> None:
    empty: dict[str, Any] = {"items": [], "count": 0}
    assert "nothing" in shown("task.list", empty)
    assert list(plain.render("task.list", empty)) == []


def test_a_list_does_not_name_what_is_empty_beside_its_items() -> None:
    found = {"items": [], "count": 0, "waiters": [], "grants": {}, "next_cursor": "c1"}
    assert list(plain.render("lock.list", found)) == ["next_cursor: c1"]
    text = shown("lock.list", found)
    assert "next_cursor" in text and "waiters" not in text and "grants" not in text


def test_a_screen_cuts_commits_and_a_pipe_has_them_whole() -> None:
    commit, other = "6e4a69377fe48fb26330eb7f3673f87db5d6d176", "g" * 40
    items = [{"worktree": {"id": "wt-1"}, "path": other, "head": commit}]
    assert f"{other}  {commit[:12]}\n" in shown("worktree.list", {"items": items})
    assert f"wt-1\t{other}\t{commit}" in list(plain.render("worktree.list", {"items": items}))
