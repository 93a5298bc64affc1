"""Structs are worked out by one thread at a time, by the one module that does so."""

import ast
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import codestrator
from codestrator.decoding import convert, decoder

ROOT = Path(codestrator.__file__).parent
PROGRAM = """
import json, sys, threading
from codestrator import registry, table
from codestrator.decoding import convert, decoder
from codestrator.records import KINDS

sys.setswitchinterval(1e-6)
ready, done = threading.Barrier(8), []
first = [*KINDS.values(), *(registry.handler(name).want for name in table.METHODS)]

def decode():
    for kind in first:
        given = dict.fromkeys(kind.__struct_fields__, [[]])
        raw = json.dumps(given)
        ready.wait()
        for read in (lambda: decoder(kind).decode(raw), lambda: convert(given, kind)):
            try:
                read()
            except ValueError:
                pass
            done.append(kind)

threads = [threading.Thread(target=decode) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(len(first), len(done))
"""


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct):
    inner: Inner


@pytest.mark.timeout(60)
def test_eight_threads_that_meet_every_struct_at_once_end_well() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    kinds, reads = map(int, done.stdout.split())
    assert kinds > 100 and reads == kinds * 8 * 2


def test_a_struct_comes_out_of_json_and_of_plain_values() -> None:
    assert decoder(Outer).decode(b'{"inner":{"number":3}}') == convert({"inner": {"number": 3}}, Outer)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        decoder(Outer).decode(b'{"inner":{"number":"3"}}')
    with pytest.raises(msgspec.ValidationError, match="Expected `object`"):
        convert({"inner": 3}, Outer)


def test_no_other_module_has_msgspec_read_structs() -> None:
    """`json.decode` of JSON as plain values works nothing out, and stays free to all."""
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and reads_structs(ast.unparse(node.func), node)
    ]
    assert found and {one.partition(":")[0] for one in found} == {"decoding.py"}


def reads_structs(name: str, call: ast.Call) -> bool:
    if name == "msgspec.json.decode":
        return any(one.arg == "type" for one in call.keywords) or len(call.args) > 1
    return name in ("msgspec.convert", "msgspec.json.Decoder")
