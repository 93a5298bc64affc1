"""A model on loopback that plays a script: the Responses API as an agent program speaks it, standard library only.

A step is a function from what the agent sent (the request's JSON) to the model's answer, made with `say` or `call`.
"""

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
Step = Callable[[Json], Json]
USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 18,
}

CONFIG = """
model = "{model}"
model_provider = "loopback"
{top}check_for_update_on_startup = false
[features]
plugins = false
unbounded_connection_retries = false
[analytics]
enabled = false
[model_providers.loopback]
name = "loopback"
base_url = "{url}"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
stream_idle_timeout_ms = {silent_ms}
"""
UNATTENDED = 'approval_policy = "never"\nsandbox_mode = "workspace-write"\n'


def codex_config(url: str, *, model: str = "scripted", top: str = "", silent_ms: int = 20_000, tables: str = "") -> str:
    """A `config.toml` with which Codex talks to a scripted model alone; `top` stands before the first table."""
    return CONFIG.format(url=url, model=model, top=top, silent_ms=silent_ms) + tables


def say(text: str) -> Step:
    """The model's last word of a turn."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return lambda sent: {"type": "message", "role": "assistant", "status": "completed", "content": content}


def call(namespace: str, tool: str, arguments: Callable[[Json], Json]) -> Step:
    """A call of a tool, with arguments that may depend on what earlier calls returned."""
    return lambda sent: {
        "type": "function_call",
        "namespace": namespace,
        "name": tool,
        "arguments": json.dumps(arguments(sent)),
        "status": "completed",
    }


def shell(command: str) -> Step:
    """A command in the agent's shell."""
    return lambda sent: {
        "type": "function_call",
        "name": "exec_command",
        "arguments": json.dumps({"cmd": command}),
        "status": "completed",
    }


def fail(status: int, body: str = '{"error": {"message": "out of order"}}') -> Step:
    """No answer but a status of HTTP; 200 with a body that is no stream of events is garbage."""
    return lambda sent: {"type": "fault", "status": status, "body": body}


def silence() -> Step:
    """The beginning of an answer, and then nothing until the server ends."""
    return lambda sent: {"type": "fault", "status": 200, "body": None}


def search(query: str) -> Step:
    """A search for tools, as models make it to which the agent does not show all tools at once."""
    return lambda sent: {
        "type": "tool_search_call",
        "execution": "client",
        "status": "completed",
        "arguments": {"query": query},
    }


def outputs(sent: Json) -> list[str]:
    """What the agent returned of the model's calls, oldest first."""
    found = [item["output"] for item in sent["input"] if item.get("type") == "function_call_output"]
    return [one if isinstance(one, str) else "".join(part.get("text", "") for part in one) for one in found]


class ScriptedModel:
    """The server; `requests` holds the JSON of each request for an answer."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.requests: list[Json] = []
        self._steps = iter(steps)
        self.over = threading.Event()
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def answer(self, sent: Json) -> list[tuple[str, Json]]:
        """The events of one response, in order."""
        self.requests.append(sent)
        number = next(self._numbers)
        item = next(self._steps, say("the script is at its end"))(sent) | {"id": f"item_{number}"}
        if item["type"] == "fault":
            return [("fault", item)]
        if item["type"] in ("function_call", "tool_search_call"):
            item["call_id"] = f"call_{number}"
        frame = {"id": f"resp_{number}", "object": "response", "model": sent.get("model", ""), "output": []}
        return [
            ("response.created", {"response": frame | {"status": "in_progress"}}),
            ("response.output_item.added", {"output_index": 0, "item": item}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            ("response.completed", {"response": frame | {"status": "completed", "output": [item], "usage": USAGE}}),
        ]


def _handler(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a test's output is its own."""

        def do_GET(self) -> None:
            self._send(b'{"object": "list", "data": [], "models": []}', "application/json")

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            events = model.answer(sent) if self.path.split("?")[0].endswith("/responses") else []
            if events and events[0][0] == "fault":
                self._fault(events[0][1]["status"], events[0][1]["body"])
                return
            lines = (f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n" for kind, fields in events)
            self._send("".join(lines).encode(), "text/event-stream")

        def _fault(self, status: int, body: str | None) -> None:
            if body is not None:
                self._send(body.encode(), "application/json" if status != 200 else "text/event-stream", status)
                return
            self.send_response(status)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.flush()
            model.over.wait(120)
            self.close_connection = True

        def _send(self, body: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
