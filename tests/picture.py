"""Draws README's picture: plays the demo in a small sample repository and keeps what the terminal showed.

`python -m tests.picture` writes fixtures/demo.svg.
"""

import io
import tempfile
from pathlib import Path

from rich.console import Console

from codestrator.edges import demo

PICTURE = Path(__file__).parent.parent / "fixtures" / "demo.svg"
COLUMNS = 118


def draw() -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        demo.run(console=console, source=Path(folder))
    console.save_svg(str(PICTURE), title="git codestrator demo")


if __name__ == "__main__":
    draw()
