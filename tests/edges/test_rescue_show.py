"""`rescue show`: what a snapshot holds, beside the commit that was checked out when it was taken."""

from tests.actors import Actor
from tests.edges.shell import Run, refused, result


def test_a_snapshot_shows_what_was_not_committed(root: Actor, run: Run) -> None:
    (root.path / "README.md").write_text("changed\n", encoding="utf-8")
    (root.path / "with space.txt").write_text("new\n", encoding="utf-8")
    taken = root("work.checkpoint", summary="half done")["snapshot_id"]
    found = result(run("rescue", "show", taken, "--json"))
    assert found["items"] == [
        {"change": "changed", "path": "README.md"},
        {"change": "added", "path": "with space.txt"},
    ]
    assert found["snapshot_id"] == taken and found["restore"].endswith(taken)
    assert "with space.txt" in run("rescue", "show", taken[:8]).stdout
    assert refused(run("rescue", "show", "snap-zzzzzzzzzz", "--json"))["code"] == "not_found"
