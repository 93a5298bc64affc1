"""Two scopes overlap when, and only when, a file could lie in both."""

from hypothesis import given
from hypothesis import strategies as st

from codestrator.methods.locks import Wish
from codestrator.methods.overlap import covers, overlaps, same

PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ä b"]), min_size=1, max_size=3).map("/".join)
SCOPES = st.builds(Wish, scope_type=st.sampled_from(["file", "prefix"]), scope_path=st.one_of(PATHS, st.just(".")))


def has(scope: Wish, file: str) -> bool:
    """The definition, put without any cleverness."""
    if scope.scope_type == "file":
        return scope.scope_path == file
    parts = [] if scope.scope_path == "." else scope.scope_path.split("/")
    return file.split("/")[: len(parts)] == parts


@given(SCOPES, SCOPES, PATHS)
def test_scopes_that_hold_a_common_file_overlap(one: Wish, two: Wish, file: str) -> None:
    if has(one, file) and has(two, file):
        assert overlaps(one, two)


@given(SCOPES, SCOPES)
def test_overlapping_scopes_hold_a_common_file(one: Wish, two: Wish) -> None:
    places = [scope.scope_path for scope in (one, two)]
    files = [*places, *(f"{place}/x" for place in places), "x"]
    if overlaps(one, two):
        assert any(has(one, file) and has(two, file) for file in files)


@given(SCOPES, SCOPES)
def test_overlap_does_not_depend_on_who_asks(one: Wish, two: Wish) -> None:
    assert overlaps(one, two) == overlaps(two, one)
    assert overlaps(one, one)
    assert overlaps(one, two) or not same(one, two)


@given(SCOPES)
def test_the_whole_repository_overlaps_everything(one: Wish) -> None:
    assert overlaps(Wish(scope_type="prefix", scope_path="."), one)


def test_a_prefix_ends_at_a_slash() -> None:
    assert covers("src/a", "src/a/b")
    assert covers("src/a", "src/a")
    assert not covers("src/a", "src/ab")
    assert not covers("src/a/b", "src/a")


def test_case_counts_unless_the_file_system_folds_it() -> None:
    upper, lower = (Wish(scope_type="file", scope_path=path) for path in ("Src/A.py", "src/a.py"))
    assert not overlaps(upper, lower)
    assert overlaps(upper, lower, fold=True)
    assert same(upper, lower, fold=True)
