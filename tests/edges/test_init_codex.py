"""`init --codex` and its removal: what is placed, what is the user's and stays, and that nothing of it is left."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.edges import cli
from codestrator.edges.codex import guidance, hook, server, shipped
from codestrator.edges.codex.placing import SHARED
from codestrator.edges.codex.shared import Shared
from codestrator.errors import EXIT_STATUS, CodestratorError
from tests.conftest import git
from tests.edges.shell import Run, refused, result
from tests.edges.test_install import tree

pytestmark = pytest.mark.usefixtures("program")
CONFIG, HOOKS, AGENTS = ".codex/config.toml", ".codex/hooks.json", "AGENTS.md"
Do = Callable[..., dict[str, Any]]


@pytest.fixture
def do(repo: Path, capsys: pytest.CaptureFixture[str]) -> Do:
    """Type a command here; its result."""

    def run(*words: str, at: Path = repo) -> dict[str, Any]:
        status = cli.run([*words, "--repo", str(at), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert status == (0 if found["ok"] else EXIT_STATUS[found["error"]["code"]])
        answer: dict[str, Any] = found["result"] if found["ok"] else found["error"]
        return answer

    return run


def work(top: Path) -> dict[str, tuple[str, int]]:
    """Every file and folder of a worktree with content and modes."""
    found = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [one for one in folders if one != ".git"]
        for place in (Path(folder) / name for name in [*files, *folders]):
            told = str(place.readlink()) if place.is_symlink() else place.read_bytes().hex() if place.is_file() else ""
            found[place.relative_to(top).as_posix()] = (told, place.lstat().st_mode)
    return found


def put(repo: Path, path: str, content: str | bytes, mode: int = 0o644) -> Path:
    place = repo / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    place.chmod(mode)
    return place


def linked(repo: Path) -> None:
    put(repo, "CLAUDE.md", "# For all\n")
    (repo / AGENTS).symlink_to("CLAUDE.md")
    put(repo, "tools/codex/config.toml", 'model = "m"')
    (repo / ".codex").symlink_to("tools/codex")


def full(repo: Path) -> None:
    put(repo, CONFIG, '# mine\r\nmodel = "m" # so\r\n\r\n[mcp_servers.docs]\r\ncommand = "docs"\r\n# end', 0o600)
    put(repo, HOOKS, json.dumps({"hooks": {"SessionStart": [{"hooks": []}], "Stop": []}}, indent="\t"), 0o640)
    put(repo, AGENTS, b"\xef\xbb\xbf# Rules\r\n\r\nBe kind.")
    put(repo, ".agents/skills/other/SKILL.md", "mine")
    put(repo, ".codex/agents/mine.md", "mine")


def in_the_same_places(repo: Path) -> None:
    put(repo, ".agents/skills/codestrator/SKILL.md", "mine")
    put(repo, ".agents/skills/codestrator/notes.md", "mine")
    put(repo, ".codex/agents/codestrator/main-worker.md", "mine")


TOMLS = (
    "",
    "# only words",
    "\n\n",
    'model = "m"',
    "[mcp_servers]\n",
    "[mcp_servers.a]\ncommand = 'x'\n\n# about b\n[b]\nc = 1\n",
    'mcp_servers.a.command = "x"\n[b]\n',
    'mcp_servers = { a = { command = "x" } } # inline\n[b]\n',
    "mcp_servers = {}",
    "[[list]]\na = 1\r\n[[list]]\r\na = 2",
    '[mcp_servers.a]\ncommand = """\n[mcp_servers.codestrator]\n"""\n',
)
JSONS = (
    "",
    "{}",
    " {\n}\n",
    '{"hooks":{}}',
    '{"hooks": {"SessionStart": []}, "description": "mine"}',
    '{"hooks": {"SessionStart": [ ]\n}}',
    json.dumps({"hooks": {"Stop": [{"hooks": [{"type": "command", "command": ']}\\" ü'}]}]}}),
    json.dumps({"hooks": {"SessionStart": [{"hooks": []}, {"hooks": [1]}]}, "z": [[]]}, indent=4),
    json.dumps({"a": {"hooks": 1}, "hooks": {"SessionStart": [{"matcher": "x"}]}}, indent=2).replace("\n", "\r\n"),
)
WORDS = ("", "\n", "# Rules", "# Rules\n", "a\r\nb\r\n", "\ufeff", "a\n\n\n", "<!-- codestrator -->\n")
STARTS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda repo: None,
    "an empty folder": lambda repo: (repo / ".codex").mkdir(),
    "links": linked,
    "all": full,
    "names of ours": in_the_same_places,
    **{f"config {n}": lambda repo, one=one: put(repo, CONFIG, one) for n, one in enumerate(TOMLS)},  # type: ignore[misc]
    **{f"hooks {n}": lambda repo, one=one: put(repo, HOOKS, one) for n, one in enumerate(JSONS)},  # type: ignore[misc]
    **{f"words {n}": lambda repo, one=one: put(repo, AGENTS, one) for n, one in enumerate(WORDS)},  # type: ignore[misc]
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_after_init_and_uninstall_worktree_and_git_folder_are_as_before(
    do: Do, repo: Path, start: Callable[[Path], object]
) -> None:
    start(repo)
    before, kept = (work(repo), tree(repo / ".git")), data(repo)
    found = do("init", "--codex")
    assert found["codex"] and data(repo) == kept
    assert tomllib.loads((repo / CONFIG).read_text("utf-8"))["mcp_servers"]["codestrator"] == server.BLOCK
    assert json.loads((repo / HOOKS).read_text("utf-8"))["hooks"]["SessionStart"][-1] == hook.ENTRY
    assert guidance.BLOCK.strip() in (repo / AGENTS).read_bytes().decode().replace("\r\n", "\n")
    placed = work(repo), tree(repo / ".git", whole=True)
    again = do("init", "--codex")
    assert again["touches"] == [] and "codex" not in again and again["warnings"] == found["warnings"]
    assert (work(repo), tree(repo / ".git", whole=True)) == placed
    assert do("uninstall")["warnings"] == []
    assert (work(repo), tree(repo / ".git")) == before


def data(repo: Path) -> dict[str, Any]:
    """What the files of the user's say, without what is ours."""
    read = {path: (repo / path).read_bytes().decode() if (repo / path).exists() else "" for path in (CONFIG, HOOKS)}
    return {one.path: one.rest(read[one.path]) for one in (server.SERVER, hook.HOOK)}


def test_everything_is_shown_before_it_is_touched_and_a_dry_run_only_shows(run: Run, repo: Path) -> None:
    put(repo, CONFIG, "a = 1\n")
    before = work(repo), tree(repo / ".git")
    shown = run("init", "--codex", "--dry-run").stdout.splitlines()
    assert (work(repo), tree(repo / ".git")) == before
    done = run("init", "--codex").stdout.splitlines()
    assert done[1 : len(shown)] == shown[1:] and done[len(shown)].startswith("ready: ")
    changed = [name for name, one in work(repo).items() if one != before[0].get(name) and (repo / name).is_file()]
    assert len(changed) == 21
    told = "\n".join(shown)
    assert [name for name in changed if f"{repo / name}: " not in told] == []
    assert "[mcp_servers.codestrator]" in told and "SessionStart" in told
    following = "\n".join(done[len(shown) + 1 :])
    assert "add .agents .codex AGENTS.md" in following and "/hooks" in following and "trust the folder" in following
    assert git("status", "--porcelain", at=repo).splitlines() == ["?? .agents/", "?? .codex/", "?? AGENTS.md"]
    assert "nothing" in run("init", "--codex").stdout
    gone = run("uninstall", "--dry-run").stdout
    assert [name for name in changed if f"{repo / name}: " not in gone] == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (CONFIG, "a = \n"),
        (CONFIG, b"\xff"),
        (CONFIG, "mcp_servers = 1"),
        (HOOKS, "{"),
        (HOOKS, "[]"),
        (HOOKS, '{"hooks": {"SessionStart": {}}}'),
        (HOOKS, "[" * 100_000),
        (AGENTS, b"\xff"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_touched(
    do: Do, repo: Path, path: str, content: str | bytes
) -> None:
    put(repo, path, content)
    before = work(repo), tree(repo / ".git")
    error = do("init", "--codex")
    assert error["code"] == "wrong_state" and path in error["message"] and path in error["hint"]
    assert (work(repo), tree(repo / ".git")) == before and not (repo / ".git/codestrator/install.json").exists()


def out_of_it(repo: Path, path: str) -> None:
    aside = repo.parent / "aside"
    aside.mkdir()
    put(aside, "config.toml", "mine = 1")
    (repo / path).symlink_to(aside if path == ".codex" else aside / "config.toml")


@pytest.mark.parametrize(
    ("path", "dress"),
    [
        (".codex", lambda repo: out_of_it(repo, ".codex")),
        (AGENTS, lambda repo: out_of_it(repo, AGENTS)),
        (AGENTS, lambda repo: (repo / AGENTS).symlink_to(".git/config")),
        (AGENTS, lambda repo: (repo / AGENTS).symlink_to(AGENTS)),
        (AGENTS, lambda repo: (repo / AGENTS).mkdir()),
        (AGENTS, lambda repo: os.mkfifo(repo / AGENTS)),
        (AGENTS, lambda repo: put(repo, AGENTS, "mine", 0o444)),
        (CONFIG, lambda repo: put(repo, CONFIG, "", 0o400)),
        (".agents", lambda repo: put(repo, ".agents", "mine")),
        (".codex", lambda repo: (repo / ".codex").mkdir(mode=0o555)),
    ],
)
def test_what_leads_out_or_may_not_be_written_is_refused_and_nothing_is_touched(
    do: Do, repo: Path, path: str, dress: Callable[[Path], object]
) -> None:
    dress(repo)
    before = work(repo), tree(repo / ".git")
    error = do("init", "--codex")
    assert error["code"] == "wrong_state" and path in error["message"] and "expected" in error["message"]
    assert (work(repo), tree(repo / ".git")) == before and not (repo / ".git/codestrator/install.json").exists()


# What the user has, or has changed since


def test_a_server_of_the_users_stays_and_the_difference_is_told(do: Do, repo: Path) -> None:
    mine = '[mcp_servers.codestrator]\ncommand = "git-codestrator"\nargs = ["mcp"]\nenabled = true\n'
    put(repo, CONFIG, mine)
    (warning,) = do("init", "--codex")["warnings"]
    assert "command is 'git-codestrator', ours 'git'" in warning and "required is not set, ours True" in warning
    assert "enabled is True, ours not set" in warning
    assert do("uninstall")["warnings"] == [] and (repo / CONFIG).read_text("utf-8") == mine


def test_guidance_without_its_end_is_left_alone_and_reported(do: Do, repo: Path) -> None:
    put(repo, AGENTS, f"# Mine\n{guidance.BEGIN}\nours, half\n")
    (warning,) = do("init", "--codex")["warnings"]
    assert AGENTS in warning and guidance.END in warning
    assert do("uninstall")["warnings"] == []
    assert (repo / AGENTS).read_text("utf-8") == f"# Mine\n{guidance.BEGIN}\nours, half\n"


def test_what_was_changed_since_stays_and_is_named_and_the_rest_goes(do: Do, repo: Path) -> None:
    before = work(repo)
    do("init", "--codex")
    changed: dict[str, Callable[[str], str]] = {
        ".agents/skills/codestrator/SKILL.md": lambda text: text + "mine\n",
        ".codex/agents/codestrator/main-worker.md": lambda text: text + "mine\n",
        CONFIG: lambda text: text.replace("120", "300"),
        HOOKS: lambda text: text.replace('"timeout": 10', '"timeout": 20'),
        AGENTS: lambda text: text.replace("## Working", "## Living"),
    }
    for path, change in changed.items():
        put(repo, path, change((repo / path).read_text("utf-8")))
    there = work(repo)
    again = do("init", "--codex")
    assert again["touches"] == [] and len(again["warnings"]) == len(changed) and work(repo) == there
    warnings = do("uninstall")["warnings"]
    assert sorted(path for path in changed if any(str(repo / path) in one for one in warnings)) == sorted(changed)
    left = {name for name in work(repo) if (repo / name).is_file()} - set(before)
    assert left == set(changed)
    assert {name: there[name] for name in changed} == {name: work(repo)[name] for name in changed}


def test_what_the_user_added_around_ours_stays_and_ours_goes(do: Do, repo: Path) -> None:
    do("init", "--codex")
    put(repo, CONFIG, "# first\na = 1\n" + (repo / CONFIG).read_text("utf-8") + '\n[mcp_servers.b]\ncommand = "b"\n')
    hooks = json.loads((repo / HOOKS).read_text("utf-8"))
    hooks["hooks"]["SessionStart"] = [{"hooks": []}, *hooks["hooks"]["SessionStart"], {"matcher": "x", "hooks": []}]
    put(repo, HOOKS, json.dumps(hooks, indent=1))
    put(repo, AGENTS, "# Ours\n" + (repo / AGENTS).read_text("utf-8") + "More.\n")
    assert do("init", "--codex")["touches"] == []
    assert do("uninstall")["warnings"] == []
    assert (repo / CONFIG).read_text("utf-8") == '# first\na = 1\n\n[mcp_servers.b]\ncommand = "b"\n'
    assert (repo / AGENTS).read_text("utf-8") == "# Ours\nMore.\n"
    assert json.loads((repo / HOOKS).read_text("utf-8")) == {
        "hooks": {"SessionStart": [{"hooks": []}, {"matcher": "x", "hooks": []}]}
    }


def test_a_key_that_was_written_below_our_table_is_not_given_to_another(do: Do, repo: Path) -> None:
    put(repo, CONFIG, '[mcp_servers.a]\ncommand = "a"\n')
    do("init", "--codex")
    with (repo / CONFIG).open("a", encoding="utf-8") as file:
        file.write("enabled = false\n")
    there = (repo / CONFIG).read_bytes()
    (warning,) = do("uninstall")["warnings"]
    assert CONFIG in warning and (repo / CONFIG).read_bytes() == there


def test_what_an_older_version_placed_is_renewed(do: Do, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(repo, AGENTS, "# Mine\n")
    before = work(repo)
    with monkeypatch.context() as older:
        older.setattr(guidance, "BLOCK", guidance.BLOCK.replace("Agents share", "Agents shared"))
        older.setattr(server, "BLOCK", server.BLOCK | {"tool_timeout_sec": 60})
        older.setattr(hook, "ENTRY", hook.ENTRY | {"matcher": "startup"})
        older.setattr(shipped, "CONTRACTS", "references/older.md")
        older.setattr(shipped, "SKILLS", repo.parent)
        for skill in shipped.ROLE_OF:
            for part in shipped.PARTS:
                put(repo.parent / skill, part, "older")
        do("init", "--codex")
    found = do("init", "--codex")
    assert found["warnings"] == []
    does = {one["what"].removeprefix(f"{repo}/"): one["does"] for one in found["touches"]}
    assert does[".agents/skills/codestrator/SKILL.md"] == "write it anew" and does[CONFIG].startswith("renew")
    assert {path: does[path].partition(" ")[0] for path in (HOOKS, AGENTS)} == dict.fromkeys((HOOKS, AGENTS), "renew")
    assert do("init", "--codex")["touches"] == []
    assert do("uninstall")["warnings"] == [] and work(repo) == before


def test_what_came_with_the_commits_of_another_clone_stays_and_is_named(do: Do, repo: Path, tmp_path: Path) -> None:
    do("init", "--codex")
    git("add", ".agents", ".codex", "AGENTS.md", at=repo)
    git("commit", "-qm", "codex", at=repo)
    clone = tmp_path / "clone"
    git("clone", "-q", str(repo), str(clone), at=tmp_path)
    before = work(clone)
    assert not any(str(clone / ".codex") in one["what"] for one in do("init", "--codex", at=clone)["touches"])
    stays = [one["what"] for one in do("uninstall", at=clone)["stays"]]
    assert work(clone) == before
    assert any("18 files for Codex" in one for one in stays)
    assert [path for path in (CONFIG, HOOKS, AGENTS) if not any(one.endswith(str(clone / path)) for one in stays)] == []


def test_each_worktree_has_its_own_and_uninstall_takes_them_from_all(do: Do, repo: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        git("worktree", "add", "-q", "-b", name, str(tmp_path / name), at=repo)
    before = {name: work(tmp_path / name) for name in ("one", "two")} | {"main": work(repo)}
    (tmp_path / "one/deep").mkdir()
    do("init", "--codex", at=tmp_path / "one/deep")
    (tmp_path / "one/deep").rmdir()
    assert work(repo) == before["main"] and (tmp_path / "one" / CONFIG).is_file()
    do("init", "--codex")
    do("init", "--codex", at=tmp_path / "two")
    do("init", "--codex", at=tmp_path / "three")
    git("worktree", "move", str(tmp_path / "two"), str(tmp_path / "moved"), at=repo)
    git("worktree", "remove", "--force", str(tmp_path / "three"), at=repo)
    assert do("uninstall")["warnings"] == []
    assert {"one": work(tmp_path / "one"), "two": work(tmp_path / "moved"), "main": work(repo)} == before


def test_a_bare_repository_has_no_place_for_it(do: Do, origin: Path) -> None:
    before = tree(origin)
    assert do("init", "--codex", at=origin)["code"] == "unsupported"
    assert tree(origin) == before
    do("init", at=origin)
    assert do("uninstall", at=origin)["warnings"] == []


def test_an_init_that_was_killed_in_between_is_completed_and_can_be_taken_back(do: Do, repo: Path) -> None:
    put(repo, CONFIG, "a = 1")
    before = work(repo)
    do("init", "--codex")
    (repo / HOOKS).unlink()
    put(repo, CONFIG, "a = 1")
    (repo / ".agents/skills/codestrator/SKILL.md").unlink()
    assert len(do("init", "--codex")["touches"]) == 3
    (repo / HOOKS).unlink()
    put(repo, CONFIG, "a = 1")
    assert do("uninstall")["warnings"] == [] and work(repo) == before


def test_line_ends_that_git_gave_it_are_no_change_of_the_users(do: Do, repo: Path) -> None:
    put(repo, AGENTS, "# Mine\n")
    do("init", "--codex")
    for path in (one for one in work(repo) if (repo / one).is_file() and one != "README.md"):
        put(repo, path, (repo / path).read_bytes().replace(b"\n", b"\r\n"))
    assert do("uninstall")["warnings"] == []
    assert {name for name in work(repo) if (repo / name).is_file()} == {"README.md", AGENTS}
    assert (repo / AGENTS).read_bytes() == b"# Mine\r\n"


def test_the_hook_is_silent_where_the_program_is_missing_broken_or_has_nothing_to_say(
    run: Run, repo: Path, program: Any
) -> None:
    from tests.edges.shell import typed

    command = hook.ENTRY["hooks"][0]["command"]
    for begin in (lambda: None, lambda: result(run("init", "--json")), lambda: program.becomes("echo no >&2; exit 3"),
                  lambda: (program.folder / "git-codestrator").unlink()):  # fmt: skip
        begin()
        done = typed("sh", "-c", command, at=repo, PATH=f"{program.folder}:/usr/bin:/bin")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The editors of the user's files


@given(
    words=st.text(
        st.sampled_from(list("ab \r\n\t<>!-#=[]{},:\"'\\é\ufeff")) | st.sampled_from(guidance.BEGIN), max_size=80
    )
    | st.sampled_from([*TOMLS, *JSONS, *WORDS]),
    one=st.sampled_from(SHARED),
)
def test_whatever_a_file_says_ours_is_added_alone_and_taken_out_to_the_byte(words: str, one: Shared) -> None:
    try:
        if one.look(words).state != "absent":
            return
        found, part = one.with_ours(words)
    except (ValueError, CodestratorError):
        return
    assert one.look(found).state == "ours" and one.without(found, part.words) == words


def test_a_refusal_of_a_form_shows_what_to_add_by_hand(run: Run, repo: Path) -> None:
    put(repo, CONFIG, "[[mcp_servers]]\na = 1\n")
    error = refused(run("init", "--codex", "--json"))
    assert error["code"] == "wrong_state" and CONFIG in error["message"]
