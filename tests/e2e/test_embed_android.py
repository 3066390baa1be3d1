"""`edgekit embed --target android`: the real compiler, JUnit, and LiteRT on the JVM; no Android.

What needs Android is compiled against declarations of the API classes that it uses
(`tests/e2e/kotlin/android_stubs`), and its choice of a runner is run on them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.contract import Decoder

from . import kotlin_tools
from .conftest import REPOSITORY
from .embed_models import converted

sys.path.insert(0, str(REPOSITORY / "tests" / "unit"))

from embed_nets import SIZE, anchors, net_with

pytestmark = pytest.mark.e2e

PHOTOS = REPOSITORY / "calibration_data"
STAGES = ("resize", "normalise", "inference", "decode")
REAL = tuple(
    f"{name}_{scheme}"
    for name in ("efficientnet_lite0", "classifier", "detector", "segmenter")
    for scheme in ("fp32", "int8")
)
BOXES = 9
DECODERS: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "yolov5": ({"o": (1, 12, 8)}, {"format": "yolov5", "activation": "sigmoid"}),
    "yolov8": (
        {"o": (1, 7, 12)},
        {"format": "yolov8", "box": "xyxy", "normalized": True, "activation": "softmax"},
    ),
    "grid": (
        {"o": (1, 2, 2, 16), "p": (1, 2, 3, 3, 8)},
        {"format": "yolo-grid", "grid_anchors": (((4, 5), (9, 6)), ((3, 2), (8, 11)))},
    ),
    "ssd": (
        {"boxes": (1, BOXES, 4), "scores": (1, BOXES, 4)},
        {"format": "ssd", "scores": "scores", "activation": "softmax", "background": 1},
    ),
    "boxes": (
        {"boxes": (1, 6, 4), "scores": (1, 6), "classes": (1, 6), "count": (1,)},
        {
            "format": "boxes",
            "scores": "scores",
            "classes": "classes",
            "count": "count",
            "normalized": True,
        },
    ),
}
DECODERS["ssd_anchors"] = DECODERS["ssd"]
FORMS = {
    "planes_first": ((1, 4, 8, 6), "NCHW", None),
    "planes_last": ((1, 8, 6, 4), "NHWC", None),
    "mask": ((1, 8, 6, 1), "NHWC", None),
    "mask_logistic": ((1, 8, 6, 1), "NHWC", "LOGISTIC"),
}
RESIZES = [
    (interpolation, size)
    for interpolation in ("bilinear", "bicubic", "area", "nearest")
    for size in (SIZE + 5, 300)
]
LABELS = ["$x ${1 + 1}", 'a "quoted" \\ label', "two\nlines\tand a tab", "Straßenbahn 猫"]
FAULTS = {
    "another_resize": ("(wanted + 0.5) * (given.toDouble() / size) - 0.5", "wanted * (given.toDouble() / size)"),
    "red_and_blue_swapped": ("at(3 * i + channel)", "at(3 * i + 2 - channel)"),
    "no_mean": (" - MEAN[channel]", " - 0 * MEAN[channel]"),
    "another_softmax": ("exp(it - highest)", "exp((it - highest) / 2)"),
}  # fmt: skip
FAILING = dict(zip(FAULTS, ("resize", "normalise", "normalise", "decode"), strict=True))


@dataclass
class Suite:
    """Modules by name, compiled in one go: starting the compiler takes longer than a module."""

    kit: kotlin_tools.Tools
    classes: Path
    modules: dict[str, Path]

    def states(self, name: str) -> dict[str, str]:
        return kotlin_tools.golden_test(self.kit, self.classes, self.modules[name])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The real models' files by name: EfficientNet-Lite0 and the three small networks."""
    found: dict[str, Path] = {}
    for name in ("classifier", "detector", "segmenter"):
        folder = converted(name, tmp_path_factory.mktemp(name))
        found |= {
            f"{name}_{scheme}": folder / f"{name}_{scheme}.tflite" for scheme in ("fp32", "int8")
        }
    folder = tmp_path_factory.mktemp("lite0")
    edgekit.convert(
        f"{REPOSITORY}/examples/efficientnet_lite0.py:build",
        config=REPOSITORY / "examples" / "efficientnet_lite0.toml",
        schemes=["fp32", "int8"],
        effort="fast",
        output=folder,
    )
    return found | {
        f"efficientnet_lite0_{s}": folder / f"efficientnet_lite0_{s}.tflite"
        for s in ("fp32", "int8")
    }


@pytest.fixture(scope="module")
def suite(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("android")
    kit = kotlin_tools.tools(folder)
    modules = {}
    for name, file, options in [*((n, files[n], {}) for n in REAL), *drawn(folder)]:
        result = edgekit.make_module(
            file,
            target="android",
            output=folder / name,
            name=name,
            samples=PHOTOS,
            golden=2,
            **options,
        )
        assert result.wrapper_lines < 300
        kotlin_tools.add_native_runner(result)
        modules[name] = result.output
    for fault, (right, wrong) in FAULTS.items():
        for scheme in ("fp32", "int8"):
            name = f"{fault}_{scheme}"
            module = kotlin_tools.renamed(modules[f"classifier_{scheme}"], folder / name)
            (source,) = (module / "src" / "main").rglob("Classifier*.kt")
            text = source.read_text(encoding="utf-8")
            assert right in text
            source.write_text(text.replace(right, wrong), encoding="utf-8")
            modules[name] = module
    classes = kotlin_tools.compiled(kit, list(modules.values()), folder, android=False)
    return Suite(kit, classes, modules)


def drawn(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """A net for each decoder, form of segmentation and resize, and one with difficult names."""
    table = str(anchors(folder / "anchors.npy", BOXES))
    for name, (shapes, decoder) in DECODERS.items():
        chosen = Decoder(
            **decoder,
            score_threshold=0.05,
            iou_threshold=0.4,
            anchors=table if name.endswith("anchors") else None,
        )
        yield (
            name,
            net_with(folder / f"{name}.tflite", shapes, task="detection", decoder=chosen),
            {},
        )
    for name, (shape, layout, last) in FORMS.items():
        net = net_with(
            folder / f"{name}.tflite",
            {"o": shape},
            task="segmentation",
            layouts={"o": layout},
            last=last,
        )
        yield name, net, {}
    net = net_with(folder / "values.tflite", {"o": (1, 5)}, task="regression")
    for interpolation, size in RESIZES:
        preprocess = {"resize": size, "crop": (SIZE, SIZE), "interpolation": interpolation}
        yield f"{interpolation}_{size}", net, {"preprocess": preprocess}
    net = net_with(folder / "gray.tflite", {"o": (1, 5)}, task="regression")
    plain = {"resize": None, "crop": (SIZE, SIZE), "scale": 1.0, "mean": (0.0,), "std": (1.0,)}
    yield "raw_pixels", net, {"preprocess": plain}
    evil = 'scores\nclass Evil /* "$evil" \\'
    yield (
        "labelled",
        net_with(folder / "labelled.tflite", {evil: (1, 4)}, task="classification", labels=LABELS),
        {},
    )


@pytest.mark.parametrize("name", REAL)
def test_every_stage_of_a_real_model_agrees(suite: Suite, name: str) -> None:
    wanted = {*STAGES, "locate"} if "detector" in name else set(STAGES)
    assert suite.states(name) == dict.fromkeys(wanted, "ok")


@pytest.mark.parametrize(
    "name",
    [*DECODERS, *FORMS, *(f"{way}_{size}" for way, size in RESIZES), "raw_pixels", "labelled"],
)
def test_every_decoder_form_and_resize(suite: Suite, name: str) -> None:
    assert set(suite.states(name).values()) == {"ok"}


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_at_its_stage_and_no_other(
    suite: Suite, fault: str, scheme: str
) -> None:
    states = suite.states(f"{fault}_{scheme}")
    stage = FAILING[fault]
    assert [test for test, state in states.items() if state != "ok"] == [stage]
    assert f"stage {stage}, sample 0" in states[stage]


def test_another_model_fails_at_inference(suite: Suite, tmp_path: Path) -> None:
    module = tmp_path / "classifier_int8"
    shutil.copytree(suite.modules["classifier_int8"], module)
    (model,) = (module / "src" / "main" / "assets").glob("*.tflite")
    data = bytearray(model.read_bytes())
    middle = len(data) // 2  # the weights of the dense layer
    data[middle : middle + 4000] = bytes(4000)
    model.write_bytes(data)
    states = kotlin_tools.golden_test(suite.kit, suite.classes, module)
    assert [test for test, state in states.items() if state != "ok"] == ["inference"]


def test_without_a_runner_inference_is_skipped(suite: Suite, tmp_path: Path) -> None:
    module = tmp_path / "classifier_int8"
    shutil.copytree(suite.modules["classifier_int8"], module)
    shutil.rmtree(module / "src" / "test" / "resources")
    states = kotlin_tools.golden_test(suite.kit, suite.classes, module)
    assert states.pop("inference").startswith("SKIP")
    assert set(states.values()) == {"ok"}


CHOICES = {
    "": ("CompiledModelRunner", ["CompiledModel [GPU, CPU] threads 3"]),
    "GPU": ("CompiledModelRunner", ["CompiledModel [GPU, CPU] threads 3", "CompiledModel [CPU] threads 3"]),
    "libGPU": ("CompiledModelRunner", ["CompiledModel [GPU, CPU] threads 3", "CompiledModel [CPU] threads 3"]),
    "GPU CPU": ("InterpreterRunner", ["CompiledModel [GPU, CPU] threads 3", "CompiledModel [CPU] threads 3"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def android(
    files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[kotlin_tools.Tools, Path, dict[str, Path]]:
    """All of the modules, with what needs Android; one has tensors that CompiledModel cannot take."""
    folder = tmp_path_factory.mktemp("stubs")
    kit = kotlin_tools.tools(folder)
    other = tmp_path_factory.mktemp("other")
    (other / "nets.py").write_text((files["classifier_fp32"].parent / "nets.py").read_text())
    edgekit.convert(
        f"{other / 'nets.py'}:classifier",
        config=files["classifier_fp32"].parent / "edgekit.toml",
        calibration=PHOTOS,
        schemes=["int8-uint8-io", "int16x8"],
        effort="fast",
        output=other,
        gates=[],
    )
    chosen = [files["detector_fp32"], files["classifier_int8"], *sorted(other.glob("*.tflite"))]
    assert len(chosen) == 4
    modules = {}
    for file in chosen:
        result = edgekit.make_module(
            file, target="android", output=folder / file.stem, samples=PHOTOS, golden=2
        )
        kotlin_tools.add_native_runner(result)
        snake = result.spec.names.snake
        check = (kotlin_tools.SOURCES / "AndroidCheck.kt").read_text().replace("PACKAGE", snake)
        (result.output / "src" / "test" / "kotlin" / "AndroidCheck.kt").write_text(check)
        modules[snake] = result.output
    return kit, kotlin_tools.compiled(kit, list(modules.values()), folder, android=True), modules


@pytest.mark.parametrize("missing", CHOICES)
def test_the_runner_is_the_first_that_the_device_has(android, missing: str) -> None:
    kit, classes, modules = android
    assets = modules["classifier_int8"] / "src" / "main" / "assets"
    main = "edgekit.classifier_int8.AndroidCheckKt"
    said = kotlin_tools.java(kit, classes, main, "GPU", missing=missing, assets=assets).splitlines()
    runner, tried = CHOICES[missing]
    assert f"runner {runner}" in said
    assert [line for line in said if line.startswith("CompiledModel")] == tried
    assert len([line for line in said if line.startswith("Log.w")]) == missing.count("PU")
    assert "rgb 1 2 3 -1 -2 -3" in said


def test_other_types_of_tensors_agree_and_16_bits_go_to_the_interpreter(android) -> None:
    kit, classes, modules = android
    for name, module in modules.items():
        assert set(kotlin_tools.golden_test(kit, classes, module).values()) == {"ok"}, name
    (wide,) = (name for name in modules if "int16" in name)
    assets = modules[wide] / "src" / "main" / "assets"
    said = kotlin_tools.java(kit, classes, f"edgekit.{wide}.AndroidCheckKt", "GPU", assets=assets)
    assert "runner InterpreterRunner" in said
    assert "CompiledModel" not in said
