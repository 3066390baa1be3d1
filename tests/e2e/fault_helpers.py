"""Running the real command line on bad input, and checking what every refusal owes the user.

A refusal owes: the right exit code; a cause that names the offending thing; a cure; no traceback;
and a working folder that is byte for byte as it was, whatever went wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.shared import once

TINY_SHAPE = (3, 8, 8)
TINY_TORCH = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )
"""
"""A model of one convolution: everything in these tests is as small as it can be."""

SYNTHETIC = ("--synthetic", "--scheme", "fp32")
INPUT = ("--input", "image:1x3x8x8")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything that the user sees, as one line of single spaces: rich wraps it anywhere."""
        return " ".join(f"{self.out} {self.err}".split())


def command(*arguments: str | Path) -> list[str]:
    """The program as a user starts it."""
    return [sys.executable, "-m", "edgekit", *map(str, arguments)]


def environment(changes: Mapping[str, str | Path] | None = None) -> dict[str, str]:
    """The caller's variables with changes; and no `__pycache__` beside the models."""
    own = {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return {**os.environ, **own, **{k: str(v) for k, v in (changes or {}).items()}}


def edgekit(
    folder: Path,
    *arguments: str | Path,
    env: Mapping[str, str | Path] | None = None,
    timeout: float = 300,
) -> Finished:
    """Run a command in a folder to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(code=done.returncode, out=done.stdout, err=done.stderr)


def refusal(
    folder: Path,
    *arguments: str | Path,
    code: int,
    says: str | tuple[str, ...],
    env: Mapping[str, str | Path] | None = None,
    cure: str = "",
) -> Finished:
    """Run a command that must be refused, and check everything that a refusal owes.

    Args:
        folder: the working folder; nothing in it may change.
        arguments: of `edgekit`.
        code: the exit code.
        says: what the message must name.
        env: changes of the environment's variables.
        cure: what the advice must name.
    """
    before = snapshot(folder)
    finished = edgekit(folder, *arguments, env=env)
    check_refusal(finished, code=code, says=says, cure=cure)
    assert snapshot(folder) == before, "a refused command left something behind"
    return finished


def check_refusal(
    finished: Finished, *, code: int, says: str | tuple[str, ...], cure: str = ""
) -> None:
    """The part of `refusal` that is about words."""
    assert finished.code == code, finished.text
    assert "Traceback" not in finished.text
    assert "Error: " in finished.err, finished.text
    for words in (says,) if isinstance(says, str) else says:
        assert words in finished.text, finished.text
    advice = finished.text.partition("Cure: ")[2]
    assert advice, f"there is no cure: {finished.text}"
    assert cure in advice, finished.text
    if " Log: " in advice:
        log = Path(advice.partition(" Log: ")[2])
        assert log.is_file(), f"the message names a log that is not there: {log}"


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with its content's digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


def leftovers(folder: Path) -> list[Path]:
    """The work folders that a run should have removed."""
    return list(folder.rglob(".edgekit-work-*"))


def json_on_stdout(finished: Finished) -> dict[str, Any]:
    """Standard output, which must be one JSON object and nothing else."""
    document: dict[str, Any] = json.loads(finished.out)
    return document


# --- models and data ---------------------------------------------------------------------------


def save_tiny_onnx(
    path: Path, *, batch: int | str = 1, size: int | str = 8, external: str | None = None
) -> Path:
    """One convolution and one linear layer; dimensions may be names, weights in another file."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(4, 3, 3, 3)).astype("float32"),
        "linear": random.normal(size=(4, 3)).astype("float32"),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "linear"], ["scores"]),
    ]
    return save_onnx(
        path,
        nodes,
        shape=(batch, 3, size, size),
        output=("scores", (batch, 3)),
        weights=weights,
        external=external,
    )


def save_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    shape: tuple[int | str, ...] = (1, *TINY_SHAPE),
    output: tuple[str, tuple[int | str, ...]] = ("result", (1, *TINY_SHAPE)),
    weights: Mapping[str, np.ndarray] | None = None,
    external: str | None = None,
) -> Path:
    """An ONNX file with the input ``image``; custom domains are declared as they come."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    domains = {node.domain: 1 for node in nodes} | {"": 18}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*entry) for entry in domains.items()],
        ir_version=10,
    )
    onnx.save(
        model,
        path,
        save_as_external_data=external is not None,
        location=external,
        size_threshold=0,
    )
    return path


def save_pictures(folder: Path, count: int, *, broken: int = 0) -> Path:
    """Noise as small PNG files, the first ``broken`` of them damaged."""
    import cv2

    random = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:02}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        if index < broken:
            path.write_bytes(path.read_bytes()[:40])
    return folder


def cut_short(path: Path, name: str) -> Path:
    """A copy of the first half of a file, beside it."""
    content = path.read_bytes()
    result = path.with_name(name)
    result.write_bytes(content[: len(content) // 2])
    return result


def random_bytes(path: Path, count: int = 3000) -> Path:
    """A file of noise, the same in every run."""
    path.write_bytes(np.random.default_rng(7).bytes(count))
    return path


# --- converters of our own ---------------------------------------------------------------------


def add_converter(root: Path, name: str, body: str, *, priority: int = 1) -> dict[str, Path]:
    """A converter from ONNX to TFLite as a third party adds one.

    Args:
        root: the folder for ``EDGEKIT_CONVERTERS``.
        name: of the converter, which is the name of its route too.
        body: of its verb ``convert(request, progress)``.
        priority: before all others unless stated.

    Returns:
        The variables that make edgekit find it.
    """
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "converter.toml").write_text(
        f'name = "{name}"\nsummary = "for a test"\nenvironment = "host"\nprocesses = true\n'
        f'[[converts]]\nfrom = ["onnx"]\nto = "tflite"\npriority = {priority}\n'
    )
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    (folder / "worker.py").write_text(f"def convert(request, progress):\n{indented}")
    return {"EDGEKIT_CONVERTERS": root}


# --- processes ---------------------------------------------------------------------------------


@contextmanager
def started(
    folder: Path, *arguments: str | Path, env: Mapping[str, str | Path] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command that runs beside the test, in a session of its own; killed in the end."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Any, *, seconds: float, what: str) -> None:
    """Wait until something holds; fail with ``what`` if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


def tiny_tflite() -> bytes:
    """The tiny model as float `.tflite`, really converted, once a run.

    With it as MODEL a run needs edgekit's own workers only: that is the quick way to a fault that
    has nothing to do with converters.
    """

    def convert(folder: Path) -> None:
        save_tiny_onnx(folder / "tiny.onnx")
        finished = edgekit(folder, "convert", "tiny.onnx", *SYNTHETIC)
        assert finished.code == 0, finished.text

    return (once("tiny", convert) / "tiny_tflite" / "tiny_fp32.tflite").read_bytes()


def save_tiny_tflite(folder: Path) -> Path:
    """`tiny_tflite` as a file."""
    path = folder / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    return path
