"""Modules for phones without a compiler: names, strings, places of files."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import parse

import numpy as np
import pytest
from embed_nets import anchors, net_with
from validate_nets import pictures

import edgekit
from edgekit.contract import Decoder
from edgekit.embed import EmbedResult
from edgekit.embed.golden import read_golden
from edgekit.errors import UsageError

TARGETS = ("android", "ios", "flutter", "react-native")
GOLDEN = {
    "android": "src/sharedTest/resources/golden",
    "ios": "Tests/Resources/golden",
    "flutter": "test/golden",
    "react-native": "golden",
}
MODEL = {
    "android": "src/main/assets/net.tflite",
    "ios": "Sources/Resources/net.tflite",
    "flutter": "assets/net.tflite",
    "react-native": "model/net.tflite",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures(tmp_path / "photos", 3, size=40)
    return tmp_path / "photos"


def module(target: str, file: Path, photos: Path, output: str = "module", **options) -> EmbedResult:
    return edgekit.embed(
        file, target=target, output=file.parent / output, samples=photos, golden=1, **options
    )


def classifier(tmp_path: Path, output: str = "scores", labels: tuple[str, ...] = ()) -> Path:
    return net_with(
        tmp_path / "net.tflite",
        {output: (1, max(4, len(labels)))},
        task="classification",
        labels=labels,
    )


def code(result: EmbedResult) -> dict[str, str]:
    return {
        path: (result.output / path).read_text("utf-8")
        for path in result.files
        if path.endswith((".kt", ".kts", ".swift", ".dart", ".ts"))
    }


@pytest.mark.parametrize("target", TARGETS)
def test_model_and_golden_vectors_are_where_the_test_finds_them(tmp_path, photos, target):
    file = classifier(tmp_path)
    result = module(target, file, photos)
    assert (result.output / MODEL[target]).read_bytes() == file.read_bytes()
    assert ("result", 0) in read_golden(result.output / GOLDEN[target])
    assert "todo" not in (result.output / "README.md").read_text("utf-8").lower()


@pytest.mark.parametrize("target", ["android", "ios"])
def test_a_whole_app_has_the_module_in_a_folder(tmp_path, photos, target):
    file = classifier(tmp_path)
    result = module(target, file, photos, app=True, name="app")  # a name that the app itself has
    inside = result.output / "model-app"
    (model,) = inside.rglob("*.tflite")
    assert model.read_bytes() == file.read_bytes()
    assert ("result", 0) in read_golden(inside / GOLDEN[target])
    assert not list(result.output.glob("*.tflite"))
    assert "edgekit" in (result.output / "README.md").read_text("utf-8")
    for path in result.output.rglob("*.xml"):
        parse(path)
    text = "".join(code(result).values())
    assert ("class MainActivity" in text) == (target == "android")


def test_a_target_without_an_app_names_those_that_have_one(tmp_path, photos):
    with pytest.raises(UsageError, match="no app for the target micro") as error:
        module("micro", classifier(tmp_path), photos, app=True)
    assert error.value.cure.endswith("android, ios, web")


@pytest.mark.parametrize("target", TARGETS)
def test_a_second_run_writes_the_same_bytes(tmp_path, photos, target):
    file = classifier(tmp_path)
    first, second = (module(target, file, photos, name) for name in ("one", "two"))
    assert first.files == second.files
    for path in first.files:
        assert (first.output / path).read_bytes() == (second.output / path).read_bytes(), path


@pytest.mark.parametrize("target", TARGETS)
def test_a_name_in_the_file_cannot_become_code(tmp_path, photos, target):
    for evil in ("scores\nclass Evil {}", "scores\rclass Evil {}", "scores */ class Evil {} /*"):
        file = classifier(tmp_path, evil)
        result = module(target, file, photos, force=True)
        for path, text in code(result).items():
            for line in re.split(r"[\r\n]", text):
                assert "Evil" not in re.sub(r"/\*.*?\*/", "", line.split("//")[0]), (path, line)


@pytest.mark.parametrize(
    ("target", "path"),
    [("android", "src/main/kotlin/edgekit/net/Tables.kt"), ("flutter", "lib/src/tables.dart")],
)
def test_no_label_is_read_as_a_template(tmp_path, photos, target, path):
    labels = ("$x", "${1 + 1}", 'a "b" \\ c', "two\nlines")
    text = code(module(target, classifier(tmp_path, labels=labels), photos))[path]
    found = re.findall(r'^ +"(.*)",$', text, re.MULTILINE)
    assert found == [r"\$x", r"\${1 + 1}", r"a \"b\" \\ c", r"two\nlines"]


def test_many_labels_are_in_functions_that_the_jvm_takes(tmp_path, photos):
    labels = tuple(f"label {number}" for number in range(2500))
    result = module("android", classifier(tmp_path, labels=labels), photos)
    text = code(result)["src/main/kotlin/edgekit/net/Tables.kt"]
    assert re.findall(r"private fun (\w+)\(\)", text) == ["labels0", "labels1", "labels2"]
    assert text.count('    "label ') == 2500


@pytest.mark.parametrize("target", ["android", "ios"])
def test_anchors_are_written_in_full(tmp_path, photos, target):
    table = anchors(tmp_path / "anchors.npy", 9)
    file = net_with(
        tmp_path / "net.tflite",
        {"boxes": (1, 9, 4), "scores": (1, 9, 4)},
        task="detection",
        decoder=Decoder(format="ssd", scores="scores", anchors=str(table)),
    )
    texts = code(module(target, file, photos))
    (text,) = (text for path, text in texts.items() if "Tables" in path)
    rows = re.findall(r"^ +(-?[\d.e-]+ -?[\d.e-]+ -?[\d.e-]+ -?[\d.e-]+)$", text, re.MULTILINE)
    found = np.array([[float(word) for word in row.split()] for row in rows])
    assert np.array_equal(found, np.load(table))


@pytest.mark.parametrize(("target", "word"), [("android", "Accelerator.GPU"), ("ios", ".gpu")])
def test_delegate_and_threads_are_the_defaults_of_the_runner(tmp_path, photos, target, word):
    result = module(target, classifier(tmp_path), photos, delegate="gpu", threads=3)
    text = next(
        text for path, text in code(result).items() if path.endswith(("LiteRt.kt", "LiteRt.swift"))
    )
    assert f"= {word}" in text
    assert "threads: Int = 3" in text


def test_the_type_is_never_called_as_the_swift_module(tmp_path, photos):
    for name in ("net", "my model"):
        result = module("ios", classifier(tmp_path), photos, name=name, force=True)
        pascal = result.spec.names.pascal
        text = code(result)[f"Sources/{pascal}.swift"]
        assert f"public struct {pascal}Model {{" in text
