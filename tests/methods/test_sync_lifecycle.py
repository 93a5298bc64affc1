"""Whatever three clones write, sync, miss and survive: in the end all have the same, and all that was acknowledged."""

import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codestrator.errors import LockHeld, Offline
from codestrator.records import Checkpoint, Lease, Task
from tests.conftest import ended
from tests.http_host import LOOK, PUSH, Fault, HttpHost
from tests.machines import LOCKS, NOTES, STATE, TRACKING, Machine, clone, in_step, join

COUNT = 3
WHO = st.sampled_from(range(COUNT))
PATHS = st.sampled_from(["src", "src/a.py", "src/b.py", "docs"])
FAULTS: list[tuple[Fault, str]] = [
    ("drop", PUSH),
    ("vanish", PUSH),
    ("cut", PUSH),
    ("refuse", PUSH),
    ("die", PUSH),
    ("cut", LOOK),
    ("die", LOOK),
    ("drop", "/git-upload-pack"),
]
SYNCS = 'print("ready", flush=True); sys.stdin.readline(); call("sync.run")'


class SyncLifecycle(RuleBasedStateMachine):
    """The model: what every call that succeeded has made; and which branch of a race a field's value may come from."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        top = Path(self.folder.name).resolve()
        self.host = HttpHost(top / "host")
        self.host.start()
        self.machines = [join(clone(self.host.url, top / f"machine{number}" / "shop")) for number in range(COUNT)]
        self.epics: list[str] = []
        self.titles: dict[str, set[str]] = {}
        self.checkpoints: set[str] = set()
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "machines"):
            try:
                self.at_the_end_all_have_all()
            finally:
                for one in self.machines:
                    one.close()
                self.host.stop()
                self.folder.cleanup()

    def sync(self, who: int, **given: Any) -> dict[str, str] | None:
        """The verdicts; None where nobody answered, and then nothing has moved."""
        one = self.machines[who]
        before = ours(one)
        try:
            return one.sync(**given)
        except Offline:
            assert ours(one) == before
            return None

    @rule(who=WHO)
    def create(self, who: int) -> None:
        self.number += 1
        made = self.machines[who].epic(f"Made {self.number}")
        self.epics.append(made)
        self.titles[made] = {f"Made {self.number}"}

    @rule(who=WHO, data=st.data())
    def rename(self, who: int, data: st.DataObject) -> None:
        """Of an epic that has come here; which of two writers wins is no matter, that it is one of them is."""
        here = sorted(task.id for task in self.machines[who].world.store.read().all(Task))
        if here:
            epic = data.draw(st.sampled_from(here))
            self.number += 1
            self.machines[who]("task.update", task_id=epic, title=f"Named {self.number}")
            self.titles[epic].add(f"Named {self.number}")

    @rule(who=WHO)
    def checkpoint(self, who: int) -> None:
        self.number += 1
        (self.machines[who].path / "draft.txt").write_text(f"{self.number}\n", encoding="utf-8")
        saved = self.machines[who]("work.checkpoint", summary=f"Saved {self.number}")
        self.checkpoints.add(saved["checkpoint"]["id"])

    @rule(who=WHO, path=PATHS)
    def lock(self, who: int, path: str) -> None:
        kind = "file" if path.endswith(".py") else "prefix"
        with suppress(LockHeld):
            self.machines[who]("lock.acquire", scope_type=kind, scope_path=path)

    @rule(who=WHO)
    def release(self, who: int) -> None:
        one = self.machines[who]
        for row in one("lock.list", session_id=one.session)["items"]:
            one("lock.release", lock_id=row["id"])

    @rule(who=WHO)
    def share(self, who: int) -> None:
        found = self.sync(who)
        assert found and not set(found.values()) & {"diverged", "refused", "offline"}

    @rule(who=WHO, direction=st.sampled_from(["fetch", "push"]))
    def share_one_way(self, who: int, direction: str) -> None:
        self.sync(who, direction=direction)

    @rule(who=WHO, fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def cut(self, who: int, fault: tuple[Fault, str], times: int) -> None:
        """The network fails in the middle of it."""
        self.host.fail(*fault, times=times)
        self.sync(who)
        self.host.heal()

    @rule(who=WHO, requests=st.integers(0, 5))
    def kill(self, who: int, requests: int) -> None:
        """The process that syncs is killed once the host was asked so often."""
        one = self.machines[who]
        with one.start(SYNCS) as process:
            assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"
            before = len(self.host.asked)
            process.stdin.write("go\n")
            process.stdin.flush()
            while len(self.host.asked) < before + requests and process.poll() is None:
                self.host.wait_for_request()
            process.send_signal(signal.SIGKILL)
            assert ended(process.pid)

    @rule()
    def mirror(self) -> None:
        """A stranger's push --mirror takes all our refs away."""
        for ref in self.host.refs():
            if not ref.startswith("refs/heads/"):
                self.host("update-ref", "-d", ref)

    @invariant()
    def nobody_loses_what_is_here(self) -> None:
        for one in getattr(self, "machines", ()):
            assert one.world.store.read().damaged == ()

    def at_the_end_all_have_all(self) -> None:
        self.host.heal()
        in_step(*self.machines)
        in_step(*self.machines)
        assert len({one.digest() for one in self.machines}) == 1
        for one in self.machines:
            assert set(one.sync().values()) == {"up_to_date"}
            assert all(self.host.refs().get(ref, "") == one.tip(ref) for ref in (STATE, LOCKS, NOTES))
            tx = one.world.store.read()
            assert {task.id for task in tx.all(Task)} == set(self.epics)
            assert all(task.title in self.titles[task.id] for task in tx.all(Task))
            assert {cp.id for cp in tx.all(Checkpoint)} == self.checkpoints
            held = [lease for lease in tx.all(Lease) if lease.state == "held"]
            assert not [
                (a.scope_path, b.scope_path)
                for a in held
                for b in held
                if a.session_id != b.session_id and "docs" not in (a.scope_path, b.scope_path) and clash(a, b)
            ]
            noted = one.git("notes", "--ref=codestrator", "show", "HEAD") if self.checkpoints else ""
            assert all(checkpoint in noted for checkpoint in self.checkpoints)
            one.git("fsck", "--connectivity-only")


def clash(one: Lease, other: Lease) -> bool:
    """Among the paths used here: `src` covers both files, which do not cover each other."""
    return one.scope_path == other.scope_path or "src" in (one.scope_path, other.scope_path)


def ours(machine: Machine) -> dict[str, str]:
    return {ref: at for ref, at in machine.refs().items() if not ref.startswith(TRACKING)}


TestSyncLifecycle = SyncLifecycle.TestCase
TestSyncLifecycle.settings = settings(
    max_examples=4, stateful_step_count=12, suppress_health_check=list(HealthCheck), deadline=None
)
