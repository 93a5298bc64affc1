"""`git codestrator demo`: two sessions at work in a throw-away clone, through real servers and a real MCP client.

Nothing here is staged: each line shows the answer of a call that was just made. It needs no key and no network.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.markup import escape

from codestrator.edges import demo_children, demo_landing, demo_travel
from codestrator.errors import External
from codestrator.world import open_world

TOOL = "orchestrator.call"
CALL_SECONDS = 60
COLOURS = {"alice": "cyan", "bob": "magenta", "carol": "green", "git": "yellow"}


def run(*, keep: bool = False, source: Path | None = None, console: Console | None = None) -> Path | None:
    """Play the demo; returns the clone if it was kept. Any step that does not go as told is an error."""
    console = console or Console()
    folder = Path(tempfile.mkdtemp(prefix="codestrator-demo-")).resolve()
    stage = Stage(folder, console)
    try:
        stage.clone(source or Path.cwd())
        asyncio.run(stage.play())
        stage.farewell(keep)
    finally:
        stage.end_tmux()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return stage.repo if keep else None


class Agent:
    """One coding agent as the repository sees it: an MCP client and its server process."""

    def __init__(self, name: str, stage: "Stage") -> None:
        self.name = name
        self.stage = stage
        self.session = self.worktree = ""
        self.path = stage.repo
        self._client: Client | None = None
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, cwd: Path | None = None) -> None:
        """Start a server of its own, as an agent's program does, and a task that keeps the client's connection."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._connect(cwd or self.stage.repo, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((self._task, waiting), timeout=CALL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._client is None:
            raise External(f"{self.name}'s server did not start within {CALL_SECONDS} s", program="codestrator mcp")

    async def _connect(self, cwd: Path, ready: asyncio.Event) -> None:
        # A connection must be closed by the task that opened it, hence one task an agent.
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "codestrator", "mcp"], cwd=cwd, env=dict(os.environ)
        )
        async with Client(server, read_timeout_seconds=CALL_SECONDS) as self._client:
            ready.set()
            await self._over.wait()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One call; a refusal is an error of the demo."""
        found = await self.ask(method, **params)
        if "code" in found and "message" in found:
            raise External(f"the demo's {method} was refused: {found['code']}: {found['message']}", program="demo")
        return found

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One call, refusals included."""
        assert self._client
        answer = await self._client.call_tool(TOOL, {"method": method, "params": params})
        return dict(answer.structured_content or {})

    async def open(self, request: str) -> None:
        opened = await self.call("session.open", intent="new_work", user_request=request)
        context = opened["session_context"]
        self.session = context["session"]["id"]
        self.worktree = context["session_root_worktree"]["id"]
        self.path = self.stage.repo / context["session_root_worktree"]["path"]
        self.say(f"session.open → {self.session}, works in {self.path.relative_to(self.stage.repo)}")

    def write(self, name: str, text: str) -> None:
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def commit(self, message: str) -> str:
        git(self.path, "add", "-A")
        git(self.path, "-c", "commit.gpgSign=false", "commit", "-qm", message)
        return git(self.path, "rev-parse", "--short", "HEAD")

    async def check(self, case: str, title: str, *command: str) -> dict[str, Any]:
        """Run a command in the worktree and check the step with what came of it."""
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False, timeout=30)
        evidence = {
            "command": " ".join(command),
            "exit_status": done.returncode,
            "duration_seconds": round(time.perf_counter() - begun, 3),
        }
        result = "pass" if done.returncode == 0 else "fail"
        checked = await self.call("step.check", case_id=case, step_title=title, result=result, evidence=evidence)
        left = checked["remaining_steps"]
        self.say(f"step.check '{title}' → {checked['step']['status']} (exit {done.returncode}), {left} to go")
        return checked

    def say(self, text: str) -> None:
        self.stage.line(self.name, text)

    async def stop(self) -> None:
        """Close the connection; the server ends with its standard input."""
        self._over.set()
        if self._task:
            await asyncio.wait((self._task,), timeout=CALL_SECONDS)


class Stage:
    """The clone, the story and its narration."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.repo = folder / "clone"
        self.console = console
        self.begun = time.perf_counter()
        self.tmux = shutil.which("tmux") is not None

    def line(self, who: str, text: str) -> None:
        colour = COLOURS.get(who, "white")
        passed = time.perf_counter() - self.begun
        self.console.print(
            f"[dim]{passed:5.1f}s[/] [{colour}]{who:>6}[/] {escape(text)}", highlight=False, soft_wrap=True
        )

    def title(self, text: str) -> None:
        self.console.print(f"\n[bold]{escape(text)}[/]", highlight=False)

    def clone(self, source: Path) -> None:
        """A clone of the repository the demo stands in, or a small sample where there is none."""
        top = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"], cwd=source, capture_output=True, text=True, check=False
        )
        self.title("A throw-away clone")
        if top.returncode == 0:
            git(self.folder, "clone", "-q", "--no-tags", top.stdout.splitlines()[0], str(self.repo))
            if git(self.repo, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD":  # no branch to land on
                git(self.repo, "switch", "-qC", "demo")
            self.line("git", f"clone of {top.stdout.splitlines()[0]} in {self.repo}")
        else:
            self.repo.mkdir()
            git(self.repo, "init", "-q", "-b", "main")
            (self.repo / "README.md").write_text("A small shop.\n", encoding="utf-8")
            git(self.repo, "add", ".")
            self._identity()
            git(self.repo, "commit", "-qm", "a small shop")
            self.line("git", f"no repository here, so a small sample in {self.repo}")
        self._identity()
        git(self.repo, "config", "codestrator.tmuxSocket", str(self.folder / "tmux"))  # not the user's own server

    def end_tmux(self) -> None:
        """End the demo's own tmux server; it may be gone already."""
        if self.tmux:
            subprocess.run(
                ["tmux", "-S", str(self.folder / "tmux"), "kill-server"], capture_output=True, check=False, timeout=10
            )

    def _identity(self) -> None:
        """Commits need a name; one of the demo's own where the user has none."""
        for key, value in (("user.name", "Demo"), ("user.email", "demo@example.org")):
            if subprocess.run(["git", "config", key], cwd=self.repo, capture_output=True, check=False).returncode:
                git(self.repo, "config", key, value)

    async def play(self) -> None:
        """The whole story, in order."""
        alice, bob = Agent("alice", self), Agent("bob", self)
        try:
            await asyncio.gather(alice.start(), bob.start())
            await self.sessions(alice, bob)
            first, second = await self.plan(alice, bob)
            await self.locks(alice, bob, first, second)
            bob = await self.killed(bob, second)
            await self.finish(alice, bob, first, second)
            await demo_children.play(self, alice)
            await self.merge(alice)
            await demo_landing.play(self, alice, bob, (first, second))
            await demo_travel.play(self, bob)
        finally:
            await asyncio.gather(alice.stop(), bob.stop())

    async def sessions(self, alice: Agent, bob: Agent) -> None:
        self.title("Two agents, each with a server process, a session and a worktree of its own")
        ready = await alice.call("workspace.init")
        alice.say(f"workspace.init → state in {ready['state_ref']}, no server and no database")
        await asyncio.gather(alice.open("Fix the login timeout"), bob.open("Add invoices"))

    async def plan(self, alice: Agent, bob: Agent) -> tuple[str, str]:
        self.title("A plan: epic, feature, test group, case, step")
        epic = (await alice.call("task.create", level="epic", title="Shop 2.0"))["task"]["id"]
        feature = await alice.call("task.create", level="feature", title="Login", parent_id=epic)
        group = await alice.call(
            "task.create", level="test_group", title="Session length", parent_id=feature["task"]["id"]
        )
        first = await alice.call(
            "task.create",
            level="case",
            title="Session survives refresh",
            parent_id=group["task"]["id"],
            steps=["write the check", "make it pass"],
            acceptance=["a refresh after 30 minutes keeps the session"],
        )
        other = await alice.call("task.create", level="feature", title="Invoices", parent_id=epic)
        second = await alice.call(
            "task.create",
            level="case",
            title="Invoices have numbers",
            parent_id=other["task"]["id"],
            steps=["write the check", "make it pass"],
            assignee_session=bob.session,
        )
        for case in (first, second):
            alice.say(f"task.create → {case['task']['id']} '{case['task']['title']}' with 2 steps")
        cases = first["task"]["id"], second["task"]["id"]
        for agent, case in zip((alice, bob), cases, strict=True):
            begun = await agent.call("case.begin", case_id=case)
            agent.say(f"case.begin {case} → fence {begun['fence']}, next step '{begun['next_step']['title']}'")
        return cases

    async def locks(self, alice: Agent, bob: Agent, first: str, second: str) -> None:
        self.title("One path, two agents")
        held = await alice.call("lock.acquire", scope_type="prefix", scope_path="demo")
        alice.say(f"lock.acquire demo/ → {held['lock']['id']}, fence {held['fence']}")
        refused = await bob.ask("lock.acquire", scope_type="file", scope_path="demo/invoice.py")
        if refused.get("code") != "lock_held":
            raise External(f"the overlapping lock was not refused but answered {refused}", program="demo")
        bob.say(f"lock.acquire demo/invoice.py → {refused['code']}: {refused['message']}")
        bob.say("asks again and waits its turn …")
        waiting = asyncio.create_task(
            bob.call("lock.acquire", scope_type="file", scope_path="demo/invoice.py", wait_seconds=20)
        )
        alice.write("demo/login.py", "MINUTES = 30\n")
        await alice.check(first, "write the check", "git", "diff", "--check")
        alice.say(f"commit {alice.commit('login: keep the session for 30 minutes')} in her worktree")
        released = time.perf_counter()
        await alice.call("lock.release", lock_id=held["lock"]["id"])
        granted = await waiting
        if not granted.get("granted"):
            raise External(f"the waiting lock was not granted: {granted}", program="demo")
        took = (time.perf_counter() - released) * 1000
        bob.say(f"granted {took:.0f} ms after alice let go, fence {granted['fence']}")
        bob.write("demo/invoice.py", "def number(n):\n    return f'INV-{n:06d}'\n")
        await bob.check(second, "write the check", "git", "diff", "--check")
        bob.say(f"commit {bob.commit('invoices: number them')} in his worktree")

    async def killed(self, bob: Agent, case: str) -> Agent:
        """Kill bob's server in the middle of his case, with a file not committed; a new one goes on."""
        self.title("kill -9, and on with the next unchecked step")
        bob.write("demo/notes.txt", "half a thought, not committed\n")
        saved = await bob.call("work.checkpoint", summary="numbers are made, totals are next")
        bob.say(f"work.checkpoint → {saved['checkpoint']['id']}, uncommitted work in snapshot {saved['snapshot_id']}")
        beat = open_world(self.repo).live.beat(bob.session)
        if beat is None or not beat.pid:
            raise External(f"no server process holds {bob.session}", program="demo")
        os.kill(beat.pid, signal.SIGKILL)
        bob.say(f"his server, process {beat.pid}, is killed with SIGKILL")
        fresh = Agent("bob", self)
        fresh.session, fresh.worktree, fresh.path = bob.session, bob.worktree, bob.path
        await fresh.start(bob.path)
        brief = await fresh.call("work.brief")
        step = brief["next_step"]["title"]
        fresh.say(f"a new process in his folder asks work.brief → {brief['session']['id']}, next step '{step}'")
        if brief["session"]["id"] != bob.session or step != "make it pass":
            raise External(f"the brief does not go on where bob was: {brief}", program="demo")
        await fresh.check(case, step, sys.executable, "-c", "import runpy; runpy.run_path('demo/invoice.py')")
        await bob.stop()
        return fresh

    async def finish(self, alice: Agent, bob: Agent, first: str, second: str) -> None:
        self.title("Evidence, then done")
        await alice.check(first, "make it pass", sys.executable, "-c", "import runpy; runpy.run_path('demo/login.py')")
        bob.say(f"commit {bob.commit('invoices: notes')}")
        for agent, case in ((alice, first), (bob, second)):
            done = await agent.call("case.complete", case_id=case, summary="works, see the evidence")
            parents = ", ".join(f"{one['id']} {one['status']}" for one in done["parents"])
            agent.say(f"case.complete {case} → {done['task']['status']}; {parents}")

    async def merge(self, alice: Agent) -> None:
        self.title("A branch of a branch, merged back in memory")
        spawned = await alice.call("worktree.spawn", slug="remember me", reason="a cookie, apart from the rest")
        child = spawned["worktree"]
        alice.say(f"worktree.spawn → {child['id']} on {child['branch']}")
        helper = Agent("alice", self)
        helper.path = self.repo / child["path"]
        helper.write("demo/cookie.py", "NAME = 'session'\n")
        alice.say(f"commit {helper.commit('login: name the cookie')} there")
        merged = await alice.call("worktree.merge_to_parent", worktree_id=child["id"])
        alice.say(f"worktree.merge_to_parent → {merged['merge_commit'][:10]}, {len(merged['changed_files'])} file")
        graph = git(alice.path, "log", "--oneline", "--graph", "-4")
        self.console.print(escape(graph), highlight=False, style="dim")

    def farewell(self, keep: bool) -> None:
        status = git(self.repo, "status", "--porcelain")
        operations = git(self.repo, "rev-list", "--count", "refs/codestrator/state")
        self.title(f"Done in {time.perf_counter() - self.begun:.1f} s")
        self.line("git", f"git status of the main worktree: {status or 'clean'}")
        self.line("git", f"{operations} operations in refs/codestrator/state; the newest:")
        self.console.print(
            escape(git(self.repo, "log", "--format=  %h %s", "-5", "refs/codestrator/state")),
            highlight=False,
            style="dim",
        )
        self.title("Where to look" + ("" if keep else " (next time with --keep)"))
        where = self.repo if keep else "<repository>"
        for command in (
            "log --notes=codestrator --all",
            "log --stat refs/codestrator/state",
            "log refs/codestrator/locks",
            "codestrator status",
        ):
            self.console.print(f"  git -C {where} {command}", highlight=False, soft_wrap=True)


def git(folder: Path, *arguments: str) -> str:
    """Git as a person types it in the clone; a failure ends the demo."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=env, timeout=60
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise External(f"'git {arguments[0]}' exited {done.returncode}: {last}", program="git", status=done.returncode)
    return done.stdout.rstrip("\n")
