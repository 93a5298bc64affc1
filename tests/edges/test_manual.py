"""Manual pages: in step with the commands, clean for those who print them, found after an installation."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codestrator import registry, table
from codestrator.edges import manual, topics
from codestrator.errors import EXIT_STATUS
from codestrator.world import settings
from tests.edges.shell import PACKAGE_ROOT

FOLDER = PACKAGE_ROOT / "share" / "man" / "man1"
README = (PACKAGE_ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return manual.pages(README)


def test_the_pages_are_what_the_program_says(pages: dict[str, str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for name, page in pages.items():
            (FOLDER / name).write_text(page, encoding="ascii")
    written = {place.name: place.read_text(encoding="ascii") for place in FOLDER.iterdir()}
    assert sorted(written) == sorted(pages)
    differ = [name for name, page in pages.items() if written[name] != page]
    assert differ == [], f"run: pytest {Path(__file__).name} --rewrite"


def test_every_method_has_its_parameters_on_a_page(pages: dict[str, str]) -> None:
    for name in table.METHODS:
        words = name.replace("_", "-").split(".")
        page = pages[f"git-codestrator-{words[0]}.1"]
        part = page.partition(f".SS {manual.bold('git codestrator ' + ' '.join(words))}\n")[2].partition("\n.SS ")[0]
        options = [manual.code(f"--{shape.name.replace('_', '-')}") for shape in registry.shapes(name)]
        assert part and [one for one in options if one not in part] == [], name


def test_settings_and_exit_statuses_are_told_completely(pages: dict[str, str]) -> None:
    assert tuple(topics.SETTINGS) == settings.KNOWN
    assert set(EXIT_STATUS.values()) <= set(topics.STATUSES)
    first = pages["git-codestrator.1"]
    assert all(f"codestrator.{name}" in first for name in topics.SETTINGS)
    rows = README.partition("## Troubleshooting")[2].partition("\n\n`git codestrator doctor`")[0].count("\n| ") - 1
    assert first.partition(".SH TROUBLESHOOTING")[2].count(".TP") == rows > 10


def test_every_variable_that_is_told_of_is_heeded_and_the_other_way_round() -> None:
    sources = "".join(one.read_text(encoding="utf-8") for one in (PACKAGE_ROOT / "codestrator").rglob("*.py"))
    sources += "".join(one.read_text(encoding="utf-8") for one in (PACKAGE_ROOT / "hooks").iterdir())
    ours = {"CODESTRATOR_PUSHING", "CODESTRATOR_AGENT"}  # marks of our own, for nobody to set
    told = {name for name in topics.ENVIRONMENT if name.startswith("CODESTRATOR_")}
    assert set(re.findall(r"(?<!_GIT_)\bCODESTRATOR_[A-Z_]*[A-Z]\b", sources)) == told | ours


def test_no_page_has_a_mistake_that_man_warns_of() -> None:
    if not shutil.which("man"):
        pytest.skip("man-db is not installed")
    for page in sorted(FOLDER.iterdir()):
        done = subprocess.run(
            ["man", "--warnings", "-l", str(page)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=os.environ | {"MANWIDTH": "80", "MANROFFSEQ": ""},
        )
        assert done.stderr == "", page.name
        assert "EXAMPLES" in done.stdout and "git codestrator" in done.stdout


def test_words_that_roff_would_take_for_its_own_are_printed() -> None:
    assert manual.text("a\\b `-x` 'c'") == "a\\eb \\fB\\-x\\fR \\(aqc\\(aq"
    assert list(manual._entry(".x", ".y")) == [".TP", "\\&.x", "\\&.y"]
    with pytest.raises(UnicodeEncodeError):
        manual.code("ä")
