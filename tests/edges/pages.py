"""What tests do with an HTML page: read it strictly, and look at it in a browser."""

import html
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from codestrator.edges.context import Context
from codestrator.edges.report.gathering import Found, gathered
from codestrator.edges.report.page import page
from tests.actors import Actor

# Without these a browser asks the network for its own needs, or writes into the home of whoever runs the tests.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars"),
)
SECONDS = 60


def read(page: str) -> ET.Element:
    """Its elements; fails on anything that is not well-formed."""
    return ET.fromstring(page)


def words(element: ET.Element | None) -> str:
    assert element is not None
    return " ".join(" ".join(element.itertext()).split())


def section(page: ET.Element, name: str) -> ET.Element:
    found = page.find(f".//section[@id='{name}']")
    assert found is not None
    return found


def made(actor: Actor) -> str:
    """The page as the command makes it, read through a test's own world and clock."""
    return page(found_by(actor))


def found_by(actor: Actor) -> Found:
    context = Context()
    context.__dict__["world"] = actor.world
    return gathered(context)


def section_words(text: str, name: str) -> str:
    return words(section(read(text), name))


def chromium() -> str:
    """Chromium as this machine calls it; nothing where it has none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


class Browser:
    """Headless Chromium with an empty profile."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def _run(self, place: Path, *flags: str) -> str:
        profile = self._folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        done = subprocess.run(
            [self._program, *FLAGS, f"--user-data-dir={profile}", *flags, str(place)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def dom(self, place: Path, *flags: str) -> str:
        """The page as it is once its scripts have run."""
        return self._run(place, "--dump-dom", *flags)

    def shot(self, place: Path, width: int, height: int, *flags: str) -> bytes:
        picture = self._folder / "shot.png"
        self._run(place, f"--screenshot={picture}", f"--window-size={width},{height}", *flags)
        return picture.read_bytes()

    def asked(self, page: str, script: str, width: int) -> str:
        """What a script beside the page finds out about it, in a frame so wide; `page` is its document."""
        place = self._folder / "frame.html"
        place.write_text(
            f'<!DOCTYPE html><body><iframe id="f" style="border:0" width="{width}" height="800" '
            f'srcdoc="{html.escape(page)}"></iframe><pre id="told"></pre><script>'
            "f.onload = () => { const page = f.contentDocument; told.textContent = JSON.stringify((() => {"
            f"{script}"
            "})()); };</script></body>",
            encoding="utf-8",
        )
        found = self.dom(place, "--virtual-time-budget=3000").partition('<pre id="told">')[2].partition("</pre>")[0]
        return html.unescape(found)
