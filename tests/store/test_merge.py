"""Merging does not depend on the side it is done from, loses nothing that a rule keeps, and an undo can be undone."""

from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.errors import Conflict, Diverged
from codestrator.model import LOG, Document, Part
from codestrator.records import Hold, Place, Ref, Rescue, Step, Task, Thread, Worktree
from codestrator.store.merge import merge_document, merge_documents
from codestrator.store.undo import undo_document

AT = "2026-05-04T09:30:00.000Z"
CASE = "case-0000000001"


class Shot(Part, frozen=True, kw_only=True):
    n: int
    text: str = ""


class Album(Document, frozen=True, kw_only=True):
    """A kind with a log whose entries have numbers."""

    KIND: ClassVar[str] = "album"

    shots: Annotated[tuple[Shot, ...], LOG] = ()


def a_case(**fields: Any) -> Task:
    known: dict[str, Any] = {
        "id": CASE,
        "level": "case",
        "title": "Refresh",
        "priority": 2,
        "created_by": "thr-0000000001",
        "session_id": "ses-0000000001",
        "status": "todo",
        "created_at": AT,
        "rev": 1,
        "writer": "aaaaaaaaaa",
    }
    return Task(**known | fields)


def a_step(title: str, status: Any = "todo", **fields: Any) -> Step:
    return Step(title=title, status=status, order=1, **fields)


def a_hold(fence: int) -> Hold:
    return Hold(
        session_id="ses-0000000001",
        machine="aaaaaaaaaa",
        fence=fence,
        ttl_seconds=60,
        granted_at=AT,
        renewed_at=AT,
        beat=1,
        boot_id="b",
        nonce="n",
        op="op-0000000001",
    )


def a_thread(**fields: Any) -> Thread:
    known: dict[str, Any] = {
        "id": "thr-0000000001",
        "session_id": "ses-0000000001",
        "role": "worker",
        "title": "w",
        "machine": "aaaaaaaaaa",
        "status": "running",
    }
    return Thread(**known | fields)


def a_worktree(**places: Place) -> Worktree:
    return Worktree(
        id="wt-0000000001",
        slug="s",
        kind="task_branch",
        base_commit="c" * 40,
        status="active",
        merge_state="active",
        places=places,
    )


words = st.sampled_from(["", "a", "b", "c"])
names = st.lists(st.sampled_from("pqrst"), unique=True, max_size=4).map(tuple)
steps = st.dictionaries(
    st.sampled_from(["1", "2", "3"]),
    st.builds(
        Step,
        title=st.sampled_from("xyz"),
        status=st.sampled_from(["todo", "done", "failed"]),
        order=st.integers(1, 3),
    ),
)
plain = st.dictionaries(words, st.one_of(words, st.dictionaries(words, words, max_size=2)), max_size=3)
cases = st.builds(
    a_case,
    title=words,
    priority=st.integers(0, 3),
    status=st.sampled_from(["todo", "in_progress", "done"]),
    summary=st.one_of(st.none(), words),
    depends_on=names,
    files=names,
    input_contract=st.one_of(st.none(), plain),
    claim=st.one_of(st.none(), st.integers(1, 2).map(a_hold)),
    claim_fence=st.integers(0, 3),
    steps=steps,
    step_count=st.integers(3, 5),
    rev=st.integers(1, 4),
    writer=st.sampled_from(["aaaaaaaaaa", "bbbbbbbbbb"]),
    updated_at=st.sampled_from(["", AT]),
    residue=plain.map(lambda found: {f"x-{key}": value for key, value in found.items()}),
)
bases = st.one_of(st.none(), cases)
History = tuple[Task | None, Task, Task]


def as_grown(history: History) -> History:
    """Two sides as they grow from a base: with counters that have only risen."""
    base, *sides = history
    if base is None:
        return history
    names = ("rev", "claim_fence", "step_count", "updated_at")
    ours, theirs = (one.but(**{name: max(getattr(base, name), getattr(one, name)) for name in names}) for one in sides)
    return base, ours, theirs


histories = st.tuples(bases, cases, cases).map(as_grown)


@given(histories)
def test_a_merge_is_the_same_whichever_side_is_called_ours(history: History) -> None:
    base, ours, theirs = history
    assert merge_document(base, ours, theirs) == merge_document(base, theirs, ours)


@given(bases, cases)
def test_merging_a_document_with_itself_changes_nothing(base: Task | None, one: Task) -> None:
    assert merge_document(base, one, one) == one


@given(cases, cases)
def test_a_side_that_alone_changed_anything_wins_everything(base: Task, ours: Task) -> None:
    assert merge_document(base, ours, base) == ours


@given(histories)
def test_merging_again_with_what_was_merged_changes_nothing(history: History) -> None:
    base, ours, theirs = history
    merged = merge_document(base, ours, theirs)
    assert merge_document(theirs, merged, theirs) == merged
    assert merge_document(ours, ours, merged) == merged


@given(histories)
def test_counters_never_go_back(history: History) -> None:
    base, ours, theirs = history
    merged = merge_document(base, ours, theirs)
    for name in ("rev", "claim_fence", "step_count", "schema", "updated_at"):
        assert getattr(merged, name) >= max(getattr(ours, name), getattr(theirs, name))
    assert merged.step_count >= max(map(int, merged.steps), default=0)


@given(st.sets(st.sampled_from("pqrst")), st.lists(names, min_size=3, max_size=3))
def test_sets_merge_the_same_in_any_grouping(base: set[str], sides: list[tuple[str, ...]]) -> None:
    old = a_case(files=tuple(sorted(base)))
    one, two, three = (a_case(files=files, rev=rev) for rev, files in enumerate(sides, start=2))
    left = merge_document(old, merge_document(old, one, two), three)
    right = merge_document(old, one, merge_document(old, two, three))
    assert set(left.files) == set(right.files)


@given(names, names, names)
def test_a_set_is_what_was_added_less_what_was_removed(
    base: tuple[str, ...], ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    merged = merge_document(a_case(files=base), a_case(files=ours, rev=2), a_case(files=theirs, rev=3)).files
    old, one, two = set(base), set(ours), set(theirs)
    assert len(merged) == len(set(merged))
    assert set(merged) == (old & one & two) | ((one | two) - old)


@given(cases, cases, cases)
def test_no_new_step_is_lost(base: Task, ours: Task, theirs: Task) -> None:
    merged = merge_document(base, ours, theirs)
    known = [(step.title, step.status, step.order) for step in merged.steps.values()]
    for side in (ours, theirs):
        for number, step in side.steps.items():
            assert number in base.steps or (step.title, step.status, step.order) in known


@given(cases, cases, cases)
def test_fields_of_a_group_come_from_one_side(base: Task, ours: Task, theirs: Task) -> None:
    merged = merge_document(base, ours, theirs)
    work = [(one.status, one.summary, one.claim) for one in (merged, ours, theirs)]
    assert work[0] in work[1:]


@given(cases, cases)
def test_an_undo_restores_what_was_there_and_can_be_undone(before: Task, after: Task) -> None:
    after = after.but(rev=before.rev + 1)
    undone = undo_document(after, after, before)
    assert undone is not None
    kept = {name: getattr(after, name) for name in ("claim", "claim_fence", "step_count")}
    stored = {name: getattr(after, name) for name in ("schema", "rev", "writer", "created_at", "updated_at")}
    assert undone == before.but(**kept, **stored)
    assert undo_document(undone, undone, after) == after


@given(cases, cases, cases)
def test_an_undo_beneath_later_changes_keeps_them_or_is_refused(before: Task, after: Task, now: Task) -> None:
    try:
        undone = undo_document(now, after, before)
    except Conflict as refused:
        for name in refused.details["fields"]:
            top = name.partition(".")[0]
            if top.startswith("x-"):
                assert now.residue.get(top) != after.residue.get(top)
            else:
                assert getattr(now, top) != getattr(after, top)
        return
    assert undone is not None
    for name in ("title", "priority", "input_contract"):
        untouched = getattr(after, name) == getattr(before, name)
        assert getattr(undone, name) == getattr(now if untouched else before, name)


def test_the_greater_rev_then_the_greater_writer_wins_a_field() -> None:
    base = a_case()
    ours, theirs = base.but(title="ours", rev=5), base.but(title="theirs", rev=4, writer="zzzzzzzzzz")
    assert merge_document(base, ours, theirs).title == "ours"
    merged = merge_document(base, ours, theirs.but(rev=5))
    assert (merged.title, merged.rev, merged.writer) == ("theirs", 5, "zzzzzzzzzz")


def test_two_sides_that_changed_different_fields_both_keep_theirs() -> None:
    base = a_case()
    merged = merge_document(base, base.but(title="new", rev=2), base.but(priority=0, rev=9, writer="bbbbbbbbbb"))
    assert (merged.title, merged.priority, merged.rev, merged.writer) == ("new", 0, 9, "bbbbbbbbbb")


def test_what_was_written_under_a_lost_claim_decides_nothing() -> None:
    base = a_case(status="in_progress", claim=a_hold(1), claim_fence=1, steps={"1": a_step("x")}, step_count=1)
    lost = base.but(status="done", claim=None, steps={"1": a_step("x", "done")}, title="still renamed", rev=90)
    taken = base.but(claim=a_hold(2), claim_fence=2, rev=2, writer="bbbbbbbbbb")
    merged = merge_document(base, lost, taken)
    assert (merged.status, merged.claim, merged.claim_fence) == ("in_progress", a_hold(2), 2)
    assert merged.steps == {"1": a_step("x")}
    assert merged.title == "still renamed"


def test_a_claim_that_was_taken_and_given_back_still_outweighs_the_one_before() -> None:
    base = a_case(claim_fence=1)
    lost, given_back = base.but(status="done", rev=90), base.but(claim_fence=2, rev=2)
    assert merge_document(base, lost, given_back).status == "todo"


def test_work_done_under_the_claim_outlasts_a_later_edit_of_something_else() -> None:
    base = a_case(claim=a_hold(1), claim_fence=1, steps={"1": a_step("x")}, step_count=1)
    worked = base.but(status="in_progress", steps={"1": a_step("x", "done")}, rev=2)
    merged = merge_document(base, worked, base.but(title="renamed", rev=9))
    assert (merged.status, merged.steps["1"].status, merged.title) == ("in_progress", "done", "renamed")


def test_what_three_sides_add_to_a_set_has_one_order() -> None:
    base = a_case()
    one, two, three = (base.but(files=(name,), rev=rev) for rev, name in ((2, "b"), (4, "a"), (3, "c")))
    left = merge_document(base, merge_document(base, one, two), three)
    right = merge_document(base, one, merge_document(base, two, three))
    assert left.files == right.files == ("a", "b", "c")


def test_parts_that_move_on_keep_their_order() -> None:
    base = a_case()
    theirs = base.but(steps={"1": a_step("a"), "2": a_step("b")}, step_count=2, rev=2)
    ours = base.but(steps={"2": a_step("d"), "1": a_step("c")}, step_count=2, rev=3)
    titles = {number: step.title for number, step in merge_document(base, ours, theirs).steps.items()}
    assert titles == {"1": "a", "2": "b", "3": "c", "4": "d"}


def test_a_number_that_both_sides_gave_stays_with_the_earlier_and_the_other_part_moves_on() -> None:
    base = a_case(steps={"1": a_step("x")}, step_count=1)
    ours = base.but(steps=base.steps | {"2": a_step("mine")}, step_count=2, rev=3)
    theirs = base.but(
        steps=base.steps | {"2": a_step("yours"), "3": a_step("more")},
        step_count=3,
        rev=2,
        writer="bbbbbbbbbb",
        residue={"steps": {"2": {"color": "red"}}},
    )
    ours = ours.but(residue={"steps": {"2": {"color": "blue"}}})
    merged = merge_document(base, ours, theirs)
    moved = a_step("mine", was=(2, "aaaaaaaaaa"))
    assert merged.steps == {"1": a_step("x"), "2": a_step("yours"), "3": a_step("more"), "4": moved}
    assert merged.step_count == 4
    assert merged.residue == {"steps": {"2": {"color": "red"}, "4": {"color": "blue"}}}


def test_a_number_given_twice_in_a_log_is_kept_by_the_earlier_side() -> None:
    base = Album(id="x", shots=(Shot(n=1, text="old"),))
    ours = base.but(shots=(*base.shots, Shot(n=2, text="late")), rev=5)
    theirs = base.but(shots=(*base.shots, Shot(n=2, text="early")), rev=4)
    texts = [(shot.n, shot.text) for shot in merge_document(base, ours, theirs).shots]
    assert texts == [(1, "old"), (2, "early"), (3, "late")]


def test_a_map_merges_key_by_key() -> None:
    here, there = Place(path="/a", status="active"), Place(path="/b", status="active")
    base = a_worktree(one=here)
    gone = Place(path="/a", status="removed")
    merged = merge_document(base, a_worktree(one=gone).but(rev=2), a_worktree(one=here, two=there).but(rev=3))
    assert merged.places == {"one": gone, "two": there}


def test_fields_this_program_does_not_know_are_carried_from_both_sides() -> None:
    base = a_case(residue={"old": 1, "deep": {"same": 1}})
    ours = base.but(residue={"old": 1, "mine": 2, "deep": {"same": 1, "a": 1}}, rev=2)
    theirs = base.but(residue={"old": 9, "deep": {"same": 1, "b": 2}}, rev=3)
    assert merge_document(base, ours, theirs).residue == {"old": 9, "mine": 2, "deep": {"same": 1, "a": 1, "b": 2}}


def test_a_ref_never_gets_an_older_version_by_a_merge_or_an_undo() -> None:
    first = Ref(n=1, node_type="case", node_id=CASE, status="active", version=3)
    second = first.but(n=2, version=1)
    before, after = a_thread(ref=first, ref_count=1), a_thread(ref=second, ref_count=2)
    undone = undo_document(after, after, before)
    assert undone is not None
    assert undone.ref == first.but(version=4)
    assert undone.ref_count == 2
    merged = merge_document(a_thread(), before.but(rev=2), after.but(rev=3))
    assert merged.ref == second.but(version=3)


def test_an_immutable_field_that_differs_is_diverged_and_named() -> None:
    with pytest.raises(Diverged) as refused:
        merge_document(None, a_case(), a_case(created_by="thr-0000000002", level="epic", rev=2))
    assert refused.value.details["documents"] == [
        {"document": CASE, "fields": ["level", "created_by"]}
    ] or refused.value.details["documents"] == [{"document": CASE, "fields": ["created_by", "level"]}]


def test_documents_of_two_kinds_under_one_id_are_diverged() -> None:
    with pytest.raises(Diverged) as refused:
        merge_document(None, Document(id="x"), Album(id="x", rev=2))
    assert refused.value.details["documents"] == [{"document": "x", "fields": ["kind"]}]


def test_what_one_side_deleted_is_gone_unless_the_other_edited_it() -> None:
    kept, edited, gone = (a_case(id=f"case-000000000{n}") for n in range(3))
    new = edited.but(title="edited", rev=2)
    base = {one.id: one for one in (kept, edited, gone)}
    ours, theirs = {kept.id: kept}, {kept.id: kept, edited.id: new, gone.id: gone}
    assert merge_documents(base, ours, theirs) == {kept.id: kept, edited.id: new}
    assert merge_documents(base, theirs, ours) == {kept.id: kept, edited.id: new}


def test_every_document_that_cannot_be_merged_is_listed() -> None:
    sides = [{f"case-000000000{n}": a_case(id=f"case-000000000{n}", created_by=by) for n in range(3)} for by in "ab"]
    with pytest.raises(Diverged) as refused:
        merge_documents({}, *sides)
    assert [one["document"] for one in refused.value.details["documents"]] == sorted(sides[0])


def test_undoing_a_creation_removes_and_undoing_a_removal_restores() -> None:
    made = a_case(title="made")
    assert undo_document(made.but(rev=9), made, None) is None
    assert undo_document(None, None, made) == made


@pytest.mark.parametrize(
    ("now", "after", "before"),
    [
        (a_case(title="edited since"), a_case(), None),
        (None, a_case(title="x"), a_case()),
        (a_case(title="made again"), None, a_case()),
    ],
    ids=["edited after its creation", "deleted after the edit", "made again after the deletion"],
)
def test_an_undo_of_what_came_and_went_since_is_refused(
    now: Task | None, after: Task | None, before: Task | None
) -> None:
    with pytest.raises(Conflict) as refused:
        undo_document(now, after, before)
    assert refused.value.details == {"document": CASE, "fields": ["presence"]}


def test_an_undo_names_the_fields_that_were_changed_again() -> None:
    before = a_case(title="a", steps={"1": a_step("x")})
    after = before.but(title="b", priority=0, steps={"1": a_step("x", "done")})
    now = after.but(title="c", steps={"1": a_step("x", "failed")})
    with pytest.raises(Conflict) as refused:
        undo_document(now, after, before)
    assert refused.value.details == {"document": CASE, "fields": ["steps.1", "title"]}


def test_an_undo_leaves_claims_and_numbering_as_they_are() -> None:
    before = a_case(claim=a_hold(1), claim_fence=1, steps={}, step_count=0, title="a")
    after = before.but(claim=None, claim_fence=2, steps={"1": a_step("x")}, step_count=1, title="b")
    undone = undo_document(after, after, before)
    assert undone is not None
    assert (undone.claim, undone.claim_fence, undone.step_count) == (None, 2, 1)
    assert (undone.steps, undone.title) == ({}, "a")


def test_undos_one_after_the_other_go_back_to_the_beginning() -> None:
    """Though each leaves numbering as it is, and gives what it restores a new version."""
    first = Ref(n=1, node_type="case", node_id=CASE, status="active", version=1)
    threads = [
        a_thread(),
        a_thread(ref=first, ref_count=1),
        a_thread(ref=first.but(summary="s", version=2), ref_count=1),
    ]
    cases = [a_case(), a_case(steps={"1": a_step("x")}, step_count=1), a_case(title="t", step_count=1)]
    for history in (threads, cases):
        now: Any = history[-1]
        for before, after in zip([None, *history[:-1]][::-1], history[::-1], strict=True):
            now = undo_document(now, after, before)
        assert now is None


def test_a_ref_that_changed_back_and_forth_has_a_version_for_each_change() -> None:
    ref = Ref(n=1, node_type="case", node_id=CASE, status="active", version=1)
    before, after = a_thread(ref=ref), a_thread(ref=ref.but(status="suspended", version=2))
    undone = undo_document(after, after, before)
    again = undo_document(undone, undone, after)
    assert undone is not None and again is not None
    assert undone.ref == ref.but(version=3)
    assert again.ref == ref.but(status="suspended", version=4)


def test_what_is_already_as_before_stands_in_nobodys_way() -> None:
    before = a_case(title="a", steps={"1": a_step("x")})
    after = before.but(title="b", priority=0, steps={"1": a_step("x", "done")})
    now = before.but(priority=0, rev=7)
    assert undo_document(now, after, before) == before.but(rev=7)


def test_a_field_that_a_newer_program_added_keeps_a_creation_from_being_undone() -> None:
    made = a_case()
    with pytest.raises(Conflict):
        undo_document(made.but(residue={"x": 1}), made, None)


def test_a_snapshot_that_one_side_released_is_released_whichever_telling_of_it_counts() -> None:
    fields: dict[str, Any] = {"worktree_id": "wt-0000000001", "commit": "c" * 40, "tree": "t" * 40, "head": "h" * 40}
    told = Rescue(id="snap-0000000001", reason="checkpoint", files=1, bytes=1, created_at="2026-01-01", rev=3, **fields)
    gone = told.but(released_at="2026-02-01", rev=4)
    anew = told.but(reason="adopted", created_at="2026-03-01", rev=5)
    for one, other in ((gone, anew), (anew, gone)):
        merged = merge_document(told, one, other)
        assert (merged.reason, merged.released_at, merged.rev) == ("adopted", "2026-02-01", 5)
        assert merge_document(told, merged, gone) == merge_document(told, merged, anew) == merged
    assert merge_document(told, told, gone) == gone
