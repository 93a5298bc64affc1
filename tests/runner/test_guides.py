"""Guides say only what their role can do; a guide or role file that is not as it should be is named and refused."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codestrator import guides, registry, table
from codestrator.errors import CodestratorError, External, InvalidParams
from codestrator.guides import MOST_BYTES, guide_for, read_guide, role_file

ROLE_OF = {"root-orchestrator.md": "root", "main-worker.md": "worker"} | {
    f"{role}.md": role for role in ("merge-reviewer", "plan-architect", "doc-mirror-manager")
}
GUIDES = tuple(ROLE_OF)
BRIEF = 3 * 1024
WHOLE = "role: worker\ndisplay_name: W\ninstructions: do\nmodel: null\ntools: [task.get]\n"
SPAN = re.compile(r"`([^`]+)`")
METHOD = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")
CALL = re.compile(r"(orch_\w+) ([a-z_.]+)(?: (\{.*\}))?")


def installed(content: str, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose worker's role file says that."""
    monkeypatch.setattr(guides, "AGENTS", at)
    (at / "agents-sdk").mkdir()
    (at / "agents-sdk/worker.yaml").write_text(content, encoding="utf-8")


def spans(name: str) -> list[str]:
    return SPAN.findall(read_guide(ROLE_OF[name], None, Path()))


def calls(name: str) -> list[tuple[str, str, dict[str, object]]]:
    """The calls a guide shows in full: tool, method, parameters."""
    found = [CALL.fullmatch(span) for span in spans(name) if span.startswith("orch_")]
    return [(one[1], one[2], json.loads(one[3] or "{}")) for one in found if one]


@pytest.mark.parametrize(
    ("role", "guide"),
    [
        ("session-root", "root-orchestrator.md"),
        ("root", "root-orchestrator.md"),
        ("orchestrator", "root-orchestrator.md"),
        ("worker", "main-worker.md"),
        ("merge-reviewer", "merge-reviewer.md"),
        ("plan-architect", "plan-architect.md"),
        ("doc-mirror-manager", "doc-mirror-manager.md"),
        ("tester", "main-worker.md"),
        ("../x", "main-worker.md"),
    ],
)
def test_each_role_has_its_guide_and_every_other_the_workers(role: str, guide: str) -> None:
    assert guide_for(role) == guide
    assert read_guide(role, None, Path()) == (guides.AGENTS / guide).read_text(encoding="utf-8").strip()


def test_nothing_is_shipped_that_no_role_reads() -> None:
    files = {path.relative_to(guides.AGENTS).as_posix() for path in guides.AGENTS.rglob("*") if path.is_file()}
    assert files == {*GUIDES, *(f"agents-sdk/{role}.yaml" for role in table.ROLES)} == {
        *guides.GUIDES, *(f"agents-sdk/{role}.yaml" for role in table.ROLES),
    }  # fmt: skip


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_short_and_begins_with_its_name(name: str) -> None:
    words = read_guide(ROLE_OF[name], None, Path())
    assert words.startswith("# ") and len(words.encode()) < BRIEF


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_names_only_methods_that_its_role_may_call(name: str) -> None:
    whole = read_guide(ROLE_OF[name], None, Path())
    nouns = {method.split(".")[0] for method in table.METHODS}
    in_text = {one for one in METHOD.findall(whole) if one.split(".")[0] in nouns}
    named = {one for span in spans(name) for one in METHOD.findall(span.split(" {")[0])} | in_text
    assert len(named) > 4
    assert sorted(named - set(table.METHODS)) == []
    assert [one for one in sorted(named) if not table.may_call(ROLE_OF[name], one)] == []


@pytest.mark.parametrize("name", GUIDES)
def test_a_call_in_a_guide_is_whole_and_goes_to_the_right_tool(name: str) -> None:
    shown = calls(name)
    assert len(shown) == len([span for span in spans(name) if span.startswith("orch_")]) >= 4
    assert [call for call in shown if table.TOOL_OF.get(call[1]) != call[0]] == []


@pytest.mark.parametrize("name", GUIDES)
def test_the_parameters_in_a_guide_are_those_of_the_method(name: str) -> None:
    wrong = []
    for _, method, given_params in calls(name):
        shapes = {shape.name: shape for shape in registry.shapes(method)}
        wrong += [f"{method} has no {one}" for one in given_params if one not in shapes]
        wrong += [f"{method} needs {one}" for one in shapes if shapes[one].required and one not in given_params]
    assert wrong == []


def test_the_root_guide_has_the_seven_parts_in_order() -> None:
    parts = re.findall(r"^(\d)\. \*\*(.+?)\*\*", read_guide("root", None, Path()), re.MULTILINE)
    assert [(number, name) for number, name in parts] == list(
        zip("1234567", ("Open.", "Branch.", "Plan here.", "Dispatch.", "Cases.", "Land.", "Resume."), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("root-orchestrator.md", "workspace.init session.open task.create thread.child.spawn thread.child.wait_status "
         "thread.child.directive thread.child.status thread.child.stop case.begin step.check case.complete "
         "merge.main.request merge.main.acquire_lock merge.review.request_auto merge.review.thread_status "
         "merge.main.land merge.main.release_lock work.brief session.close"),
        ("main-worker.md", "work.brief case.begin step.check work.checkpoint case.complete worktree.merge_to_parent "
         "lock.acquire lock.release thread.child.report"),
        ("merge-reviewer.md", "work.brief merge.review_context merge.review.verdict thread.child.report"),
        ("plan-architect.md", "work.brief plan.bootstrap plan.slice.generate plan.rollup.submit thread.child.report"),
        ("doc-mirror-manager.md", "work.brief mirror.status mirror.refresh thread.child.report"),
    ],
)  # fmt: skip
def test_a_guide_tells_the_whole_way(name: str, methods: str) -> None:
    assert sorted(set(methods.split()) - {one for span in spans(name) for one in METHOD.findall(span)}) == []


@pytest.mark.parametrize("mode", ["interrupt_patch", "queue", "restart"])
@pytest.mark.parametrize("name", ["root-orchestrator.md", "main-worker.md"])
def test_each_mode_of_a_directive_is_told(name: str, mode: str) -> None:
    assert mode in spans(name)


@pytest.mark.parametrize("role", table.ROLES)
def test_the_tools_of_a_role_file_are_the_role_matrix(role: str) -> None:
    found = role_file(role)
    assert found.tools == [name for name in table.METHODS if table.may_call(role, name)]
    assert (found.role, found.model) == (role, None)
    assert found.display_name and "codex" in found.instructions


@pytest.mark.parametrize(("written", "read"), [("m-5", "m-5"), ("null", None), ("", None), ("~", None), ("5", "5")])
def test_a_model_that_is_not_named_is_none(
    written: str, read: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(WHOLE.replace("model: null", f"model: {written}"), tmp_path, monkeypatch)
    assert role_file("worker").model == read


def test_a_role_of_ones_own_making_is_a_worker_and_the_root_has_no_role_file() -> None:
    assert role_file("tester") == role_file("worker")
    with pytest.raises(InvalidParams, match="'session-root' has no role file"):
        role_file("session-root")


@pytest.mark.parametrize("name", GUIDES)
def test_a_shipped_guide_can_be_named(name: str) -> None:
    assert read_guide("worker", f" {name} ", Path()) == read_guide(ROLE_OF[name], None, Path())


def test_a_guide_of_the_repository_is_read_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/guide.md").write_bytes("\ufeff# Ours\x1b[31m\u202e\r\nBe kind.\n".encode())
    (tmp_path / "docs/link.md").symlink_to("guide.md")
    for given_path in ("docs/guide.md", "./docs//guide.md", str(tmp_path / "docs/guide.md"), "docs/link.md"):
        assert read_guide("worker", given_path, tmp_path) == "# Ours\nBe kind."


def test_a_repository_that_is_reached_through_a_link_takes_either_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/guide.md").write_text("ours", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    for folder in ("real", "link"):
        assert read_guide("worker", str(tmp_path / folder / "guide.md"), tmp_path / "link") == "ours"


def test_a_shipped_name_wins_and_a_path_of_that_name_can_still_be_given(tmp_path: Path) -> None:
    (tmp_path / "main-worker.md").write_text("ours", encoding="utf-8")
    assert read_guide("worker", "main-worker.md", tmp_path).startswith("# Worker")
    assert read_guide("worker", "./main-worker.md", tmp_path) == "ours"


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_blank_path_is_none(blank: str) -> None:
    assert read_guide("worker", blank, Path()).startswith("# Worker")


def refusal(given_path: str, repo: Path) -> CodestratorError:
    with pytest.raises(InvalidParams) as refused:
        read_guide("worker", given_path, repo)
    error = refused.value
    assert error.details["field"] == "agent_guide_path" and error.details["found"] and error.details["expected"]
    assert ", expected " in error.message and error.hint and "\n" not in error.message
    return error


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A repository with files that are no guides, beside a secret."""
    repo = tmp_path / "repo"
    (repo / ".git").mkdir(parents=True)
    (repo / "sub/.git").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("secret", encoding="utf-8")
    (tmp_path / "repo-two").mkdir()
    (tmp_path / "repo-two/a.md").write_text("secret", encoding="utf-8")
    (repo / ".git/config.md").write_text("secret", encoding="utf-8")
    (repo / "sub/.git/a.md").write_text("secret", encoding="utf-8")
    (repo / "sub/.GIT").mkdir(exist_ok=True)
    (repo / "sub/.GIT/b.md").write_text("secret", encoding="utf-8")
    (repo / "out.md").symlink_to(tmp_path / "secret.md")
    (repo / "way").symlink_to(tmp_path)
    (repo / "git.md").symlink_to(".git/config.md")
    (repo / "loop.md").symlink_to("loop.md")
    (repo / "gone.md").symlink_to("nowhere.md")
    (repo / "binary.md").write_bytes(b"ab\xff")
    (repo / "blank.md").write_text(" \n\x1b[0m\n", encoding="utf-8")
    (repo / "long.md").write_bytes(b"x" * (MOST_BYTES + 1))
    os.mkfifo(repo / "pipe.md")
    return repo


@pytest.mark.parametrize(
    ("given_path", "found"),
    [
        ("../secret.md", "with '..'"),
        ("sub/../../secret.md", "with '..'"),
        ("/etc/passwd", "lies outside"),
        (".git/config.md", "inside the git directory"),
        ("-x.md", "begins with a dash"),
        ("a\nb.md", "control characters"),
        ("out.md", "leads out of"),
        ("way/secret.md", "leads out of"),
        ("way/repo-two/a.md", "leads out of"),
        ("git.md", "leads out of"),
        ("sub/.git/a.md", "leads out of"),
        ("sub/.GIT/b.md", "leads out of"),
        ("loop.md", "is not there"),
        ("gone.md", "is not there"),
        ("none.md", "is not there"),
        ("binary.md/x", "is not there"),
        ("x" * 5000, "is not there"),
        ("binary.md", "is not UTF-8 at byte 2"),
        ("blank.md", "is empty"),
        ("long.md", f"more than {MOST_BYTES} bytes"),
        ("pipe.md", "is no plain file"),
        ("sub", "cannot be read"),
        (".", "cannot be read"),
    ],
)
def test_what_is_no_guide_is_refused_by_name(odd: Path, given_path: str, found: str) -> None:
    error = refusal(given_path, odd)
    assert found in error.message
    assert "secret" not in error.message.replace("secret.md", "")


def test_a_path_into_a_folder_beside_the_repository_is_refused(odd: Path) -> None:
    assert "lies outside" in refusal(f"{odd}-two/a.md", odd).message


def test_a_guide_of_exactly_64_kib_is_read(tmp_path: Path) -> None:
    (tmp_path / "long.md").write_bytes(b"x" * MOST_BYTES)
    assert len(read_guide("worker", "long.md", tmp_path)) == MOST_BYTES


def test_a_guide_that_is_missing_from_the_installation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guides, "AGENTS", tmp_path)
    with pytest.raises(External, match=r"'main-worker\.md' cannot be read: no such file") as refused:
        read_guide("worker", None, tmp_path)
    assert refused.value.hint and refused.value.details["file"] == str(tmp_path / "main-worker.md")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (WHOLE.replace("role: worker", "role: [worker]"), "Expected `str`"),
        (WHOLE.replace("display_name: W\n", ""), "missing required field `display_name`"),
        (WHOLE + "colour: red\n", "unknown field `colour`"),
        (WHOLE.replace("[task.get]", "task.get"), "Expected `array`"),
        (WHOLE.replace("model: null", "model: {}"), "Expected `str | null`"),
        (WHOLE.replace("role: worker", "role: merge-reviewer"), "is for the role 'merge-reviewer'"),
        (WHOLE.replace("task.get", "thread.child.spawn"), "names the tool 'thread.child.spawn'"),
        (WHOLE.replace("task.get", "task.gt"), "names the tool 'task.gt'"),
        (WHOLE.replace("do", "!!python/object/apply:os.getcwd []"), "Expected `str`"),
        (WHOLE.replace("[task.get]", "&a [*a]"), "recursive"),
        ("role: [", "is no role file"),
        ("", "is no role file"),
        ("a\tb: \x00", "is no role file"),
        ("[" * 60_000, "is no role file"),
        ("x" * (MOST_BYTES + 1), f"more than {MOST_BYTES} bytes"),
    ],
    ids=lambda value: value[:30] if len(value) < 300 else "long",
)
def test_a_broken_role_file_is_refused_by_name(
    content: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(content, tmp_path, monkeypatch)
    with pytest.raises(External) as refused:
        role_file("worker")
    message = refused.value.message
    assert message.startswith("'agents-sdk/worker.yaml' ") and found in message and ", expected " in message
    assert "\n" not in message and len(message) < 600 and refused.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text("!&*[]{}:-,|>?'\"#%@` \nab01.~=<", max_size=60).map(str.encode))
@example(content=WHOLE.encode())
@example(content=b"{[]: 1}")
@example(content=b"? !!set {a}\n: 1")
@example(content=b"!!bool x")
@example(content=b"!!int ''")
def test_any_bytes_are_a_role_file_or_a_typed_refusal(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guides, "AGENTS", tmp_path)
    (tmp_path / "agents-sdk").mkdir(exist_ok=True)
    (tmp_path / "agents-sdk/worker.yaml").write_bytes(content)
    try:
        assert role_file("worker").role == "worker"
        assert content == WHOLE.encode()
    except External as error:
        assert "agents-sdk/worker.yaml" in error.message


def test_the_configured_folder_is_looked_in_for_a_guide_that_lies_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "tester.md").write_text("Test it.\n", encoding="utf-8")
    assert guides.read_guide("tester", "tester.md", tmp_path, "team") == "Test it."
    (tmp_path / "tester.md").write_text("Nearer.\n", encoding="utf-8")
    assert guides.read_guide("tester", "tester.md", tmp_path, "team") == "Nearer."
    with pytest.raises(InvalidParams):
        guides.read_guide("tester", "../tester.md", tmp_path / "team", "..")


# The repository's own copies, which `init --codex` places


def copy(repo: Path, name: str, content: bytes) -> Path:
    place = repo / guides.INSTALLED / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_the_repositorys_copy_of_a_guide_is_read_instead_of_the_shipped_one(tmp_path: Path) -> None:
    copy(tmp_path, "main-worker.md", b"# Ours\n")
    assert read_guide("worker", None, tmp_path) == read_guide("tester", "main-worker.md", tmp_path) == "# Ours"
    assert read_guide("merge-reviewer", None, tmp_path).startswith("# Merge reviewer")


def test_the_repositorys_copy_of_a_role_file_is_read_and_gives_no_more_than_the_role_has(tmp_path: Path) -> None:
    copy(tmp_path, "agents-sdk/worker.yaml", WHOLE.replace("model: null", "model: m-5").encode())
    assert (role_file("worker", tmp_path).model, role_file("worker").model) == ("m-5", None)
    copy(tmp_path, "agents-sdk/worker.yaml", WHOLE.replace("task.get", "merge.main.land").encode())
    with pytest.raises(External, match=r"'\.codex/agents/codestrator/agents-sdk/worker\.yaml' names the tool"):
        role_file("worker", tmp_path)


def test_a_copy_that_cannot_be_read_is_named_with_what_mends_it(tmp_path: Path) -> None:
    place = copy(tmp_path / "repo", "main-worker.md", b"\xff")
    with pytest.raises(External, match=r"'\.codex/agents/codestrator/main-worker\.md' is not UTF-8") as refused:
        read_guide("worker", None, tmp_path / "repo")
    assert refused.value.hint == guides.MEND
    place.unlink()
    (tmp_path / "secret.md").write_text("secret", encoding="utf-8")
    place.symlink_to(tmp_path / "secret.md")
    with pytest.raises(External, match="leads out of the repository"):
        read_guide("worker", None, tmp_path / "repo")
    place.unlink()
    place.symlink_to("nowhere.md")
    with pytest.raises(External, match="is not there"):
        read_guide("worker", None, tmp_path / "repo")
