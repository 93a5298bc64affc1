"""The agent of a child in tests: `python -m tests.journeys.labourer <case> [<halt>]`.

It knows nothing but its case: what is next it asks of `brief`, as after any interruption. At the step `halt` it leaves
a file uncommitted and a server of its own in the background, says so, and waits to be ended.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "codestrator", "--json"]


def call(*words: str) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def halt(step: str) -> None:
    Path("half.txt").write_text(f"half of {step}\n", encoding="utf-8")
    subprocess.Popen(["setsid", "sleep", "300"], stdout=subprocess.DEVNULL)
    call("thread", "child", "report", "--progress", f"in the middle of {step}")
    print(f"in the middle of {step}", flush=True)
    os.execvp("sleep", ["sleep", "300"])


def work(case: str, stop_at: str | None) -> None:
    call("case", "begin", "--case-id", case)
    while step := call("brief").get("next_step"):
        if step["title"] == stop_at:
            halt(step["title"])
        with Path("done.txt").open("a", encoding="utf-8") as file:
            file.write(f"{step['title']}\n")
        git("add", "-A")
        git("commit", "-qm", f"{case}: {step['title']}")
        evidence = json.dumps({"command": "true", "exit_status": 0})
        call("step", "check", "--case-id", case, "--step-id", step["id"], "--result", "pass", "--evidence", evidence)
        print(f"did {step['title']}", flush=True)
    call("case", "complete", "--case-id", case)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
