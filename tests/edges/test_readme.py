"""What the README prints can be typed as it stands."""

import re
import shlex
import subprocess
from pathlib import Path

from tests.conftest import git
from tests.edges.shell import Run, result

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(after: str) -> str:
    """The first block of code after these words."""
    return README.partition(after)[2].partition("```")[2].partition("\n")[2].partition("```")[0]


def test_the_first_session_works_word_by_word_and_every_trace_of_it_can_be_removed(run: Run, repo: Path) -> None:
    before = git("for-each-ref", at=repo), git("worktree", "list", at=repo)
    result(run("workspace", "init", "--json"))
    at, known = repo, dict[str, str]()
    for line in block("## First session").replace("\\\n", " ").splitlines():
        words = [known.get(one, one) for one in shlex.split(line.removeprefix("$ "), comments=True)]
        if words[0] == "cd":
            at = repo / words[1]
            continue
        assert words[:2] == ["git", "codestrator"]
        found = result(run(*words[2:], "--json", at=at))
        for made in re.findall(r'"((?:epic|feat|case|ses)-\w+)"', str(found).replace("'", '"')):
            known[made.partition("-")[0] + "-…"] = made
    assert result(run("task", "list", "--json"))["items"][0]["status"] == "done"
    words = shlex.split(re.search(r"`git codestrator (session cleanup .*?)`", README).group(1))  # type: ignore[union-attr]
    assert result(run(*[known.get(one, one) for one in words], "--json"))["removed"]
    again = result(run("session", "open", "--user-request", "left ü behind", "--json"))
    assert again["session_context"]["session_root_worktree"]["path"]
    subprocess.run(["sh", "-euc", block("To remove every trace")], cwd=repo, check=True, capture_output=True)
    left = [line for line in git("for-each-ref", at=repo).splitlines() if "refs/heads/task/" not in line]
    assert ("\n".join(left), git("worktree", "list", at=repo)) == before
    assert not (repo / ".codestrator").exists() and not (repo / ".git" / "codestrator").exists()
