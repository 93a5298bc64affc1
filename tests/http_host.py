"""`git http-backend` behind a small threaded host, which can be told to fail in the ways that networks do."""

import base64
import io
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from tests.remotes import LOOPBACK, FileHost

# refuse: 500, not a byte of it looked at. cut: the connection ends before the request is looked at. drop: the request
# is done, of the answer only its head is sent. vanish: done, and not a byte is sent. silent: nothing is ever said.
# die: done, and from then on nobody gets an answer.
Fault = Literal["refuse", "cut", "drop", "vanish", "silent", "die"]
PUSH, FETCH, LOOK = "/git-receive-pack", "/git-upload-pack", "/info/refs"
BLOCK = 65536
SILENCE_SECONDS = 100


class HttpHost(FileHost):
    """`auth` is the one `user:password` that is let in; nothing: everybody is."""

    needs = ("git http-backend",)

    def __init__(self, folder: Path, auth: str = "", **settings: str) -> None:
        super().__init__(folder, **settings)
        self.auth = auth
        self.asked: list[str] = []
        self._faults: list[tuple[Fault, str]] = []
        self._down = False
        self._guard = threading.Lock()
        self._asks = threading.Condition(self._guard)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._server = Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="http-host")
        self._thread.start()

    def stop(self) -> None:
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.let_go()
            self._server.server_close()
            self._server = self._thread = None

    @property
    def url(self) -> str:
        assert self._server
        user = f"{self.auth}@" if self.auth else ""
        return f"http://{user}{LOOPBACK}:{self._server.server_port}/hub.git"

    def fail(self, fault: Fault, at: str = PUSH, times: int = 1) -> None:
        """Fail the next requests whose address has this in it."""
        with self._guard:
            self._faults += [(fault, at)] * times

    def heal(self) -> None:
        """Be well again: forget the faults that nobody met, and let go of who was kept waiting."""
        with self._guard:
            self._faults.clear()
            self._down = False
        if self._server:
            self._server.let_go()

    def wait_for_request(self, seconds: float = 0.05) -> None:
        """Rest until somebody asks for something, or so long."""
        with self._guard:
            self._asks.wait(seconds)

    @property
    def pending(self) -> int:
        """How many faults were not met yet."""
        return len(self._faults)

    def fault_for(self, address: str) -> Fault | None:
        with self._guard:
            self.asked.append(address)
            self._asks.notify_all()
            if self._down:
                return "cut"
            met = next((one for one in self._faults if one[1] in address), None)
            if met:
                self._faults.remove(met)
                self._down = met[0] == "die"
            return met[0] if met else None


class Server(ThreadingHTTPServer):
    daemon_threads = False  # `server_close` waits for them: none outlives its test
    request_queue_size = 128

    def __init__(self, host: HttpHost) -> None:
        self.host = host
        self.connections: set[socket.socket] = set()
        super().__init__((LOOPBACK, 0), Handler)

    def let_go(self) -> None:
        """End all connections: who waits for a silent answer, and who keeps one for later."""
        for one in list(self.connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of a test's business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def body(self) -> Iterator[bytes]:
        """What was sent; git chunks what is larger than a megabyte."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (data := self.rfile.read(min(left, BLOCK))):
            left -= len(data)
            yield data

    def do_GET(self) -> None:
        if self.server.host.auth and not self._let_in():
            return
        fault = self.server.host.fault_for(f"{self.command} {self.path}")
        if fault in ("cut", "silent", "refuse"):
            self._fail(fault)
        else:
            self._serve(fault)

    do_POST = do_GET

    def _let_in(self) -> bool:
        wanted = "Basic " + base64.b64encode(self.server.host.auth.encode()).decode()
        if self.headers.get("Authorization") == wanted:
            return True
        self._empty(401, ("WWW-Authenticate", 'Basic realm="hub"'))
        return False

    def _empty(self, status: int, *heads: tuple[str, str]) -> None:
        for _ in self.body():
            pass
        self.send_response(status)
        for name, value in (*heads, ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()

    def _fail(self, fault: str) -> None:
        self.close_connection = True
        if fault == "refuse":
            self._empty(500)
        elif fault == "silent":
            for _ in self.body():
                pass
            self.connection.settimeout(SILENCE_SECONDS)
            with suppress(OSError):  # until it goes away, or is let go of
                self.connection.recv(1)

    def _serve(self, fault: Fault | None) -> None:
        command = ["git", "http-backend"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self._environment(), stdin=pipe, stdout=pipe) as process:
            assert process.stdin and isinstance(process.stdout, io.BufferedReader)
            with suppress(BrokenPipeError):
                for data in self.body():
                    process.stdin.write(data)
            with suppress(BrokenPipeError):
                process.stdin.close()
            if fault:
                process.stdout.read()
                self.close_connection = True
                if fault == "drop":
                    self._head(200, [("Content-Type", "application/x-git-receive-pack-result")])
                return
            status, heads = 200, []
            while line := process.stdout.readline().strip():
                name, _, value = line.decode().partition(":")
                if name.lower() == "status":
                    status = int(value.split()[0])
                else:
                    heads.append((name, value.strip()))
            self._head(status, heads)
            while data := process.stdout.read1(BLOCK):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, heads: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in (*heads, ("Transfer-Encoding", "chunked")):
            self.send_header(name, value)
        self.end_headers()

    def _environment(self) -> dict[str, str]:
        address, _, query = self.path.partition("?")
        given = {
            "GIT_PROJECT_ROOT": str(self.server.host.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": self.server.host.auth.partition(":")[0],
            "REMOTE_ADDR": LOOPBACK,
            "REQUEST_METHOD": self.command,
            "QUERY_STRING": query,
            "PATH_INFO": address,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        if length := self.headers.get("Content-Length"):
            given["CONTENT_LENGTH"] = length
        return {name: value for name, value in os.environ.items() if name != "GIT_DIR"} | given
