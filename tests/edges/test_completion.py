"""Completion: what the program answers, and what real shells make of it."""

import os
import pty
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from codestrator.edges import completion
from tests.actors import Actor
from tests.conftest import git
from tests.edges.shell import PACKAGE_ROOT, Program, Run
from tests.test_dependencies import NEVER_FOR_A_SCREEN, imported

GIT_BASH = Path("/usr/share/bash-completion/completions/git")
SHARE = PACKAGE_ROOT / "share"
SECONDS = 30
HOSTILE, INERT = "a b$(touch x)`y`", r"\ b\$\(touch\ x\)\`y\`"


def asked(run: Run, *words: str, at: Path, shell: str = "zsh") -> dict[str, str]:
    """What is offered for the last of these words, each with what it is."""
    done = run(*words, at=at, **{completion.VARIABLE: shell})
    assert done.stderr == ""
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {line[1]: line[2] for line in lines if line[0] == "plain"} | {line[0]: "" for line in lines if not line[1:]}


def test_words_options_and_choices_are_offered_with_what_they_are(run: Run, repo: Path) -> None:
    assert "plan" in asked(run, "task", "c", at=repo)["create"]
    assert "doctor" in asked(run, "", at=repo) and asked(run, "doc", at=repo)["doctor"]
    assert asked(run, "task", "create", "--st", at=repo)["--steps"].startswith("cases only")
    assert set(asked(run, "task", "create", "--level", "", at=repo)) == {"epic", "feature", "test_group", "case"}
    assert set(asked(run, "task", "create", "--level=f", at=repo)) == {"--level=feature"}
    assert set(asked(run, "task", "create", "ca", at=repo)) == {"case"}
    assert set(asked(run, "graph", "show", "--format", "m", at=repo)) == {"mermaid"}
    assert "clock" in asked(run, "doctor", "--checks", "c", at=repo)
    assert asked(run, "task", "gte", "case-", at=repo) == {}
    assert asked(run, "report", "-o", "", at=repo) == {"file": ""}
    assert asked(run, "--repo", "", at=repo) == {"dir": ""}


def test_ids_are_offered_with_their_titles(run: Run, root: Actor) -> None:
    case = root.case("one")
    assert asked(run, "task", "get", "--task-id", "case-", at=root.path) == {case: "Refresh"}
    assert asked(run, "task", "get", "case-", at=root.path) == {case: "Refresh"}
    assert asked(run, "task", "create", "epic", "x", "--parent-id", "ca", at=root.path) == {case: "Refresh"}
    assert asked(run, "--session", "ses-", at=root.path) == {root.session: "Fix the login timeout"}
    assert asked(run, "resume", "ses-", at=root.path) == {root.session: "Fix the login timeout"}
    assert asked(run, "--repo", str(root.path), "task", "get", "case-", at=Path("/")) == {case: "Refresh"}


def test_branches_remotes_and_paths_of_the_worktree_are_offered(run: Run, root: Actor, origin: Path) -> None:
    (root.path / "src" / "lög in").mkdir(parents=True)
    (root.path / "src" / "b\nc").touch()
    assert asked(run, "merge", "main", "next", "--target-branch", "m", at=root.path) == {"main": "branch"}
    assert asked(run, "sync", "run", "--remote", "", at=root.path) == {"origin": "remote"}
    paths = ("lock", "acquire", "--scope-path")
    assert asked(run, *paths, "s", at=root.path) == {"src/": "folder"}
    assert asked(run, *paths, "src/", at=root.path / "src") == {"src/lög in/": "folder"}
    assert asked(run, *paths, "../", at=root.path) == asked(run, *paths, "/", at=root.path) == {}


def test_words_come_from_bash_as_they_are_typed(run: Run, root: Actor) -> None:
    case = root.case("one")
    words = ("task", "create", "epic", '"A quoted title"', "--depends-on")
    assert asked(run, *words, "=", "ca", at=root.path, shell="bash") == {case: "Refresh"}
    assert asked(run, *words, "=", at=root.path, shell="bash")[case] == "Refresh"
    assert asked(run, *words, '"ca', at=root.path, shell="bash") == {case: "Refresh"}


def test_a_title_of_others_cannot_act_on_the_terminal(run: Run, root: Actor) -> None:
    root("task.create", level="epic", title="evil \u202e$(touch x) `y` title " + "x" * 200)
    (about,) = asked(run, "task", "get", "epic-", at=root.path).values()
    assert "\u202e" not in about and len(about) <= 60


def test_where_nothing_can_be_read_it_says_nothing_and_writes_nothing(run: Run, repo: Path, tmp_path: Path) -> None:
    before = sorted((repo / ".git").iterdir())
    words = ("task", "get", "case-")
    assert asked(run, *words, at=repo) == asked(run, *words, at=tmp_path) == {}
    assert sorted((repo / ".git").iterdir()) == before
    git("config", "codestrator.authority", "nonsense", at=repo)
    assert asked(run, *words, at=repo) == {}
    git("config", "--unset", "codestrator.authority", at=repo)
    assert run("workspace", "init").returncode == 0
    for ref in ("state", "locks"):
        (repo / ".git" / "refs" / "codestrator" / ref).write_text("no commit\n")
    assert asked(run, *words, at=repo) == {} and "create" in asked(run, "task", "c", at=repo)


def test_an_answer_imports_no_more_than_it_needs(root: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(completion.VARIABLE, "bash")
    assert imported(["task", "get", "case-"], root.path) & NEVER_FOR_A_SCREEN == set()
    assert imported(["task", "c"], root.path) & (NEVER_FOR_A_SCREEN | {"pygit2"}) == set()


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_script_that_is_printed_is_the_one_that_is_installed(shell: str, run: Run) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stdout) == (0, (SHARE / completion.FILES[shell]).read_text(encoding="utf-8"))


class Typing:
    """A shell at a terminal; what it has shown since it was last asked."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.seen = ""

    def type(self, keys: str, *until: str) -> None:
        """Press keys, and wait until all of these can be read."""
        self.seen = ""
        os.write(self.terminal, keys.encode())
        while not all(word in self.seen for word in until):
            assert select.select([self.terminal], [], [], SECONDS)[0], f"{until} is not in: {self.seen}"
            self.seen += os.read(self.terminal, 65536).decode("utf-8", "replace")


@contextmanager
def at_a_prompt(*command: str, at: Path) -> Iterator[Typing]:
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "dumb", "PS1": "> ", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        command, cwd=at, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as shell:
        os.close(theirs)
        try:
            yield Typing(ours)
        finally:
            shell.kill()
            with suppress(OSError):
                os.close(ours)


def two_cases(root: Actor) -> tuple[str, str]:
    """Two tasks whose titles tell them apart."""
    one, two = (root("task.create", level="epic", title=title)["task"]["id"] for title in ("Apples", "Pears"))
    return one, two


def test_bash_completes_the_command_and_git_with_its_own_completion(root: Actor, program: Program) -> None:
    if not (shutil.which("bash") and GIT_BASH.exists()):
        pytest.skip("needs bash and git's completion for it")
    one, two = two_cases(root)
    (root.path / HOSTILE).mkdir()
    elsewhere = root.path.parent.parent.parent.parent
    with at_a_prompt("bash", "--norc", "--noprofile", "-i", at=root.path) as shell:
        shell.type("bind 'set bell-style none'; bind 'set completion-query-items 0'\n", "> ")
        shell.type(f'. {GIT_BASH}; eval "$(git codestrator completion bash)"; echo rea""dy\n', "ready")
        shell.type("git codestrator task cre\t", "task create ")
        shell.type("\x15git-codestrator task create --lev\tfea\t", "--level feature ")
        shell.type("\x15git-codestrator task create --level=test_\t", "--level=test_group ")
        shell.type(f"\x15git codestrator task get {one[:-2]}\t", f"{one} ")
        shell.type("\x15git codestrator task get epic-\t\t\t", f"{one}  (Apples)", f"{two}  (Pears)")
        shell.type("\x15git codestrator lock acquire --scope-path a\t", f"{INERT}/")
        shell.type(f"\x15cd {elsewhere}\n", "> ")
        shell.type(f"git -C {root.path} codestrator task get {two[:-2]}\t", f"{two} ")


def test_zsh_completes_the_command_and_git_with_its_own_completion(root: Actor, program: Program) -> None:
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    one, two = two_cases(root)
    (root.path / HOSTILE).mkdir()
    with at_a_prompt("zsh", "-f", "-i", at=root.path) as shell:
        shell.type("PROMPT='> '; unsetopt zle_bracketed_paste; LISTMAX=1000\n", "> ")
        shell.type("autoload -Uz compinit && compinit -u -D && echo rea''dy\n", "ready")
        shell.type('eval "$(git codestrator completion zsh)"; echo do""ne\n', "done")
        shell.type("git codestrator task crea\t", "create ")
        shell.type("\x15git-codestrator task create --level fea\t", "feature ")
        shell.type(f"\x15git codestrator task get {one[:-2]}\t", f"{one} ")
        shell.type("\x15git codestrator task get epic-\t\t", one, "Apples", two, "Pears")
        shell.type("\x15git codestrator lock acquire --scope-path a\t", f"{INERT}/")


def test_zsh_finds_the_installed_function_by_itself(root: Actor, program: Program) -> None:
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    with at_a_prompt("zsh", "-f", "-i", at=root.path) as shell:
        folder = (SHARE / completion.FILES["zsh"]).parent
        shell.type(f"PROMPT='> '; fpath=({folder} $fpath)\n", "> ")
        shell.type("autoload -Uz compinit && compinit -u -D && echo rea''dy\n", "ready")
        shell.type("git-codestrator task crea\t", "create ")
        shell.type("\x15git codestrator work check\t", "checkpoint ")


def test_fish_completes_the_command_and_git(root: Actor, program: Program) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    one, two = two_cases(root)

    def completed(line: str) -> list[str]:
        script = f"git-codestrator completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "-c", script], cwd=root.path, capture_output=True, text=True, check=True, timeout=60
        )
        return sorted(done.stdout.splitlines())

    for call in ("git-codestrator", "git codestrator"):
        (created,) = completed(f"{call} task cre")
        assert created.startswith("create\tAdd an epic")
        assert completed(f"{call} task get epic-") == sorted([f"{one}\tApples", f"{two}\tPears"])
    assert completed("git-codestrator task create --level=fea") == ["--level=feature"]
    assert "README.md" in completed("git-codestrator report -o READ")
