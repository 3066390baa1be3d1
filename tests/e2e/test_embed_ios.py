"""`edgekit embed --target ios`: parsed, every name looked up. There is no Swift compiler here."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.embed.golden import read_golden
from edgekit.embed.render import app_of, load_target, render

from .embed_cases import BOXED, PHOTOS, drawn
from .runtime_envs import environment

pytestmark = pytest.mark.e2e

PARSER = ("tree-sitter==0.26.1", "tree-sitter-swift==0.7.4")

# What the wrappers use of Swift, Foundation, Core Graphics, XCTest, LiteRT and TensorFlowLiteSwift.
SWIFT = """
    $0 $1 Array ArraySlice Bool CustomStringConvertible Double Equatable Error Float Int Int8 Int16
    Int32 Int64 Self Set String Substring UInt8 UnsafeRawBufferPointer abs append ascii bindMemory
    clamping compactMap contains contentsOf count default down dropFirst element enumerated exp
    filter first flatMap hasPrefix in indices insert isEmpty isFinite isWhitespace key map max min
    offset prefix reduce remove repeating replaceSubrange rounded self separator sorted split start
    testable toNearestOrAwayFromZero toNearestOrEven up value whereSeparator with
    withExtendedLifetime withUnsafeBytes
"""
FOUNDATION = """
    Bundle Data Foundation SWIFT_PACKAGE appendingPathComponent cos encoding forResource main module
    ofType pi sin url withExtension
"""
GRAPHICS = """
    CGColorSpace CGContext CGImage CGImageAlphaInfo CGRect CoreGraphics bitmapInfo bitsPerComponent
    bytesPerRow draw noneSkipLast rawValue sRGB x y
"""
XCTEST = "XCTAssert XCTAssertEqual XCTFail XCTSkip XCTUnwrap XCTest XCTestCase"
LITERT = """
    Accelerator CompiledModel CpuOptions Environment LiteRT Options TensorBuffer addConcreteOptions
    createInputBuffers createOutputBuffers environment filePath inputs options outputs read run
    setHardwareAccelerators setNumThreads write
"""
INTERPRETER = """
    CoreMLDelegate Delegate Interpreter MetalDelegate TensorFlowLite TensorFlowLiteCCoreML
    TensorFlowLiteCMetal allocateTensors copy data delegates invoke modelPath output threadCount
    toInputAt
"""
KNOWN = {
    name for text in (SWIFT, FOUNDATION, GRAPHICS, XCTEST, LITERT, INTERPRETER)
    for name in text.split()
}  # fmt: skip


@pytest.fixture(scope="module")
def modules(
    embed_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, edgekit.embed.EmbedResult]:
    """A module for each real model, decoder, form of segmentation, resize and delegate."""
    folder = tmp_path_factory.mktemp("ios")
    jobs = [(name, file, {}) for name, file in embed_files.items()] + list(drawn(folder))
    jobs += [
        (f"{name}_npu", embed_files[name], {"delegate": "npu"})
        for name in ("detector_fp32", "detector_int8")
    ]
    return {
        name: edgekit.embed(
            file,
            target="ios",
            output=folder / name,
            name=name,
            golden=2,
            **{"samples": PHOTOS, **options},
        )
        for name, file, options in jobs
    }


@pytest.fixture(scope="module")
def parsed(modules) -> dict[str, dict[str, list[str]]]:
    """What the parser says of each module."""
    python = environment(*PARSER) / "python"
    script = Path(__file__).with_name("swift_names.py")
    folders = [str(result.output) for result in modules.values()]
    done = subprocess.run([python, script, *folders], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    return {name: said[str(result.output)] for name, result in modules.items()}


def test_every_file_is_swift(parsed) -> None:
    assert {name: said["errors"] for name, said in parsed.items() if said["errors"]} == {}


def test_every_app_is_swift_and_its_project_is_whole(modules, tmp_path: Path) -> None:
    """Nothing is looked up of UIKit and SwiftUI."""
    told = {"costs": (), "samples": 2, "samples_from": "photos", "version": "0"}
    projects = []
    for name, result in modules.items():
        for path, text in render(
            app_of(load_target("ios")), result.spec, Path("none"), **told
        ).items():
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, "utf-8")
            projects += [str(place)] if place.suffix == ".pbxproj" else []
    script = Path(__file__).with_name("swift_names.py")
    apps = [str(path) for path in tmp_path.glob("*/App")]
    words = [environment(*PARSER) / "python", script, *apps]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert {app: said["errors"] for app, said in json.loads(done.stdout).items()} == {
        app: [] for app in apps
    }
    words = [environment("openstep-plist==0.5.2") / "python", "-c", PROJECT, *projects]
    subprocess.run(words, check=True)


PROJECT = """
import sys
import openstep_plist

for path in sys.argv[1:]:
    project = openstep_plist.load(open(path))
    objects = project["objects"]
    used = {project["rootObject"]}
    for one in objects.values():
        for value in one.values():
            values = value if isinstance(value, list) else [value]
            used |= {one for one in values if str(one).startswith("ED00")}
    assert used == set(objects), path
"""


def test_the_parser_sees_errors(tmp_path: Path) -> None:
    (tmp_path / "wrong.swift").write_text("func one( -> Int { return 1 }\nlet two = three\n")
    script = Path(__file__).with_name("swift_names.py")
    words = [environment(*PARSER) / "python", script, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (said,) = json.loads(done.stdout).values()
    assert said["errors"]
    assert "three" in said["unknown"]


def test_every_name_is_declared_or_a_librarys(modules, parsed) -> None:
    for name, said in parsed.items():
        unknown = set(said["unknown"]) - KNOWN - {modules[name].spec.names.pascal}
        assert unknown == set(), name


def numbers(text: str) -> set[float]:
    """The numbers in code in Kotlin or Swift, without those in comments and strings."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    text = re.sub(r'"[^"\n]*"', "", text)
    return {float(word) for word in re.findall(r"(?<![\w.$])\d+(?:\.\d+)?(?:e-?\d+)?(?!x)", text)}


def test_every_number_is_the_one_that_kotlin_has(modules, tmp_path: Path) -> None:
    """Kotlin's stages are run by its tests; Swift's are the same with the same constants."""
    for name, file, options in drawn(tmp_path):
        result = edgekit.embed(
            file,
            target="android",
            output=tmp_path / name,
            name=name,
            **{"samples": PHOTOS, **options},
        )
        pascal, snake = result.spec.names.pascal, result.spec.names.snake
        kotlin = result.output / "src" / "main" / "kotlin" / "edgekit" / snake / f"{pascal}.kt"
        swift = modules[name].output / "Sources" / f"{pascal}.swift"
        wanted, found = numbers(kotlin.read_text("utf-8")), numbers(swift.read_text("utf-8"))
        # Kotlin clamps pixels to 255 where Swift clamps to UInt8; a range has its end in place of
        # its length.
        ends = {7.0} if name in ("yolov8", *BOXED) else set()
        assert wanted - {255.0} == found - {255.0} - ends, name


def test_wrappers_are_short(modules) -> None:
    lines = {name: result.wrapper_lines for name, result in modules.items()}
    assert max(lines[name] for name in lines if not name.endswith("_npu")) < 300, lines
    assert lines["detector_fp32_npu"] < 300


def test_core_ml_is_there_where_it_is_asked_for_and_can_be(modules) -> None:
    def text(name: str) -> str:
        return (modules[name].output / "Sources" / "LiteRt.swift").read_text("utf-8")

    assert "CoreMLDelegate" in text("detector_fp32_npu")
    # TensorFlowLiteSwift does not know int8 tensors.
    assert "CoreMLDelegate" not in text("detector_int8_npu")
    assert "no int8" in (modules["detector_int8_npu"].output / "README.md").read_text("utf-8")
    assert "CoreMLDelegate" not in text("detector_fp32")


def test_labels_are_escaped(modules) -> None:
    labels = (modules["labelled"].output / "Sources" / "Tables.swift").read_text("utf-8")
    assert r'"$x ${1 + 1}",' in labels
    assert r'"a \"quoted\" \\ label",' in labels
    assert r'"two\nlines\tand a tab",' in labels
    assert '"Straßenbahn 猫",' in labels


def test_the_golden_vectors_are_the_tests_resources(modules) -> None:
    for result in modules.values():
        golden = read_golden(result.output / "Tests" / "Resources" / "golden")
        assert {number for _, number in golden} == {0, 1}
        assert np.prod(golden["resized", 0].values.shape[:2]) > 0
        assert "Resources/golden" in (result.output / "Package.swift").read_text("utf-8")
        assert "was not compiled" in (result.output / "README.md").read_text("utf-8")
