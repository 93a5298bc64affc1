"""What a process that was killed owed is paid by the next one that starts."""

from codestrator import registry
from tests.actors import Actor
from tests.conftest import git


def test_notes_that_a_killed_process_owed_are_written_by_the_next(root: Actor, other: Actor) -> None:
    case = root.case("one", "two")
    root("case.begin", case_id=case)
    checked = root("step.check", case_id=case, step_title="one", result="pass", evidence={"command": "true"})
    root.world.live.leave(root.session)  # as kill -9 would leave it: no kernel lock, notes not written
    registry.recover(other.world)
    told = git("notes", "--ref=codestrator", "show", "HEAD", at=root.path)
    assert checked["checkpoint_id"] in told
    assert '"result":"pass"' in told
    registry.recover(other.world)
    assert git("notes", "--ref=codestrator", "show", "HEAD", at=root.path) == told


def test_recovery_of_a_repository_without_state_makes_none(repo: object, actor: object) -> None:
    one = actor()  # type: ignore[operator]
    registry.recover(one.world)
    assert not one.world.store.initialised
