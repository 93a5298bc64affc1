"""Each clone has an id of its own: minted once, kept where the clone is moved, another one in a copy of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codestrator.ids import kind_of
from codestrator.world import open_world
from tests.world.test_opening import opened


def machine(repo: Path) -> str:
    return opened(repo).settings.machine


def copied(repo: Path, to: Path) -> Path:
    return Path(shutil.copytree(repo, to, symlinks=True))


def test_the_machine_is_minted_once_and_kept(repo: Path) -> None:
    first, second = opened(repo).settings.machine, opened(repo).settings.machine
    assert first == second
    assert kind_of(first) == "machine"


def test_processes_that_mint_at_the_same_time_agree(repo: Path) -> None:
    shutil.rmtree(repo / ".git" / "codestrator", ignore_errors=True)
    ask = "import sys; from pathlib import Path; from codestrator.world import open_world\n"
    ask += "sys.stdin.read(); print(open_world(Path(sys.argv[1])).settings.machine)"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ask, str(repo)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin
        child.stdin.close()
        child.stdin = None
    assert len({child.communicate(timeout=60)[0] for child in children}) == 1


@pytest.mark.parametrize("name", ["zwei mit leerzeichen", "new\nline", os.fsdecode(b"not-\xff-utf8")])
def test_a_copy_has_an_id_of_its_own_and_the_original_keeps_its_own(repo: Path, tmp_path: Path, name: str) -> None:
    first = machine(repo)
    copy = copied(repo, tmp_path / name)
    second, third = machine(copy), machine(copied(copy, tmp_path / "three"))
    assert len({first, second, third}) == 3 and kind_of(second) == kind_of(third) == "machine"
    assert (machine(repo), machine(copy), machine(tmp_path / "three")) == (first, second, third)


def test_a_clone_that_was_moved_keeps_its_id(repo: Path, tmp_path: Path) -> None:
    first = machine(repo)
    repo.rename(tmp_path / "moved")
    assert machine(tmp_path / "moved") == first
    (tmp_path / "moved").rename(repo)
    assert machine(repo) == first


def test_a_copy_of_what_is_gone_is_taken_for_the_clone_itself(repo: Path, tmp_path: Path) -> None:
    first = machine(repo)
    copy = copied(repo, tmp_path / "restored")
    shutil.rmtree(repo)
    assert machine(copy) == first


def test_the_same_folder_by_another_path_is_the_same_clone(repo: Path, tmp_path: Path) -> None:
    first = machine(repo)
    (tmp_path / "link").symlink_to(repo)
    assert machine(tmp_path / "link") == first and machine(repo) == first


def test_an_id_that_stands_alone_is_kept_and_a_copy_made_after_that_is_known(repo: Path, tmp_path: Path) -> None:
    first = machine(repo)
    (repo / ".git" / "codestrator" / "machine").write_text(first, encoding="ascii")
    assert machine(repo) == first != machine(copied(repo, tmp_path / "copy"))


def test_whoever_only_looks_writes_nothing(repo: Path, tmp_path: Path) -> None:
    first = machine(repo)
    copy = copied(repo, tmp_path / "copy")
    kept = copy / ".git" / "codestrator" / "machine"
    before = kept.read_bytes()
    seen = open_world(copy, forgiving=True).settings.machine
    assert kept.read_bytes() == before and seen != first
    assert machine(copy) == seen
