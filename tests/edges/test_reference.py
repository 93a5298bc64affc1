"""The generated files are what the program says of itself."""

from pathlib import Path

import pytest

from codestrator import registry, table
from codestrator.edges import reference
from codestrator.errors import EXIT_STATUS

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"


@pytest.mark.parametrize("name", reference.FILES)
def test_a_generated_file_is_what_the_program_says(name: str, request: pytest.FixtureRequest) -> None:
    place, content = FIXTURES / name, reference.content(name)
    if request.config.getoption("--rewrite"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(content, encoding="utf-8")
    assert place.read_text(encoding="utf-8") == content, f"run: pytest {Path(__file__).name} --rewrite"


def test_every_parameter_of_every_method_is_in_the_reference() -> None:
    sections = reference.reference().split("\n### ")
    by_name = {section.split("\n", 1)[0]: section for section in sections}
    for name in table.METHODS:
        assert all(f"| `{shape.name}` |" in by_name[name] for shape in registry.shapes(name)), name


def test_a_bar_in_a_type_does_not_break_its_table() -> None:
    rows = [line for line in reference.reference().splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} <= {3, 4, 5}


def test_every_code_has_a_class_of_its_own_and_a_meaning() -> None:
    kinds = reference.by_code()
    assert list(kinds) == list(EXIT_STATUS)
    assert all(kind.code == code and kind.__doc__ for code, kind in kinds.items())
