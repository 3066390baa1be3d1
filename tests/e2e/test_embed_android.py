"""`edgekit embed --target android`: the real compiler, JUnit, and LiteRT on the JVM; no Android.

What needs Android is compiled against declarations of the API classes that it uses
(`tests/e2e/kotlin/android_stubs`), and its choice of a runner is run on them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgekit
from edgekit.embed.render import app_of, load_target, render

from . import kotlin_tools
from .embed_cases import BOXED, DECODERS, FORMS, LABELS, PHOTOS, REAL, RESIZES, SEQUENCES, drawn
from .embed_models import converted

pytestmark = pytest.mark.e2e

TOLD = {"costs": (), "samples": 2, "samples_from": "photos", "version": "0"}
STAGES = ("resize", "normalise", "inference", "decode")
FAULTS = {
    "another_resize": ("(wanted + 0.5) * (given.toDouble() / size) - 0.5", "wanted * (given.toDouble() / size)"),  # noqa: E501
    "red_and_blue_swapped": ("at(3 * i + channel)", "at(3 * i + 2 - channel)"),
    "no_mean": (" - MEAN[channel]", " - 0 * MEAN[channel]"),
    "another_softmax": ("exp(it - highest)", "exp((it - highest) / 2)"),
}  # fmt: skip
# The int8 file takes raw pixels: there is no mean to forget.
SCHEMES = {fault: ("fp32",) if fault == "no_mean" else ("fp32", "int8") for fault in FAULTS}
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
def suite(embed_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("android")
    kit = kotlin_tools.tools(folder)
    modules = {}
    for name, file, options in [*((n, embed_files[n], {}) for n in REAL), *drawn(folder)]:
        result = edgekit.embed(
            file,
            target="android",
            output=folder / name,
            name=name,
            golden=2,
            **{"samples": PHOTOS, **options},
        )
        assert result.wrapper_lines < 300
        kotlin_tools.add_native_runner(result)
        modules[name] = result.output
    kotlin_tools.add_check(modules["labelled"], "LabelsCheck.kt")
    for fault, (right, wrong) in FAULTS.items():
        for scheme in SCHEMES[fault]:
            name = f"{fault}_{scheme}"
            module = kotlin_tools.renamed(modules[f"classifier_{scheme}"], folder / name)
            (source,) = (module / "src" / "main").rglob("Classifier*.kt")
            text = source.read_text(encoding="utf-8")
            assert right in text
            source.write_text(text.replace(right, wrong), encoding="utf-8")
            modules[name] = module
    classes = kotlin_tools.compiled(kit, list(modules.values()), folder, android=False)
    return Suite(kit, classes, modules)


@pytest.mark.parametrize("name", REAL)
def test_every_stage_of_a_real_model_agrees(suite: Suite, name: str) -> None:
    wanted = {*STAGES, "locate"} if "detector" in name else set(STAGES)
    assert suite.states(name) == dict.fromkeys(wanted, "ok")


@pytest.mark.parametrize(
    "name",
    [*DECODERS, *FORMS, *SEQUENCES, *RESIZES, *BOXED, "raw_pixels", "labelled"],
)
def test_every_decoder_form_and_resize(suite: Suite, name: str) -> None:
    assert set(suite.states(name).values()) == {"ok"}


def test_labels_are_what_they_were(suite: Suite) -> None:
    said = kotlin_tools.java(suite.kit, suite.classes, "edgekit.labelled.LabelsCheckKt")
    assert [bytes.fromhex(line).decode() for line in said.split()] == LABELS


@pytest.mark.parametrize(
    ("fault", "scheme"), [(fault, scheme) for fault in FAULTS for scheme in SCHEMES[fault]]
)
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


GPU = "CompiledModel [GPU, CPU] threads 3"
CPU = "CompiledModel [CPU] threads 3"
CHOICES = {
    "": ("CompiledModelRunner", [GPU]),
    "GPU": ("CompiledModelRunner", [GPU, CPU]),
    "libGPU": ("CompiledModelRunner", [GPU, CPU]),
    "GPU CPU": ("InterpreterRunner", [GPU, CPU]),
}


@pytest.fixture(scope="module")
def android(
    embed_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[kotlin_tools.Tools, Path, dict[str, Path]]:
    """Modules with what needs Android, and their apps; one has tensors without a CompiledModel."""
    folder = tmp_path_factory.mktemp("stubs")
    kit = kotlin_tools.tools(folder)
    classifier = converted("classifier")
    chosen = [
        embed_files["detector_fp32"],
        embed_files["classifier_int8"],
        embed_files["segmenter_fp32"],
        *(net for name, net, _ in drawn(folder) if name in ("argmax", "raw_pixels")),
        classifier / "classifier_int16x8.tflite",
        classifier / "classifier_int8_uint8_io.tflite",
    ]
    modules = {}
    for file in chosen:
        result = edgekit.embed(
            file, target="android", output=folder / file.stem, samples=PHOTOS, golden=2
        )
        kotlin_tools.add_native_runner(result)
        snake = result.spec.names.snake
        kotlin_tools.add_check(result.output, "AndroidCheck.kt")
        texts = render(app_of(load_target("android")), result.spec, file, **TOLD)
        (activity,) = (path for path in texts if path.endswith("MainActivity.kt"))
        (result.output / "MainActivity.kt").write_text(texts[activity], "utf-8")
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
