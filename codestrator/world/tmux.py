"""The user's tmux, through libtmux; sessions are ours only if they carry our tag."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libtmux import Session

TAG = "@codestrator"


class TmuxServer:
    """`socket` names another server than the user's own."""

    def __init__(self, socket: str | None) -> None:
        self._socket = socket

    def version(self) -> tuple[str, str] | None:
        place = shutil.which("tmux")
        if place is None:
            return None
        done = subprocess.run([place, "-V"], capture_output=True, text=True, check=False, timeout=5)
        return str(Path(place)), done.stdout.strip().removeprefix("tmux ").strip() or "unknown"

    def _session(self, name: str) -> "Session | None":
        if not name or shutil.which("tmux") is None:
            return None
        from libtmux import Server

        path = self._socket if self._socket and "/" in self._socket else None
        server = Server(socket_path=path) if path else Server(socket_name=self._socket)
        if not server.is_alive():
            return None
        return next((one for one in server.sessions if one.session_name == name), None)

    def session_alive(self, name: str) -> bool:
        return self._session(name) is not None

    def end_session(self, name: str, tag: str) -> bool:
        session = self._session(name)
        if session is None:
            return False
        marked = session.cmd("show-options", "-qv", TAG).stdout
        if marked != [tag]:
            return False
        session.kill()
        return True
