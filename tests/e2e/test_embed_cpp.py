"""`edgekit embed --target cpp` and `micro`: compiled, run against LiteRT, and broken on purpose."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ai_edge_litert
import pytest

import edgekit
from edgekit.contract import Decoder
from edgekit.embed.golden import read_golden
from edgekit.tflite.model import read, write
from edgekit.tflite.summary import summarize

from .conftest import REPOSITORY
from .embed_cases import BOXED, PHOTOS, RESIZES, SEQUENCES, SYMBOLS, boxed
from .embed_models import converted

sys.path.insert(0, str(REPOSITORY / "tests" / "unit"))

from embed_nets import SIZE, anchors, net_with
from quantize_nets import Net

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("cmake") and shutil.which("c++")), reason="needs CMake and a compiler"
    ),
]
LITERT = Path(ai_edge_litert.__file__).with_name("libLiteRt.so")
NAMES = ("classifier", "detector", "segmenter")


@pytest.fixture(scope="module")
def models() -> Callable[[str], Path]:
    """The folder with a network's files, converted when it is first asked for."""
    return converted


def module_of(file: Path, folder: Path, **options: object) -> Path:
    edgekit.embed(file, target="cpp", output=folder, **{"samples": PHOTOS, **options})
    return folder


def golden_test(module: Path, *options: str, kind: str = "Debug") -> tuple[int, dict[str, str]]:
    """Build with CMake, run: the exit code, and each stage with its worst state.

    What is not optimised compiles in half the time; `kind` is "Release" where that is what counts.
    """
    build = module.with_name(f"{module.name}-build")
    configure = ["cmake", "-S", module, "-B", build, f"-DLITERT_LIBRARY={LITERT}", *options]
    configure += [f"-DCMAKE_BUILD_TYPE={kind}"]
    for command in (configure, ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout + done.stderr
    (model,) = (module / "model").glob("*.tflite")
    program = [build / "golden_test", model, module / "test" / "golden"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    stages: dict[str, str] = {}
    for state, stage in re.findall(r"^(ok|FAIL) +(\w+)", done.stdout, re.MULTILINE):
        stages[stage] = "FAIL" if "FAIL" in (state, stages.get(stage)) else "ok"
    assert stages, done.stdout + done.stderr
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
    return done.returncode, stages


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_every_stage_agrees_also_under_sanitizers(models, tmp_path, name, scheme):
    module = module_of(models(name) / f"{name}_{scheme}.tflite", tmp_path / "module")
    code, stages = golden_test(module, "-DSANITIZE=ON")
    assert code == 0
    wanted = {"resize", "normalise", "inference", "decode"}
    assert stages == dict.fromkeys(wanted | ({"locate"} if name == "detector" else set()), "ok")


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_efficientnet(efficientnet, tmp_path, scheme):
    module = module_of(efficientnet / f"efficientnet_lite0_{scheme}.tflite", tmp_path / "module")
    code, stages = golden_test(module, kind="Release")
    assert code == 0, stages


FAULTS = {
    "another resize": ("(wanted + 0.5) * step(given, size) - 0.5", "wanted * step(given, size)"),
    "red and blue swapped": ("pixels.data() + channel;", "pixels.data() + 2 - channel;"),
    "no mean": (" - mean)", " - 0 * mean)"),
    "another scale of the output": (" - zero) * scale", " - zero) * scale * 2"),
}
FAILING = dict(zip(FAULTS, ("resize", "normalise", "normalise", "decode"), strict=True))


@pytest.mark.parametrize(
    ("fault", "scheme"), zip(FAULTS, ("fp32", "int8", "fp32", "int8"), strict=True)
)
def test_a_planted_fault_fails_at_its_stage_and_no_other(models, tmp_path, fault, scheme):
    module = module_of(models("classifier") / f"classifier_{scheme}.tflite", tmp_path / "module")
    source = module / "src" / f"classifier_{scheme}.cpp"
    right, wrong = FAULTS[fault]
    text = source.read_text(encoding="utf-8")
    assert right in text
    source.write_text(text.replace(right, wrong), encoding="utf-8")
    code, stages = golden_test(module)
    assert code == 1
    assert [stage for stage, state in stages.items() if state == "FAIL"] == [FAILING[fault]]


def test_another_model_fails_at_inference(models, tmp_path):
    folder = models("classifier")
    module = module_of(folder / "classifier_int8.tflite", tmp_path / "module")
    other = bytearray((module / "model" / "classifier_int8.tflite").read_bytes())
    # The largest buffer has the weights of the dense layer; they lie in the middle of the file.
    middle = len(other) // 2
    other[middle : middle + 4000] = bytes(4000)
    (module / "model" / "classifier_int8.tflite").write_bytes(other)
    code, stages = golden_test(module)
    assert code == 1
    assert [stage for stage, state in stages.items() if state == "FAIL"] == ["inference"]


def test_the_cpu_takes_over_where_there_is_no_gpu(models, tmp_path):
    file = models("segmenter") / "segmenter_fp32.tflite"
    module = module_of(file, tmp_path / "module", delegate="gpu", threads=2)
    assert "Accelerator::gpu" in (module / "include" / "segmenter_fp32.hpp").read_text()
    code, _ = golden_test(module)
    assert code == 0


ANCHORS = 9
DECODERS = {
    "yolov5": ({"o": (1, 12, 8)}, Decoder(format="yolov5", activation="sigmoid")),
    "yolov8": (
        {"o": (1, 7, 12)},
        Decoder(format="yolov8", box="xyxy", normalized=True, activation="softmax"),
    ),
    "yolo-grid": (
        {"o": (1, 2, 2, 16), "p": (1, 2, 3, 3, 8)},
        Decoder(format="yolo-grid", grid_anchors=(((4, 5), (9, 6)), ((3, 2), (8, 11)))),
    ),
    "ssd": (
        {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, 4)},
        Decoder(format="ssd", scores="scores", activation="softmax", background=1),
    ),
    "boxes": (
        {"boxes": (1, 6, 4), "scores": (1, 6), "classes": (1, 6), "count": (1,)},
        Decoder(format="boxes", scores="scores", classes="classes", count="count", normalized=True),
    ),
}


@pytest.mark.parametrize("name", [*DECODERS, "ssd with anchors"])
def test_every_decoder(tmp_path, name):
    shapes, decoder = DECODERS[name.partition(" ")[0]]
    table = dict(vars(decoder))
    if name == "ssd with anchors":
        table["anchors"] = str(anchors(tmp_path / "anchors.npy", ANCHORS))
    file = net_with(
        tmp_path / "net.tflite",
        shapes,
        task="detection",
        decoder=Decoder(**{**table, "score_threshold": 0.05, "iou_threshold": 0.4}),
    )
    module = module_of(file, tmp_path / "module")
    golden = read_golden(module / "test" / "golden")
    found = [len(golden["result", sample].values) for sample in range(3)]
    assert any(found), "the test must have boxes to compare"
    code, stages = golden_test(module)
    assert code == 0, stages


@pytest.mark.parametrize(
    ("shape", "layout", "last", "form"),
    [
        ((1, 4, 8, 6), "NCHW", None, "planes"),
        ((1, 8, 6, 4), "NHWC", None, "planes"),
        ((1, 8, 6, 1), "NHWC", None, "mask"),
        ((1, 8, 6, 1), "NHWC", "LOGISTIC", "mask"),
    ],
)
def test_every_form_of_segmentation(tmp_path, shape, layout, last, form):
    file = net_with(
        tmp_path / "net.tflite",
        {"o": shape},
        task="segmentation",
        layouts={"o": layout},
        last=last,
    )
    result = edgekit.embed(file, target="cpp", output=tmp_path / "module", samples=PHOTOS, golden=2)
    assert result.spec.decode.form == form
    code, stages = golden_test(result.output)
    assert code == 0, stages


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_way_to_read_a_sequence(tmp_path, name):
    shape, decoder = SEQUENCES[name]
    file = net_with(
        tmp_path / "net.tflite", {"o": shape}, task="sequence", decoder=decoder, labels=SYMBOLS
    )
    module = module_of(file, tmp_path / "module", golden=2)
    golden = read_golden(module / "test" / "golden")
    assert any(len(golden["result", sample].values) for sample in range(2))
    code, stages = golden_test(module)
    assert code == 0, stages


@pytest.mark.parametrize(
    "resize", [one for one in RESIZES if one not in ("box_antialias", "hamming_antialias")]
)
def test_every_resize_smaller_and_larger(tmp_path, resize):
    file = net_with(tmp_path / "net.tflite", {"o": (1, 5)}, task="regression")
    rounding = "down" if "antialias" in resize else "even"  # as transformers, as torchvision
    preprocess = {"crop": (SIZE, SIZE), "crop_rounding": rounding, **RESIZES[resize]}
    module = module_of(file, tmp_path / "module", preprocess=preprocess)
    code, stages = golden_test(module)
    assert code == 0, stages


@pytest.mark.parametrize("name", BOXED)
def test_every_letterbox(tmp_path, name):
    file, options = next((file, options) for one, file, options in boxed(tmp_path) if one == name)
    module = module_of(file, tmp_path / "module", **options)
    assert any(
        len(read_golden(module / "test" / "golden")["located", one].values) for one in (0, 1)
    )
    code, stages = golden_test(module, "-DSANITIZE=ON")
    assert code == 0, stages


def test_a_gray_picture(tmp_path):
    net = Net(1, 12, 10, 1)
    file = net.save(tmp_path / "net.tflite", net.dense(net.image, "scores", 3))
    preprocess = {"resize": (12, 10), "color": "GRAY", "scale": 1 / 255}
    module = module_of(
        file, tmp_path / "module", preprocess=preprocess, task="classification", name="gray net"
    )
    code, stages = golden_test(module)
    assert code == 0, stages


def test_outputs_in_another_order_in_the_signature(tmp_path):
    """LiteRT numbers outputs as the graph does, in whatever order the signature lists them."""
    shapes = {"scores": (1, 5), "also": (1, 5), "more": (1, 7)}
    file = net_with(tmp_path / "net.tflite", shapes, task="classification")
    model = read(file)
    model.raw.signatureDefs[0].outputs.reverse()
    write(model, file)
    code, stages = golden_test(module_of(file, tmp_path / "module"))
    assert code == 0, stages


def test_micro_compiles_and_is_the_file(models, tmp_path):
    for name in NAMES:
        file = models(name) / f"{name}_int8.tflite"
        folder = tmp_path / name
        edgekit.embed(file, target="micro", output=folder, samples=PHOTOS)
        (folder / "main.cc").write_text(RESOLVER.replace("NAME", f"{name}_int8"))
        compiled = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
        sources = [f"{name}_int8_model.cc", "test/model_test.cc"]
        for program, files in (("model_test", sources), ("resolver", ["main.cc"])):
            command = ["c++", *compiled, *files, "-o", program]
            subprocess.run(command, cwd=folder, check=True, timeout=300)
        subprocess.run(["./model_test", f"model/{name}_int8.tflite"], cwd=folder, check=True)
        answer = subprocess.run(["./resolver"], cwd=folder, check=True, capture_output=True)
        shown = {op.op for op in summarize(file).ops}
        assert len(answer.stdout.split()) == len(shown)


RESOLVER = """
#include <cstdio>
#include "NAME_operators.h"

// As much of tflite::MicroMutableOpResolver as the three models need.
struct Resolver {
#define ADD(name) int Add##name() { std::puts(#name); return 0; }
  ADD(Add) ADD(Concatenation) ADD(Conv2D) ADD(Dequantize) ADD(FullyConnected) ADD(Logistic)
  ADD(Mul) ADD(Pad) ADD(Quantize) ADD(Reshape) ADD(Slice) ADD(Transpose)
};

int main() {
  Resolver resolver;
  return NAME_register_operators(resolver) ? 0 : 1;
}
"""
