"""The command line as a person and a script use it: real processes in real repositories."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from codestrator import __version__, registry, table
from codestrator.edges import cli, derived
from codestrator.edges.context import Context
from codestrator.records import Thread
from codestrator.store.transaction import Stamp
from tests.actors import Actor
from tests.edges.shell import Run, refused, result


def test_every_method_is_a_command() -> None:
    ctx = click.Context(cli.program(), obj=Context())
    for name in table.METHODS:
        command: Any = cli.program()
        for word in name.replace("_", "-").split("."):
            command = command.get_command(ctx, word)
            assert command is not None, name


def test_the_options_of_a_command_are_the_parameters_of_its_method() -> None:
    for name in table.METHODS:
        options = {param.name for param in derived.command(name, cli.answer).params}
        assert {shape.name for shape in registry.shapes(name)} <= options, name


def test_help_works_outside_of_a_repository_and_names_every_noun(run: Run, tmp_path: Path) -> None:
    for flag in ("-h", "--help"):
        done = run(flag, at=tmp_path)
        assert done.returncode == 0 and done.stderr == ""
        assert all(noun in done.stdout for noun in ("status", "completion", "workspace", "merge-to-parent"))


def test_outside_of_a_repository_a_call_is_refused_with_its_status(run: Run, tmp_path: Path) -> None:
    for verb in ("status", "init", "uninstall"):
        assert refused(run("--json", verb, at=tmp_path))["code"] == "not_found", verb


def test_in_a_folder_that_was_removed_a_call_is_refused_and_works_with_the_repository_named(
    repo: Path, root: Actor, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "$PWD"; {shlex.quote(sys.executable)} -m codestrator --json "$@" task list'
    for words, status, told in (((), 4, "was removed"), (("--repo", str(repo)), 0, '"ok":true')):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", command, "sh", *words], cwd=gone, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, told in done.stdout, done.stderr) == (status, True, "")


def test_required_parameters_may_go_without_their_names(run: Run, root: Actor) -> None:
    task = result(run("task", "create", "epic", "The shop", "--json", at=root.path))["task"]
    assert (task["level"], task["title"], task["session_id"]) == ("epic", "The shop", root.session)


def test_lists_repeat_their_option_and_params_come_as_json_file_or_standard_input(run: Run, root: Actor) -> None:
    epic = root("task.create", level="epic", title="Shop")["task"]["id"]
    feature = root("task.create", level="feature", title="Login", parent_id=epic)["task"]["id"]
    words = ("task", "create", "--json", "--level", "case", "--title", "x", "--parent-id", feature)
    task = result(run(*words, "--steps", "one", "--steps", "two", at=root.path))["task"]
    assert [step["title"] for step in task["steps"]] == ["one", "two"]
    given = json.dumps({"level": "case", "title": "from input", "parent_id": feature})
    assert (
        result(run("task", "create", "--json", "--params", "-", at=root.path, stdin=given))["task"]["title"]
        == "from input"
    )
    (root.path / "päck.json").write_text(given, encoding="utf-8")
    by_file = ("task", "create", "--json", "--params", "@päck.json", "--title", "over it")
    assert result(run(*by_file, at=root.path))["task"]["title"] == "over it"


def test_the_session_is_named_by_option_environment_or_folder(run: Run, root: Actor, other: Actor) -> None:
    words = ("session", "context", "--json")
    assert result(run(*words, at=other.path))["session"]["id"] == other.session
    assert result(run(*words, "--session", other.session[:9]))["session"]["id"] == other.session
    assert result(run(*words, CODESTRATOR_SESSION_ID=other.session))["session"]["id"] == other.session
    found = result(run("--session", root.session, *words, CODESTRATOR_SESSION_ID=other.session))
    assert found["session"]["id"] == root.session


def test_a_session_option_that_is_no_id_is_refused(run: Run, root: Actor) -> None:
    assert refused(run("session", "context", "--session", "main", "--json"))["details"]["field"] == "session_id"


def test_an_operator_is_named_in_the_journal(run: Run, root: Actor) -> None:
    result(run("task", "create", "epic", "x", "--json", at=root.path))
    newest = root("journal.list", limit=1)["items"][0]
    assert newest["method"] == "task.create"
    assert newest["actor"].startswith("operator@")


def test_a_shell_started_for_a_child_may_only_look(run: Run, root: Actor) -> None:
    child = {"CODESTRATOR_RUNNER_MODE": "child"}
    assert result(run("task", "list", "--json", **child))["count"] == 0
    assert refused(run("task", "create", "epic", "x", "--json", at=root.path, **child))["code"] == "forbidden"


def test_a_shell_in_the_worktree_of_a_live_child_may_only_look(run: Run, root: Actor) -> None:
    child = Thread(
        id="thr-0000000001",
        session_id=root.session,
        parent_thread_id=root.thread,
        worktree_id=root.worktree,
        role="worker",
        title="a child",
        machine=root.world.settings.machine,
        status="running",
    )
    stamp = Stamp("test", "op-0000000001", "test", None, None, child.machine)
    root.world.store.transact(lambda tx: tx.put(child), stamp=stamp)
    words = ("task", "create", "epic", "x", "--json")
    assert result(run(*words, at=root.path))["task"]["level"] == "epic"
    assert root.world.live.take(child.id)
    assert refused(run(*words, at=root.path))["code"] == "forbidden"
    assert result(run("task", "list", "--json", at=root.path))["count"] == 1


def test_whoever_opens_a_session_is_told_where_to_speak_for_it(run: Run, root: Actor) -> None:
    done = run("session", "open", "--user-request", "Count the pears")
    assert done.stdout.startswith("session_context:")
    place, _, session_id = done.stderr.removeprefix("commands given in ").partition(" speak for ")
    assert (
        result(run("session", "context", "--json", at=Path(root.world.repo) / place))["session"]["id"]
        == session_id[:14]
    )


def test_a_bare_noun_lists(run: Run, root: Actor) -> None:
    assert result(run("session", "--json"))["items"][0]["session"]["id"] == root.session
    assert run("task").returncode == 0


def test_the_beginning_of_an_id_is_enough_and_an_ambiguous_one_lists_candidates(run: Run, root: Actor) -> None:
    ids = [root("task.create", level="epic", title=f"number {n}")["task"]["id"] for n in range(40)]
    assert result(run("task", "get", ids[0][:-1], "--json"))["task"]["id"] == ids[0]
    starts = [one[:6] for one in ids]
    double = next(one for one in starts if starts.count(one) > 1)
    done = run("task", "get", double)
    assert done.returncode == 2
    assert done.stderr.startswith("ambiguous_id: ") and "number" in done.stderr


def test_the_envelope_names_the_method_and_the_bundle_says_which_version_this_is(run: Run, root: Actor) -> None:
    done = run("runtime", "bundle", "info", "--json")
    assert json.loads(done.stdout)["method"] == "runtime.bundle.info"
    assert result(done)["version"] == __version__
    assert run("--version").stdout == f"git-codestrator {__version__}\n"


def test_a_refusal_goes_to_standard_error_with_its_hint(run: Run, root: Actor) -> None:
    done = run("task", "get", "case-zzzzzzzzzz")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("not_found: no task 'case-zzzzzzzzzz'")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("taks",), "'task'"),
        (("task", "create", "--titel", "x"), "--title"),
        (("task", "create", "epic", "x", "more"), "'more'"),
        (("task", "list", "--level", "nonsense"), "'epic'"),
        (("task", "list", "--limit", "many"), "many"),
        (("lock", "acquire", "--scopes", "[{"), "not JSON"),
        (("lock", "acquire", "--scopes", "@nowhere.json"), "cannot be read"),
        (("task", "create", "--params", "[]"), "an object"),
        (("undo", "21"), "21"),
        (("undo",), "--yes"),
    ],
)
def test_wrong_usage_is_a_typed_refusal_with_status_2(words: tuple[str, ...], told: str, run: Run, root: Actor) -> None:
    root("task.create", level="epic", title="to be undone")
    error = refused(run(*words, "--json", at=root.path))
    assert error["code"] == "invalid_params"
    assert told in json.dumps(error)
    plain = run(*words, at=root.path)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr.startswith("invalid_params: ")


def test_what_is_printed_cannot_act_on_a_terminal(run: Run, root: Actor) -> None:
    folder = root.path / "evil\x1b]0;x\x07name"
    folder.mkdir()
    done = run("lock", "acquire", "--scope-type", "prefix", "--scope-path", "a\x1b[2Jb", at=root.path)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in run("status", at=folder).stdout


def test_a_reader_that_stops_early_is_no_failure(root: Actor) -> None:
    for number in range(3):
        root("task.create", level="epic", title=f"number {number}")
    reading = subprocess.Popen(
        [sys.executable, "-m", "codestrator", "task", "list"],
        cwd=root.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert reading.stdout and reading.stderr
    reading.stdout.close()
    told = reading.stderr.read()
    assert (reading.wait(60), told) == (0, b"")
    reading.stderr.close()


def test_a_word_that_is_no_command_is_told_the_nearest(run: Run) -> None:
    cases = ((("stauts",), "status"), (("session", "opne"), "open"), (("thread", "child", "spwan"), "spawn"))
    for words, nearest in cases:
        assert f"nearest is '{nearest}'" in refused(run(*words, "--json"))["message"]


def test_something_unforeseen_is_reported_in_a_file_and_told_as_internal(
    root: Actor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the cause")

    monkeypatch.chdir(root.path)
    monkeypatch.setattr(registry, "call", broken)
    assert cli.run(["--json", "task", "list"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "internal"
    assert "the cause" in Path(error["details"]["report"]).read_text(encoding="utf-8")
    assert cli.run(["task", "list"]) == 1
    assert str(Path(error["details"]["report"]).parent) in capsys.readouterr().err
