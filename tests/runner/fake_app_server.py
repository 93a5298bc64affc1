"""A program that speaks as `codex app-server` does, and misbehaves as its first argument says."""

import json
import os
import signal
import subprocess
import sys
import time

MODE = sys.argv[1]


def send(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def notify(method: str, **params: object) -> None:
    send(method=method, params={"threadId": "t1"} | params)


def said(text: str) -> None:
    notify("item/completed", item={"type": "agentMessage", "id": "i", "text": text})


def completed(status: str = "completed", **more: object) -> None:
    notify("turn/completed", turn={"id": "turn1", "status": status, "items": []} | more)


def turn(prompt: str) -> None:
    if MODE == "garbage":
        sys.stdout.write('no json\n[1, 2]\n{"id": 99, "result": 1}\n{"method": 5}\n\x1b[31mred\n{"met')
        sys.stdout.write('hod\n{"method": "turn/completed", "params": {"threadId": "t1"}}\n')
        said("after the garbage")
    elif MODE == "escapes":
        said("\x1b]0;title\x07plain \x1b[2Jwords\x9b31m\u202e!\r\nnext")
        notify(
            "item/completed",
            item={"type": "commandExecution", "command": "x", "aggregatedOutput": "a\x1b[2Jb\n", "exitCode": 3},
        )
    elif MODE == "flood":
        for number in range(30000):
            said(f"line {number} " + "x" * 100)
        sys.stdout.write("y" * 1_000_000 + "\n")
    elif MODE == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif MODE == "asks":
        for number, method in enumerate(("item/commandExecution/requestApproval", "unheard/of")):
            send(id=f"q{number}", method=method, params={"threadId": "t1"})
            said(json.dumps(json.loads(sys.stdin.readline())))
    elif MODE == "refuses":
        error = {"message": "no such model", "codexErrorInfo": prompt}
        completed("failed", error=error)
        return
    elif MODE == "blind":
        os.close(0)
        completed()
        signal.pause()
    elif MODE in ("deaf", "silent", "stubborn"):
        return
    completed()


def answer(message: dict[str, object]) -> None:
    method, number = message.get("method"), message.get("id")
    params = message.get("params")
    assert isinstance(params, dict) or number is None
    if method == "initialize":
        send(id=number, result={})
    elif method in ("thread/start", "thread/resume"):
        send(id=number, result={"thread": {"id": "t1"}})
    elif method == "turn/start" and isinstance(params, dict):
        send(id=number, result={"turn": {"id": "turn1"}})
        notify("turn/started", turn={"id": "turn1"})
        turn(params["input"][0]["text"])
    elif method == "turn/interrupt" and MODE == "silent":
        send(id=number, result={})
        completed("interrupted")
    elif method == "thread/backgroundTerminals/clean":
        send(id=number, result={})


if MODE == "fails":
    sys.stderr.write("the configuration is broken\n")
    sys.exit(3)
if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    shell = subprocess.Popen(["sh", "-c", "echo; sleep 300"], start_new_session=True, stdout=subprocess.PIPE)
    assert shell.stdout
    shell.stdout.readline()
for line in sys.stdin:
    answer(json.loads(line))
while MODE == "stubborn":
    time.sleep(60)
