"""A document is the same bytes each time it is written, loses no field on the way, and damage names it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator import SCHEMA, ids
from codestrator.errors import SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.records import KINDS, Evidence, Fence, Lease, Place, Step, Task, Waiter, Worktree
from codestrator.store.documents import DOCUMENT_BYTES, LOCKS, STATE, Layout, canonical, check, decode, encode
from codestrator.store.documents import Place as Where
from tests.store.kit import task

CASE = "case-0000000001"
STEP = Step(title="write a failing test", status="done", order=1, evidence=Evidence(command="pytest", exit_status=1))


def a_case(**fields: Any) -> Task:
    known: dict[str, Any] = {"title": "Refresh", "steps": {"1": STEP, "2": Step(title="fix", status="todo", order=2)}}
    return task(id=CASE, **known | fields)


def with_fields(raw: bytes, *path: str, **fields: Any) -> bytes:
    """The JSON with fields put in at a path, as a newer program would have written it."""
    whole = json.loads(raw)
    at = whole
    for name in path:
        at = at[name]
    at.update(fields)
    return canonical(whole)


def test_a_document_is_one_line_of_sorted_json_in_utf_8() -> None:
    raw = encode(a_case(title="größer\nals", files=("b", "a")))
    assert b"\n" not in raw
    assert "größer\\nals".encode() in raw
    keys = list(json.loads(raw))
    assert keys == sorted(keys)
    assert json.loads(raw)["files"] == ["b", "a"]


def test_what_has_its_default_is_left_out() -> None:
    assert json.loads(encode(Fence(id="fence"))) == {"id": "fence"}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).map(lambda name: f"x{name}"), json_values, max_size=4))
def test_unknown_fields_come_back_byte_for_byte(fields: dict[str, Any]) -> None:
    raw = with_fields(encode(a_case()), **fields)
    raw = with_fields(raw, "steps", "2", **fields)
    raw = with_fields(raw, "steps", "1", "evidence", **fields)
    assert encode(decode(Task, CASE, raw, STATE)) == raw


def test_unknown_fields_survive_a_change_of_what_is_known() -> None:
    raw = with_fields(with_fields(encode(a_case()), color="red"), "steps", "1", weight=3)
    document = decode(Task, CASE, raw, STATE)
    steps = document.steps | {"1": STEP.but(status="failed"), "3": Step(title="new", status="todo", order=3)}
    written = json.loads(encode(document.but(title="renamed", steps=steps)))
    assert (written["title"], written["color"]) == ("renamed", "red")
    assert (written["steps"]["1"]["status"], written["steps"]["1"]["weight"]) == ("failed", 3)
    assert "weight" not in written["steps"]["3"]


def test_unknown_fields_of_a_part_that_is_gone_go_with_it() -> None:
    raw = with_fields(encode(a_case()), "steps", "1", weight=3)
    document = decode(Task, CASE, raw, STATE)
    written = json.loads(encode(document.but(steps={"2": document.steps["2"]})))
    assert set(written["steps"]) == {"2"}


def test_an_unknown_field_called_residue_is_carried_like_any_other() -> None:
    raw = with_fields(encode(a_case()), residue={"title": "not the title"})
    document = decode(Task, CASE, raw, STATE)
    assert document.title == "Refresh"
    assert encode(document) == raw


def test_an_unknown_field_never_replaces_a_known_one() -> None:
    document = decode(Task, CASE, with_fields(encode(a_case()), color="red"), STATE)
    assert json.loads(encode(document.but(residue=document.residue | {"title": "forged"})))["title"] == "Refresh"


def test_fields_whose_values_are_json_keep_everything() -> None:
    contract = {"deep": {"list": [1, {"x": None}], "empty": {}}}
    document = decode(Task, CASE, encode(a_case(input_contract=contract)), STATE)
    assert document.input_contract == contract
    assert document.residue == {}


def test_maps_of_parts_keep_unknown_fields_in_each() -> None:
    worktree = Worktree(
        id="wt-0000000001",
        slug="s",
        kind="main",
        base_commit="c" * 40,
        status="active",
        merge_state="attached",
        places={"aaaaaaaaaa": Place(path="/tmp/ä b", status="active")},
    )
    raw = with_fields(encode(worktree), "places", "aaaaaaaaaa", disk="fast")
    found = decode(Worktree, worktree.id, raw, STATE)
    assert found.residue == {"places": {"aaaaaaaaaa": {"disk": "fast"}}}
    assert encode(found) == raw


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is not valid JSON"),
        (b'{"id": "case-0000000001",', "is not valid JSON"),
        (b'{"id": "\xff\xfe"}', "is not valid JSON"),
        (b"[]", "does not fit its kind"),
        (b"null", "does not fit its kind"),
        (b"{}", "does not fit its kind"),
        (b'{"x": ' + b"[" * 100_000, "is not valid JSON"),
        (b'{"\xff": 1, ' + encode(a_case())[1:], "is not valid JSON"),
        (with_fields(encode(a_case()), priority="high"), "does not fit its kind"),
        (with_fields(encode(a_case()), status="resting"), "does not fit its kind"),
        (with_fields(encode(a_case()), "steps", "1", order=None), "does not fit its kind"),
        (with_fields(encode(a_case()), id="case-0000000002"), "says that its id is 'case-0000000002'"),
        (b" " * (DOCUMENT_BYTES + 1), "at most"),
    ],
    ids=[
        "empty",
        "cut off",
        "no utf-8",
        "a list",
        "null",
        "without fields",
        "too deep",
        "no utf-8 in a name",
        "a number that is text",
        "an unknown word",
        "a step without order",
        "another id",
        "too large",
    ],
)
def test_damage_names_the_document_and_says_what_is_wrong(raw: bytes, words: str) -> None:
    with pytest.raises(UnreadableState) as refused:
        decode(Task, CASE, raw, STATE)
    assert words in refused.value.message
    assert refused.value.details["ref"] == STATE
    assert refused.value.details["document"] == f"task/{CASE}"
    assert refused.value.details["reason"] in refused.value.message


@given(st.binary(max_size=60))
def test_no_bytes_whatever_raise_anything_else(raw: bytes) -> None:
    with pytest.raises((UnreadableState, SchemaNewer)):
        decode(Task, CASE, raw, STATE)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_is_told_or_is_still_a_document(at: int, value: int) -> None:
    raw = bytearray(encode(a_case()))
    raw[at % len(raw)] = value
    try:
        found = decode(Task, CASE, bytes(raw), STATE)
    except (UnreadableState, SchemaNewer) as refused:
        assert refused.details["document"] == f"task/{CASE}"
    else:
        assert found.id == CASE
        assert json.loads(encode(found)) == json.loads(bytes(raw))


@pytest.mark.parametrize("fields", [{}, {"status": "resting"}, {"title": None}], ids=["fits", "new word", "gone"])
def test_a_newer_schema_is_told_even_where_it_does_not_fit(fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaNewer) as refused:
        check(Task, CASE, with_fields(encode(a_case()), schema=SCHEMA + 1, **fields), STATE)
    assert (refused.value.details["found"], refused.value.details["known"]) == (SCHEMA + 1, SCHEMA)
    assert refused.value.details["document"] == f"task/{CASE}"


def test_a_document_of_the_schema_we_write_is_read() -> None:
    assert check(Task, CASE, with_fields(encode(a_case()), schema=SCHEMA), STATE).schema == SCHEMA


state_ids = st.sampled_from([f"{prefix}-0123456789" for prefix in ids.KIND_OF_PREFIX] + ["0123456789", "settings"])


@given(state_ids)
def test_a_document_of_the_state_is_found_again_from_where_it_lies(document_id: str) -> None:
    layout = Layout(STATE, KINDS)
    where = layout.place(document_id)
    assert len(where.folders) == layout.depth
    assert all(len(folder) == 1 and folder in "0123456789abcdef" for folder in where.folders)
    kind, found = layout.name(where)
    assert found == document_id
    expected = ids.kind_of(document_id)
    assert kind == (expected if expected in KINDS and KINDS[expected].REF == "state" else None)


@pytest.mark.parametrize(
    ("document_id", "kind"),
    [
        ("lock-0123456789", Lease),
        ("merge/lock-0123456789", Lease),
        ("sessions/ses-0123456789", Lease),
        ("merge/ma-in", Lease),
        ("waiters/thr-0123456789", Waiter),
        ("fence", Fence),
    ],
)
def test_a_document_of_the_lock_book_is_found_again_from_where_it_lies(document_id: str, kind: type[Document]) -> None:
    layout = Layout(LOCKS, KINDS)
    assert layout.name(layout.place(document_id)) == (kind.KIND, document_id)


def test_the_root_of_the_state_holds_meta_alone() -> None:
    assert Layout(STATE, KINDS).place("meta") == Where((), "meta")


def test_two_different_documents_never_lie_in_one_file() -> None:
    layout = Layout(LOCKS, KINDS)
    names = ["lock-0123456789", "merge/a", "merge/b", "sessions/a", "waiters/a", "fence"]
    assert len({layout.place(name) for name in names}) == len(names)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_kind_names_only_fields_that_it_has(kind: type[Document]) -> None:
    fields = set(kind.__struct_fields__)
    for name in kind.ROW:
        assert name in fields or isinstance(getattr(kind, name, None), property)
    assert set(kind.KEEP) <= fields
    assert not kind.LEAD or kind.LEAD in fields


def test_a_document_is_compared_by_its_content() -> None:
    raw = encode(a_case())
    assert decode(Task, CASE, raw, STATE) == decode(Task, CASE, msgspec.json.format(raw), STATE)
