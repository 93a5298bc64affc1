"""A process that comes back to a session: by its name, or by the folder that it stands in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from codestrator.errors import CodestratorError, Forbidden
from tests.actors import Actor, SteeredClock, unchanged


def test_a_restarted_root_goes_on_by_naming_its_session(root: Actor, actor: Callable[..., Actor]) -> None:
    root.close()
    one = actor()
    assert one("session.heartbeat", session_id=root.session)["liveness"] == "live"
    assert one.seat.owns(root.session)
    assert one("session.context")["session"]["id"] == root.session


def test_a_beginning_of_the_id_is_enough(root: Actor, actor: Callable[..., Actor]) -> None:
    root.close()
    one = actor()
    one("session.heartbeat", session_id=root.session[:8])
    assert one.seat.owns(root.session)


def test_a_session_with_a_live_process_is_not_adopted(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor()
    with unchanged(one), pytest.raises(Forbidden) as refused:
        one("session.heartbeat", session_id=root.session)
    assert "resume.candidates.attach" in str(refused.value.hint)
    assert not one.seat.owns(root.session)


def test_reading_about_a_session_does_not_adopt_it(root: Actor, actor: Callable[..., Actor]) -> None:
    root.close()
    one = actor()
    one("session.context", session_id=root.session)
    assert not one.seat.owns(root.session) and not one.world.live.held(root.session)


def test_of_two_restarted_roots_one_gets_it(root: Actor, actor: Callable[..., Actor]) -> None:
    root.close()
    both = [actor(), actor()]

    def adopt(one: Actor) -> bool:
        try:
            one("session.heartbeat", session_id=root.session)
            return True
        except CodestratorError:
            return False

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(adopt, both))
    assert sorted(won) == [False, True]
    assert [one.seat.owns(root.session) for one in both] == won


def test_the_folder_names_the_session_for_the_brief(root: Actor, actor: Callable[..., Actor]) -> None:
    root.close()
    one = actor(folder=root.path)
    assert one("work.brief")["session"]["id"] == root.session
    assert one.seat.owns(root.session)


def test_the_folder_of_a_childs_worktree_adopts_nothing(root: Actor, actor: Callable[..., Actor]) -> None:
    """A server that a child's agent starts there, without marks or file, must not become the root."""
    place = root("worktree.spawn", slug="kid")["worktree"]["path"]
    root.close()
    one = actor(folder=root.world.repo / place)
    assert "session" not in one("work.brief")
    assert one.seat.default_session is None and not one.world.live.held(root.session)


def test_the_folder_of_a_live_session_adopts_nothing(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor(folder=root.path)
    one("work.brief")
    assert one.seat.default_session is None


def test_an_adopted_session_stays_alive_without_beats(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    root.close()
    one = actor()
    one("session.heartbeat", session_id=root.session)
    clock.advance(3600)
    assert one("session.context", session_id=root.session)["liveness"] == "live"


def test_an_ended_session_is_not_adopted(root: Actor, actor: Callable[..., Actor]) -> None:
    root("session.close")
    root.close()
    one = actor()
    with unchanged(one), pytest.raises(CodestratorError):
        one("session.heartbeat", session_id=root.session)
    assert not one.seat.owns(root.session)
