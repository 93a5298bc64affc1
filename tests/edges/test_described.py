"""What is written down of every method's parameters is what the methods say themselves."""

import subprocess
import sys

import pytest

from codestrator import params, registry, shapes, table

LIVE = {name: params.shapes(registry.handler(name).want) for name in table.METHODS}


def test_the_file_says_what_the_methods_say(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        shapes.FILE.write_text(shapes.written(LIVE), encoding="utf-8")
        shapes.known.cache_clear()
    assert shapes.FILE.read_text(encoding="utf-8") == shapes.written(LIVE), "run: pytest test_described.py --rewrite"


@pytest.mark.parametrize("name", table.METHODS)
def test_what_is_read_from_it_is_the_same(name: str) -> None:
    assert registry.shapes(name) == LIVE[name]


def test_tools_are_described_without_a_method_or_libgit2() -> None:
    """Half of what a server's start would cost more than the protocol's library alone."""
    ask = "import sys\nfrom codestrator.edges import descriptions\n"
    ask += "print(len(descriptions.tools('root')), *sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == "10" and "codestrator.registry" in found
    assert {"pygit2", "codestrator.store.store", "codestrator.world"}.isdisjoint(found)
    assert [one for one in found if one.startswith("codestrator.methods.")] == []
