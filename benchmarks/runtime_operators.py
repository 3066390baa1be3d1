"""Which operators, versions, tensor types and custom operators a TFLite runtime really has.

    python benchmarks/runtime_operators.py PYTHON

PYTHON is an interpreter that imports ``tflite_runtime`` or ``ai_edge_litert``. It is given files
that name one operator in one version each, and no more: a runtime looks operators up before it
reads the graph. The table that is printed is ``[runtime]`` of ``edgekit/targets/profiles/``.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
from typing import Any

_HIGHEST = 24
"""So many versions of each operator are tried; none has more than 14 so far."""

_CUSTOM = ("TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "NumericVerify", "FlexAdd")

_TRY = """
import base64, json, os, sys
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter

def loads(data):
    try:
        Interpreter(model_content=data).allocate_tensors()
    except (ValueError, RuntimeError):
        return False
    return True

def survives(data):
    # A custom operator without its options may take the process down: it was there then.
    child = os.fork()
    if child == 0:
        os._exit(0 if loads(data) else 7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 7

for line in sys.stdin:
    name, number, kind, text = json.loads(line)
    data = base64.b64decode(text)
    print(json.dumps([name, number, kind, (survives if kind == "custom" else loads)(data)]))
"""


def probes() -> list[tuple[str, int, str, bytes]]:
    """Files by operator and version, by type, and by custom operator."""
    from ai_edge_litert import schema_py_generated as schema

    def listed(enum: Any) -> dict[str, int]:
        return {name: code for name, code in vars(enum).items() if name[0] != "_"}

    custom = schema.BuiltinOperator.CUSTOM
    found = [
        (name, version, "operator", _file(code=code, version=version))
        for name, code in listed(schema.BuiltinOperator).items()
        if name not in ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES")
        for version in range(1, _HIGHEST + 1)
    ]
    types = listed(schema.TensorType).items()
    found += [(name.lower(), code, "type", _file(dtype=code)) for name, code in types]
    return found + [(name, 1, "custom", _file(code=custom, custom=name)) for name in _CUSTOM]


def _file(
    *, code: int | None = None, version: int = 1, custom: str | None = None, dtype: int = 0
) -> bytes:
    """A file with one tensor and at most one operator code, which only a custom one is used of."""
    from ai_edge_litert import schema_py_generated as schema

    from edgekit.tflite.flatbuffer import pack

    codes = []
    if code is not None:
        codes.append(
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(code, 127),
                builtinCode=code,
                version=version,
                customCode=custom,
            )
        )
    tensors = [schema.TensorT(name=n, shape=[1, 4], type=dtype, buffer=0) for n in ("a", "b")]
    used = [schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])] if custom else []
    graph = schema.SubGraphT(
        name="main", tensors=tensors, operators=used, inputs=[0], outputs=[1 if custom else 0]
    )
    model = schema.ModelT(
        version=3,
        description="edgekit",
        operatorCodes=codes,
        subgraphs=[graph],
        buffers=[schema.BufferT()],
    )
    return pack(model)


def measure(python: str) -> list[tuple[str, int, str, bool]]:
    """What a Python's runtime says to each probe: name, number, kind, and whether it is there."""
    lines = "\n".join(
        json.dumps([name, number, kind, base64.b64encode(data).decode()])
        for name, number, kind, data in probes()
    )
    done = subprocess.run(
        [python, "-c", _TRY], input=lines, capture_output=True, text=True, check=True
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def table(measured: list[tuple[str, int, str, bool]]) -> str:
    """The measurement as TOML."""
    there = [(name, number, kind) for name, number, kind, ok in measured if ok]
    versions: dict[str, list[int]] = {}
    for name, number, kind in there:
        if kind == "operator":
            versions.setdefault(name, []).append(number)
    lines = [
        f"types = {json.dumps(sorted(n for n, _, kind in there if kind == 'type'))}",
        f"custom = {json.dumps([n for n, _, kind in there if kind == 'custom'])}",
        "",
        "[runtime.operators]",
    ]
    for name, those in sorted(versions.items()):
        if those != list(range(those[0], those[-1] + 1)):
            raise SystemExit(f"{name} has gaps: {those}")
        lines.append(f"{name} = [{those[0]}, {those[-1]}]")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="the interpreter that has the runtime")
    print(table(measure(parser.parse_args().python)))
