"""``edgekit validate`` from end to end, on small nets whose figures are computed apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, jaccard_score

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import validate_nets as nets

import edgekit
from edgekit.contract import Contract, Decoder, OutputContract, Preprocess
from edgekit.errors import DataError, UsageError
from edgekit.tflite.model import read, write
from edgekit.types import TensorSpec

pytestmark = pytest.mark.e2e
CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    nets.pictures(tmp_path / "data", 40, CLASSES)
    return tmp_path / "data"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return nets.classifier(tmp_path / "reference.tflite", said=nets.contract(labels=CLASSES))


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    said = nets.contract(labels=CLASSES)
    return nets.classifier(tmp_path / "candidate.tflite", noise=0.1, said=said)


def cli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_figures_are_those_that_numpy_and_scikit_learn_compute(data, reference, candidate):
    result = edgekit.validate(
        candidate, reference=reference, data=data, latency=False, jobs=2, worst=3
    )

    files = sorted(data.rglob("*.png"))
    truth = [CLASSES.index(path.parent.name) for path in files]
    mine = np.array([nets.scores_of(reference, path) for path in files], np.float64)
    theirs = np.array([nets.scores_of(candidate, path) for path in files], np.float64)
    (one,) = result.candidates
    figures = {figure.name: figure for figure in one.figures}
    assert result.data.samples == result.data.labelled == 40
    assert figures["top1_accuracy"].value == accuracy_score(truth, theirs.argmax(1))
    assert figures["top1_accuracy"].reference == accuracy_score(truth, mine.argmax(1))
    agreement = accuracy_score(mine.argmax(1), theirs.argmax(1))
    assert one.metrics["top1_agreement"] == agreement < 1
    noise = ((mine - theirs) ** 2).sum(1)
    assert one.metrics["sqnr_db"] == pytest.approx(
        10 * np.log10((mine**2).sum() / noise.sum()), abs=1e-3
    )
    per_sample = 10 * np.log10((mine**2).sum(1) / noise)
    worst = [files[place] for place in np.argsort(per_sample)[:3]]
    assert [sample.path for sample in one.worst] == worst
    assert one.worst[0].sqnr_db == pytest.approx(per_sample.min(), abs=1e-3)
    assert one.worst[0].label == worst[0].parent.name
    assert one.worst[0].candidate.split()[0] in CLASSES
    right = (mine.argmax(1) == truth), (theirs.argmax(1) == truth)
    lost, won = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert one.details["mcnemar"]["only_reference"] == lost
    if lost + won:
        expected = binomtest(lost, lost + won).pvalue
        assert one.details["mcnemar"]["p_value"] == pytest.approx(expected)
    assert figures["top5_accuracy"].value == 1


def test_several_candidates_gates_and_reports(tmp_path, data, reference, candidate):
    same = nets.classifier(tmp_path / "same.tflite", said=nets.contract(labels=CLASSES))
    finished = cli(
        "validate",
        candidate,
        same,
        "--reference",
        reference,
        "--data",
        data,
        *("--gate", "top1_agreement >= 96%", "--gate", "latency_p90_ms <= 1000"),
        *("-o", tmp_path / "out", "--junit", tmp_path / "ci" / "gates.xml"),
        *("--markdown", tmp_path / "ci" / "gates.md"),
    )

    assert finished.returncode == 4, finished.stderr
    assert max(map(len, finished.stdout.splitlines()[:20])) <= 80
    assert "FAIL    candidate" in finished.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["schema"], report["passed"], report["complete"]) == (
        "edgekit-validation",
        False,
        True,
    )
    _, second = report["candidates"]
    assert second["metrics"]["top1_agreement"] == 1
    assert second["parity"]["outputs"][0]["sqnr_db"] == 200
    assert second["timing"]["latency"]["samples_ms"]
    assert second["timing"]["peak_memory_mb"] > 10
    assert "candidate" in (tmp_path / "out" / "report.html").read_text()
    suites = ET.parse(tmp_path / "ci" / "gates.xml").getroot()
    assert [suite.get("name") for suite in suites] == ["candidate", "same"]
    failed = [case.get("name") for case in suites[0] if case.find("failure") is not None]
    assert "top1_agreement >= 0.96" in failed
    assert "1 of 2 candidates passed" in (tmp_path / "ci" / "gates.md").read_text()


def test_without_labels_candidates_are_compared_with_the_reference(tmp_path, reference, candidate):
    nets.pictures(tmp_path / "plain", 20)
    result = edgekit.validate(
        candidate,
        reference=reference,
        data=tmp_path / "plain",
        latency=False,
        gates=["top1_agreement >= 0.1", "sqnr_db >= 1", "centred_sqnr_db >= 1"],
        strict=True,
    )

    (one,) = result.candidates
    gates = {result.gate.metric: result for result in one.verdict.gates}
    assert gates["top1_agreement"].state == "pass"
    assert gates["top1_drop"].state == "not measured"
    assert "no class folders" in gates["top1_drop"].why
    assert one.verdict.holds
    assert one.state(strict=True) == "fail"
    assert not result.passed


def test_labels_that_are_none_of_the_models_classes_are_refused(tmp_path, reference, candidate):
    nets.pictures(tmp_path / "other", 6, ("tiger", "lion", "wolf"))
    with pytest.raises(DataError, match="none of the model's"):
        edgekit.validate(candidate, reference=reference, data=tmp_path / "other", latency=False)


def test_an_output_order_that_differs_is_matched_and_told(tmp_path, data):
    said = nets.contract(labels=CLASSES)
    reference = nets.classifier(tmp_path / "reference.tflite", second=True, said=said)
    swapped = nets.classifier(tmp_path / "swapped.tflite", second=True, swap=True, said=said)
    result = edgekit.validate(
        swapped, reference=reference, data=data, latency=False, labels=_labels(tmp_path)
    )

    (one,) = result.candidates
    assert one.parity is not None
    assert [output.sqnr_db for output in one.parity.outputs] == [200, 200]
    assert any("output 1" in note for note in one.notes)


def _labels(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(CLASSES))
    return path


def test_shapes_that_differ_are_an_error_of_that_candidate_only(
    tmp_path, data, reference, candidate
):
    large = nets.classifier(
        tmp_path / "large.tflite", size=32, said=nets.contract(labels=CLASSES, size=32)
    )
    more = nets.classifier(
        tmp_path / "more.tflite", classes=7, said=nets.contract(labels=CLASSES, classes=7)
    )
    finished = cli(
        "validate",
        large,
        more,
        candidate,
        "--reference",
        reference,
        "--data",
        data,
        "--json",
        "--no-latency",
    )

    assert finished.returncode == 3
    report = json.loads(finished.stdout)
    errors = [one["error"] for one in report["candidates"]]
    assert "[1, 32, 32, 3]" in errors[0]
    assert "[1, 7]" in errors[1]
    assert errors[2] == ""
    assert report["candidates"][2]["metrics"]["top1_agreement"] > 0


def test_nan_outputs_are_counted_and_fail(tmp_path, data, reference):
    def spoil(net):
        bias = net.graph.operators[-1].inputs[2]
        values = bias.data().copy()
        values[1] = np.nan
        bias.set_data(values)

    broken = nets.classifier(
        tmp_path / "broken.tflite", change=spoil, said=nets.contract(labels=CLASSES)
    )
    result = edgekit.validate(broken, reference=reference, data=data, latency=False)

    (one,) = result.candidates
    assert one.metrics["nonfinite"] == 40
    gate = next(gate for gate in one.verdict.gates if gate.gate.metric == "nonfinite")
    assert gate.state == "fail"
    assert one.worst[0].candidate == "not a number"


def test_an_operator_that_the_runtime_does_not_know(tmp_path, data, reference, candidate):
    def invent(net):
        operator = net.graph.operators[-1]
        code = net.model.raw.operatorCodes[operator.raw.opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = 32
        code.customCode = b"MadeUp"

    unknown = nets.classifier(
        tmp_path / "unknown.tflite", change=invent, said=nets.contract(labels=CLASSES)
    )
    result = edgekit.validate(unknown, candidate, reference=reference, data=data, latency=False)

    assert "does not load" in result.candidates[0].error
    assert result.candidates[1].error == ""
    assert not result.passed


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("raise RuntimeError('gather index out of bounds')", "out of bounds"),
    ],
)
def test_a_candidate_that_ends_its_process_or_is_refused_does_not_end_the_others(
    tmp_path, data, reference, candidate, end, words
):
    """The metric's module makes the real process fail, in the middle of the data."""
    bad = nets.classifier(tmp_path / "bad.tflite", said=nets.contract(labels=CLASSES))
    (tmp_path / "deadly.py").write_text(
        "import ctypes\n"
        "from edgekit.pipeline.validation import engine\n"
        "run = engine.OpenCandidate.run\n"
        "count = 0\n"
        "def deadly(self, inputs):\n"
        "    global count\n"
        "    bad = self._job.path.endswith('bad.tflite')\n"
        "    count += bad\n"
        "    if bad and count == 7:\n"
        f"        {end}\n"
        "    return run(self, inputs)\n"
        "engine.OpenCandidate.run = deadly\n"
        "def score(reference, candidate, label):\n"
        "    return float(abs(reference[0] - candidate[0]).max())\n"
    )
    finished = cli(
        "validate",
        bad,
        candidate,
        "--reference",
        reference,
        "--data",
        data,
        "--no-latency",
        "--metric",
        tmp_path / "deadly.py:score",
        "--json",
        "--jobs",
        "1",
        "--gate",
        "score <= 100",
    )

    assert finished.returncode == 3, finished.stderr
    first, second = json.loads(finished.stdout)["candidates"]
    assert words in first["error"]
    assert ".png" in first["error"]
    assert second["error"] == ""
    figures = {figure["name"]: figure for figure in second["figures"]}
    assert figures["score"]["samples"] == 40
    assert figures["score"]["value"] > 0


def test_a_single_sample_has_no_interval(tmp_path, reference, candidate):
    nets.pictures(tmp_path / "one", 1, CLASSES[:1])
    result = edgekit.validate(
        candidate,
        reference=reference,
        data=tmp_path / "one",
        latency=False,
        gates=["top1_agreement >= 0 (lower)"],
    )

    (one,) = result.candidates
    assert all(figure.interval is None for figure in one.figures)
    gate = next(gate for gate in one.verdict.gates if gate.gate.bound)
    assert (gate.state, gate.why) == ("fail", "it has no interval")


def test_an_empty_folder(tmp_path, reference, candidate):
    (tmp_path / "empty").mkdir()
    finished = cli("validate", candidate, "--reference", reference, "--data", tmp_path / "empty")
    assert finished.returncode == 6
    assert "neither pictures nor" in finished.stderr


def test_other_preprocessing_in_one_of_the_files(tmp_path, data, reference, candidate):
    other = nets.classifier(
        tmp_path / "other.tflite",
        said=nets.contract(preprocess=Preprocess(resize=(16, 16), scale=1 / 255)),
    )
    with pytest.raises(UsageError, match="mean") as caught:
        edgekit.validate(candidate, other, reference=reference, data=data)
    assert "(0.5,)" in caught.value.cause


def test_unreadable_samples_are_named_and_few(tmp_path, data, reference, candidate):
    (data / "ant" / "cut.png").write_bytes(b"\x89PNG no picture")
    result = edgekit.validate(candidate, reference=reference, data=data, latency=False)
    assert result.data.skipped == ("ant/cut.png",)
    assert result.data.samples == 40
    for number in range(5):
        (data / "bee" / f"cut{number}.png").write_bytes(b"no")
    with pytest.raises(DataError, match="6 of 46"):
        edgekit.validate(candidate, reference=reference, data=data, latency=False)


def test_ctrl_c_keeps_what_was_done_and_resume_does_the_rest(tmp_path, home, reference, candidate):
    data, count = tmp_path / "many", 800
    nets.pictures(data, count, CLASSES)
    # Slow enough that Ctrl-C comes before the end, however busy the machine is.
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "def seconds(reference, candidate, label):\n"
        f"    print(1, file=open({str(tmp_path / 'calls')!r}, 'a'))\n"
        "    time.sleep(0.01)\n"
        "    return 0.01\n"
    )
    arguments = ["validate", candidate, "--reference", reference, "--data", data]
    arguments += ["--no-latency", "--jobs", "1", "-o", tmp_path / "out", "--json"]
    arguments += ["--metric", tmp_path / "slow.py:seconds", "--explain", "never"]
    arguments += ["--allow-write", tmp_path]  # for the calls
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list((home / "validations").glob("*/chunk-0000001.rows")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    report = json.loads(stdout)
    assert not report["complete"]
    assert 32 <= report["data"]["samples"] < count
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report

    resumed = cli(*arguments, "--resume", "--force")
    assert resumed.returncode in (0, 4, 8), resumed.stderr
    report = json.loads(resumed.stdout)
    assert report["complete"]
    assert report["data"]["samples"] == count
    calls = (tmp_path / "calls").read_text().split()
    assert count <= len(calls) <= count + 32  # what was begun when it stopped is done again
    assert not list(home.glob("validations/*"))  # a complete run leaves nothing


def test_what_is_finished_is_not_measured_again(tmp_path, home, data, reference, candidate):
    """The second run finds the rows of the first: outputs that were changed since stay unseen."""
    from edgekit.pipeline.validation import store

    kept = []
    remove = store.RunStore.remove
    try:
        store.RunStore.remove = lambda self: kept.append(self.folder)  # type: ignore[method-assign]
        first = edgekit.validate(candidate, reference=reference, data=data, latency=False)
    finally:
        store.RunStore.remove = remove  # type: ignore[method-assign]
    (folder,) = kept
    chunks = sorted(folder.glob("chunk-*.rows"))
    assert len(chunks) == 2
    columns, words = store.read_table(chunks[0])
    columns["0/metric/candidate_rank"] = np.zeros_like(columns["0/metric/candidate_rank"])
    store.write_table(chunks[0], columns, **words)
    chunks[1].unlink()
    second = edgekit.validate(candidate, reference=reference, data=data, latency=False, resume=True)
    assert second.data.samples == first.data.samples == 40
    # 32 samples are taken from the doctored rows, which say that all of them are right.
    assert second.candidates[0].metrics["top1_accuracy"] >= 32 / 40
    assert first.candidates[0].metrics["top1_accuracy"] < 32 / 40


def test_reference_outputs_are_kept_and_used_again(tmp_path, home, data, reference, candidate):
    first = edgekit.validate(candidate, reference=reference, data=data, latency=False)
    kept = sorted(home.glob("references/*/*.rows"))
    before = {path: path.read_bytes() for path in kept}
    assert before
    for path in kept:  # the cache is believed: another content shows that it was read
        columns_words = path.read_bytes()
        os.utime(path, (1, 1))
        assert columns_words
    second = edgekit.validate(candidate, reference=reference, data=data, latency=False)
    assert second.candidates[0].metrics == first.candidates[0].metrics
    chunks = [path for path in kept if path.stat().st_mtime > 1]
    assert len(chunks) >= 2  # used, hence touched
    assert {path: path.read_bytes() for path in home.glob("references/*/*.rows")} == before


def test_an_nchw_reference_from_onnx(tmp_path, data, candidate):
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 3)).astype(np.float32)
    image = helper.make_tensor_value_info("image", 1, [1, 3, 16, 16])
    scores = helper.make_tensor_value_info("scores", 1, [1, 5])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
            helper.make_node("Gemm", ["mean", "w"], ["scores"], transB=1),
        ],
        "means",
        [image],
        [scores],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "means.onnx")

    result = edgekit.validate(
        candidate,
        reference=tmp_path / "means.onnx",
        data=data,
        latency=False,
        labels=_labels(tmp_path),
    )
    (one,) = result.candidates
    assert one.error == ""
    files = sorted(data.rglob("*.png"))
    theirs = [nets.scores_of(candidate, path).argmax() for path in files]
    mine = [_means(path, weights).argmax() for path in files]
    assert one.metrics["top1_agreement"] == accuracy_score(mine, theirs)


def _means(picture: Path, weights: np.ndarray) -> np.ndarray:
    import cv2

    pixels = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    value = (cv2.resize(pixels, (16, 16)).astype(np.float32) / 255 - 0.5) / 0.25
    return value.mean((0, 1)) @ weights.T


def test_drift_of_an_int8_input(tmp_path):
    """The int8 file was calibrated on -1…1; what lies beyond is told, with its share."""
    import tflite_builder as tiny

    path = tmp_path / "int8.tflite"
    path.write_bytes(tiny.quantized_bytes("static_wi8_ai8"))
    (tmp_path / "float.tflite").write_bytes(tiny.tiny_bytes())
    stack = np.zeros((4, 8, 8, 3), np.float32)
    stack[0, :4] = 3.0
    np.savez(tmp_path / "data.npz", image=stack)
    result = edgekit.validate(
        path, reference=tmp_path / "float.tflite", data=tmp_path / "data.npz", latency=False
    )

    (one,) = result.candidates
    drift = next(one for one in one.drift if one.name == "image")
    assert one.scheme == "int8"
    assert drift.seen == (0.0, 3.0)
    assert drift.clipped == pytest.approx(0.125)
    assert 0.8 < drift.calibrated[1] < 1.2


def test_segmentation_against_masks(tmp_path):
    """Mean IoU of the pixels of all pictures, as scikit-learn computes it."""
    said = Contract(
        inputs=nets.contract().inputs,
        outputs=(
            OutputContract(
                tensor=TensorSpec(name="features", shape=(1, 4, 4, 4), layout="NHWC"),
                task="segmentation",
                labels=("sky", "sea", "sand", "sun"),
            ),
        ),
    )

    def plane(path: Path, noise: float) -> Path:
        def change(net):
            kernel = net.graph.operators[0].inputs[1]
            spread = np.random.default_rng(1).normal(0, noise, kernel.shape)
            kernel.set_data((kernel.data() + spread).astype(np.float32))

        nets.classifier(path, change=change, said=said)
        model = read(path)
        model.main.raw.outputs = [model.main.operators[0].outputs[0].index]
        model.raw.signatureDefs = []
        write(model, path)
        return path

    reference, candidate = plane(tmp_path / "a.tflite", 0), plane(tmp_path / "b.tflite", 0.2)
    pictures = nets.pictures(tmp_path / "voc" / "JPEGImages", 6)
    (tmp_path / "voc" / "SegmentationClass").mkdir()
    rng = np.random.default_rng(5)
    truth = []
    for path in pictures:
        pixels = cv2.imread(str(path)).shape[:2]
        mask = cv2.resize(
            rng.integers(0, 4, (4, 4)).astype(np.uint8),
            pixels[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
        cv2.imwrite(str(tmp_path / "voc" / "SegmentationClass" / path.name), mask)
        truth.append(cv2.resize(mask, (16, 16), interpolation=cv2.INTER_NEAREST))
    result = edgekit.validate(candidate, reference=reference, data=tmp_path / "voc", latency=False)

    (one,) = result.candidates
    assert one.error == ""
    theirs = [
        nets.scores_of(candidate, path).argmax(-1).repeat(4, 0).repeat(4, 1) for path in pictures
    ]
    assert result.data.labelled == 6
    assert one.metrics["miou"] == pytest.approx(
        jaccard_score(np.ravel(truth), np.ravel(theirs), average="macro")
    )
    assert "%" in one.worst[0].label


def test_detection_against_yolo_labels(tmp_path):
    """The same net finds the same boxes; the labels are read and measured on."""
    said = Contract(
        inputs=nets.contract().inputs,
        outputs=(
            OutputContract(
                tensor=TensorSpec(name="scores", shape=(1, 54)),
                task="detection",
                labels=CLASSES,
                decoder=Decoder(format="yolov8", activation="sigmoid"),
            ),
        ),
    )

    def shaped(path: Path) -> Path:
        def change(net):
            scores = net.graph.operators[-1].outputs[0]
            shape = net.constant("shape", np.array([1, 9, 6], np.int32))
            boxes = net.operator("RESHAPE", [scores, shape], "boxes", (1, 9, 6))
            scores.raw.name, boxes.raw.name = b"flat", b"scores"

        nets.classifier(path, classes=54, change=change, said=said)
        model = read(path)
        model.main.raw.outputs = [model.main.operators[-1].outputs[0].index]
        model.raw.signatureDefs = []
        write(model, path)
        return path

    reference, candidate = shaped(tmp_path / "a.tflite"), shaped(tmp_path / "b.tflite")
    nets.pictures(tmp_path / "yolo" / "images", 5)
    (tmp_path / "yolo" / "labels").mkdir()
    for path in sorted((tmp_path / "yolo" / "images").iterdir()):
        label = tmp_path / "yolo" / "labels" / f"{path.stem}.txt"
        label.write_text("1 0.5 0.5 0.4 0.4\n3 0.2 0.2 0.1 0.1\n")
    result = edgekit.validate(candidate, reference=reference, data=tmp_path / "yolo", latency=False)

    (one,) = result.candidates
    assert one.error == ""
    assert result.data.labelled == 5
    assert one.metrics["map_drop"] == 0
    assert one.worst[0].label == "1 × bee, 1 × dog"
    assert one.worst[0].candidate == one.worst[0].reference


def test_benchmark_times_and_measures(reference, candidate):
    finished = cli("benchmark", reference, candidate, "--json")
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    timing = document["timings"]["candidate"]
    assert len(timing["latency"]["samples_ms"]) == 60
    assert min(timing["latency"]["samples_ms"]) > 0
    # features: 4×4×4 floats, the input 16×16×3, the scores 5
    assert timing["arena_mb"] >= (64 + 768 + 5) * 4 / 1e6 * 0.99
    assert cli("benchmark", reference).returncode == 0
