"""Models that cannot be loaded, understood or converted: each refused in words, nothing touched."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import helper

from tests.e2e.fault_helpers import (
    INPUT,
    SYNTHETIC,
    TINY_TORCH,
    add_converter,
    cut_short,
    edgekit,
    json_on_stdout,
    random_bytes,
    refusal,
    save_onnx,
    save_tiny_onnx,
    save_tiny_tflite,
)

pytestmark = pytest.mark.e2e

FACTORIES = """
def raises():
    raise RuntimeError("no licence for this model\\nsecond line")

def leaves():
    raise SystemExit(3)

def needs(width, depth):
    return build()

def forgets():
    build()

def weights():
    return build().state_dict()

number = 3

class Talks(nn.Module):
    def forward(self, x):
        return "text"

class Decomposes(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)

def dies():
    import ctypes

    ctypes.string_at(0)
"""
MAKE_TORCH_FILES = """
import os, sys
import torch
from safetensors.torch import save_file

sys.path.insert(0, ".")
from net import build

model = build().eval()
state = model.state_dict()
example = torch.zeros(1, 3, 8, 8)

torch.save(state, "state.pt")
torch.save({k: v for k, v in state.items() if k != "4.bias"}, "missing.pt")
torch.save({**state, "head.weight": torch.zeros(2)}, "surplus.pt")
save_file({**state, "4.weight": torch.zeros(5, 4)}, "shape.safetensors")
torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 3}, "light.ckpt")
torch.save(model, "whole.pt")
torch.jit.trace(model, example).save("script.pt")
torch.export.save(torch.export.export(model, (example,)), "program.pt2")

class Evil:
    def __reduce__(self):
        return os.mkdir, ("OWNED",)

torch.save(Evil(), "evil.pt")
torch.save({"state_dict": Evil()}, "evil_weights.pt")
"""


class Evil:
    """What a pickle can do: running it makes a folder."""

    def __reduce__(self):
        return exec, ("import os; os.mkdir('OWNED')",)


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A route that is never reached, and does not load a real converter meanwhile."""
    return add_converter(tmp_path_factory.mktemp("stub"), "stub", "raise RuntimeError('reached')")


@pytest.fixture(scope="module")
def torch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Factories and files of the tiny model, good and bad; no test changes them."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "net.py").write_text(TINY_TORCH + FACTORIES)
    (folder / "imports.py").write_text("import a_package_that_is_not_there\n\ndef build(): pass\n")
    (folder / "stops.py").write_text("raise SystemExit(4)")
    subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", MAKE_TORCH_FILES],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "evil_plain.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("state.pt", "script.pt", "program.pt2", "shape.safetensors"):
        cut_short(folder / name, f"cut_{name}")
        damage_inside(folder / name, f"damaged_{name}")
    for name in ("random.pt", "random.pt2", "random.safetensors"):
        random_bytes(folder / name)
    return folder


def damage_inside(path: Path, name: str) -> None:
    """A copy with noise in the middle: where it is a zip archive, its listing is still whole."""
    content = bytearray(path.read_bytes())
    quarter = len(content) // 4
    noise = random_bytes(path.with_name(name), quarter).read_bytes()
    content[quarter : 2 * quarter] = noise
    path.with_name(name).write_bytes(content)


# --- PyTorch -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "code", "says"),
    [
        ("net.py:raises", 3, ("net.py:raises", "RuntimeError: no licence for this model")),
        ("net.py:leaves", 3, ("net.py:leaves", "SystemExit")),
        ("net.py:absent", 2, ("net.py", "'absent'")),
        ("net.py:needs", 3, ("net.py:needs", "width, depth")),
        ("net.py:forgets", 3, ("net.py:forgets", "returned nothing")),
        ("net.py:weights", 3, ("net.py:weights", "OrderedDict")),
        ("net.py:number", 3, ("net.py:number", "int")),
        ("net.py:Talks", 3, "returns a value of type str"),
        ("net.py:dies", 3, ("torch", "SIGSEGV")),
        ("imports.py:build", 3, ("imports.py", "a_package_that_is_not_there")),
        ("stops.py:build", 3, ("stops.py", "SystemExit")),
        ("a_package_that_is_not_there:build", 3, "a_package_that_is_not_there"),
    ],
)
def test_a_factory_that_gives_no_model(
    torch_folder: Path, stub: dict[str, Path], factory: str, code: int, says: str
) -> None:
    arguments = ("convert", factory, *INPUT, *SYNTHETIC, "--route", "stub")
    refusal(torch_folder, *arguments, code=code, says=says, env=stub)


@pytest.mark.parametrize(
    ("weights", "code", "says"),
    [
        ("missing.pt", 3, ("missing.pt", "missing: 4.bias")),
        ("surplus.pt", 3, ("surplus.pt", "not in the model: head.weight")),
        ("shape.safetensors", 3, ("4.weight (5x4 in the file, 3x4 in the model)",)),
        ("evil_weights.pt", 2, ("evil_weights.pt", "code")),
        ("script.pt", 2, ("script.pt", "TorchScript")),
        ("cut_state.pt", 3, "cut_state.pt"),
        ("random.safetensors", 3, "random.safetensors"),
    ],
)
def test_weights_that_do_not_match(
    torch_folder: Path, stub: dict[str, Path], weights: str, code: int, says: str
) -> None:
    arguments = ("convert", "net.py:build", "--weights", weights, *INPUT, *SYNTHETIC)
    refusal(torch_folder, *arguments, "--route", "stub", code=code, says=says, env=stub)
    assert not (torch_folder / "OWNED").exists()


@pytest.mark.parametrize("name", ["evil.pt", "evil_plain.pth", "whole.pt"])
def test_a_pickle_is_not_opened_without_trust(
    torch_folder: Path, stub: dict[str, Path], name: str
) -> None:
    arguments = ("convert", name, *INPUT, *SYNTHETIC, "--route", "stub")
    refusal(
        torch_folder, *arguments, code=2, says=(name, "any code"), cure="--trust-pickle", env=stub
    )
    assert not (torch_folder / "OWNED").exists()


def test_a_trusted_pickle_that_is_no_model(torch_folder: Path, stub: dict[str, Path]) -> None:
    arguments = ("convert", "state.pt", "--trust-pickle", *INPUT, *SYNTHETIC, "--route", "stub")
    refusal(torch_folder, *arguments, code=3, says="OrderedDict", cure="--weights", env=stub)


@pytest.mark.parametrize(
    "name",
    [
        *("cut_state.pt", "cut_script.pt", "cut_program.pt2", "random.pt", "random.pt2"),
        *("damaged_script.pt", "damaged_program.pt2"),
    ],
)
def test_a_damaged_torch_file(torch_folder: Path, stub: dict[str, Path], name: str) -> None:
    arguments = ("convert", name, *INPUT, *SYNTHETIC, "--route", "stub")
    refusal(torch_folder, *arguments, code=3, says=name, cure="again", env=stub)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--input", "image:1x4x8x8"), 3, "1x4x8x8"),
        (("--input", "image:1x4x8x8", "--dry-run"), 3, "1x4x8x8"),
        (("--input", "image:1x3x8x8", "--input", "mask:1x8"), 3, "1x8"),
        (("--dry-run",), 2, "does not tell the shape"),
    ],
)
def test_inputs_that_do_not_fit_a_torch_model(
    torch_folder: Path, stub: dict[str, Path], arguments: tuple[str, ...], code: int, says: str
) -> None:
    command = ("convert", "net.py:build", *arguments, *SYNTHETIC, "--route", "stub")
    refusal(torch_folder, *command, code=code, says=says, cure="--input", env=stub)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("whole.pt", "--trust-pickle"), id="whole module, trusted"),
        pytest.param(("net.py:build", "--weights", "light.ckpt"), id="Lightning checkpoint"),
    ],
)
def test_what_is_right_beside_the_faults_still_converts(
    torch_folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command = ("convert", *arguments, *INPUT, *SYNTHETIC, "--output", tmp_path / "out", "--json")
    finished = edgekit(torch_folder, *command)
    assert finished.code == 0, finished.text
    assert json_on_stdout(finished)["passed"]
    assert len(list((tmp_path / "out").glob("*_fp32.tflite"))) == 1


def test_an_operator_that_no_route_supports_ends_with_each_routes_reason(
    torch_folder: Path,
) -> None:
    arguments = ("convert", "net.py:Decomposes", *INPUT, *SYNTHETIC)
    reasons = ("onnx2tf: ", "litert_torch: ", "aten._linalg_svd", "No route leads")
    refusal(torch_folder, *arguments, code=3, says=reasons)


# --- ONNX --------------------------------------------------------------------------------------


def custom(path: Path) -> None:
    save_onnx(path, [helper.make_node("Wibble", ["image"], ["result"], domain="acme.ops")])


def external_missing(path: Path) -> None:
    save_tiny_onnx(path, external="tiny.data")
    path.with_name("tiny.data").unlink()


def external_cut(path: Path) -> None:
    save_tiny_onnx(path, external="tiny.data")
    path.with_name("tiny.data").write_bytes(b"123")


def cut(path: Path) -> None:
    cut_short(save_tiny_onnx(path.with_name("whole.onnx")), path.name)


def impossible(path: Path) -> None:
    """A valid message, but a node has an input that nothing makes."""
    save_onnx(path, [helper.make_node("Relu", ["nowhere"], ["result"])])


@pytest.mark.parametrize(
    ("make", "code", "says", "cure"),
    [
        (cut, 3, "model.onnx", "again"),
        (random_bytes, 3, "model.onnx", "again"),
        (custom, 3, "acme.ops:Wibble", "standard operators"),
        (external_missing, 3, "tiny.data", "Copy tiny.data"),
        (external_cut, 3, ("tiny.data", "cut short"), "Copy tiny.data"),
        (impossible, 3, "nowhere", "export it again"),
        (lambda path: save_tiny_onnx(path, size="side"), 2, "1x3x?x?", "--input image:1x3x"),
    ],
    ids=["cut", "random", "custom operator", "no data file", "short data file", "invalid", "open"],
)
def test_an_onnx_file_that_cannot_be_used(
    tmp_path: Path,
    stub: dict[str, Path],
    make: Callable[[Path], object],
    code: int,
    says: str,
    cure: str,
) -> None:
    make(tmp_path / "model.onnx")
    arguments = ("convert", "model.onnx", *SYNTHETIC, "--route", "stub")
    refusal(tmp_path, *arguments, code=code, says=says, cure=cure, env=stub)


@pytest.mark.parametrize(
    ("arguments", "says", "cure"),
    [
        (("--input", "image:1x4x8x8"), ("1x3x8x8", "1x4x8x8"), "--input image:1x3x8x8"),
        (("--input", "image:1x3x8x8", "--input", "extra:1x2"), "extra", "image"),
    ],
)
def test_inputs_that_do_not_fit_an_onnx_model(
    tmp_path: Path, stub: dict[str, Path], arguments: tuple[str, ...], says: str, cure: str
) -> None:
    save_tiny_onnx(tmp_path / "tiny.onnx")
    command = ("convert", "tiny.onnx", *arguments, *SYNTHETIC, "--route", "stub")
    refusal(tmp_path, *command, code=2, says=says, cure=cure, env=stub)


def test_an_onnx_operator_without_a_tflite_form_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["image"], ["result"])
    save_onnx(tmp_path / "det.onnx", [node], output=("result", (1, 3)))
    refusal(tmp_path, "convert", "det.onnx", *SYNTHETIC, code=3, says=("onnx2tf", "Det (result)"))


def test_weights_in_another_file_and_an_open_batch_need_no_help(tmp_path: Path) -> None:
    save_tiny_onnx(tmp_path / "tiny.onnx", batch="N", external="tiny.data")
    finished = edgekit(tmp_path, "convert", "tiny.onnx", *SYNTHETIC, "--json")
    assert finished.code == 0, finished.text
    report = json_on_stdout(finished)
    assert report["contract"]["inputs"][0]["tensor"]["shape"][0] == 1
    assert report == json.loads((tmp_path / "tiny_tflite" / "edgekit-report.json").read_text())


# --- Keras and TFLite --------------------------------------------------------------------------


def keras_archive(path: Path) -> None:
    """The members of a `.keras` file, and nonsense inside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", '{"module": "nowhere", "class_name": "Nothing"}')
        archive.writestr("model.weights.h5", b"no weights")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("random.keras", random_bytes),
        ("random.h5", random_bytes),
        ("random.tflite", random_bytes),
        ("nonsense.keras", keras_archive),
        ("nonsense.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 2000)),
        ("nonsense.tflite", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 2000)),
    ],
)
def test_a_damaged_keras_or_tflite_file(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    make(tmp_path / name)
    refusal(tmp_path, "convert", name, *SYNTHETIC, code=3, says=name)


def test_a_cut_keras_file(tmp_path: Path) -> None:
    keras_archive(tmp_path / "whole.keras")
    cut_short(tmp_path / "whole.keras", "cut.keras")
    refusal(tmp_path, "convert", "cut.keras", *SYNTHETIC, code=3, says="cut.keras", cure="again")


@pytest.mark.parametrize("command", ["convert", "quantize", "inspect"])
def test_a_cut_tflite_file(tmp_path: Path, command: str) -> None:
    cut_short(save_tiny_tflite(tmp_path), "cut.tflite")
    arguments = () if command == "inspect" else ("--synthetic", "--scheme", "fp16")
    refusal(tmp_path, command, "cut.tflite", *arguments, code=3, says="cut.tflite")
