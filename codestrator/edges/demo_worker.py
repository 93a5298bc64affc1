"""The demo's workers: a script in place of a model, a child of its session in everything else.

`python -m codestrator.edges.demo_worker <file> <text>` does the steps of its case, takes directives, and merges back.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from codestrator.edges.context import Context

STEP_SECONDS = 0.7  # so that a person can follow


def main(name: str, words: str) -> None:
    """Begin the case that the brief names, do its steps with evidence, complete it, merge."""
    context = Context()
    try:
        case = next(one for one in context.call("work.brief")["next_calls"] if one["method"] == "case.begin")
        begun = context.call("case.begin", case["params"])
        say(f"{begun['task']['id']} {begun['task']['title']}")
        for step in begun["task"]["steps"]:
            say(f"step: {step['title']}")
            words = directed(context, words)
            do(context, step, name, words)
        done = context.call("case.complete", {"case_id": begun["task"]["id"], "summary": f"wrote {name}: {words}"})
        merged = context.call("worktree.merge_to_parent")
        say(f"{done['task']['status']}, merged as {merged['merge_commit'][:10]}")
    finally:
        context.close()


def do(context: Context, step: dict[str, Any], name: str, words: str) -> None:
    """Write the file, prove the step by a command, commit, check it."""
    place = Path(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"# {step['title']}\n{words}\n", encoding="utf-8")
    command = [sys.executable, "-c", f"compile(open({name!r}).read(), {name!r}, 'exec')"]
    proof = subprocess.run(command, capture_output=True, check=False, timeout=30)
    for words_of_git in (["add", "-A"], ["-c", "commit.gpgSign=false", "commit", "-qm", f"{name}: {step['title']}"]):
        subprocess.run(["git", *words_of_git], check=True, timeout=30)
    result = "pass" if proof.returncode == 0 else "fail"
    evidence = {"command": f"compile {name}", "exit_status": proof.returncode}
    context.call("step.check", {"step_id": step["id"], "result": result, "evidence": evidence})
    say(f"checked with {evidence['command']}, exit {proof.returncode}")
    time.sleep(STEP_SECONDS)


def directed(context: Context, words: str) -> str:
    """What the root sent meanwhile, taken and applied: here, other words for the file."""
    for one in context.call("thread.directive.list", {"state": ["queued", "delivered"]})["items"]:
        for state in ("delivered", "applied"):
            receipt = {"directive_id": one["directive_id"], "state": state}
            context.call("thread.child.report", {"receipts": [receipt]})
        say(f"directive taken: {one['text']}")
        words = one["text"]
    return words


def say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
