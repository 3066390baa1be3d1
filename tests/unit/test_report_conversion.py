"""The page of a conversion: complete, small, and safe whatever names come in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import validation_results as made
from test_report_validation import Reader
from tflite_builder import random_weights, tiny_net

from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.pipeline.page import _pixels
from edgekit.report.conversion import to_html
from edgekit.report.graph import GraphNode, draw_graph, grouped
from edgekit.report.thumbnails import encoded
from edgekit.results import (
    Advice,
    Attempt,
    ConversionResult,
    DataReport,
    FileResult,
    FrontPoint,
)
from edgekit.targets.reading import load
from edgekit.types import Artifact, ModelSource, TensorSpec
from edgekit.validation_result import AnswerBox, AnswerMask, SampleAnswer, WorstSample

EVIL = "</style><script>throw 1</script><img src=http://evil onerror=x>\x1b[31m\u202e"


def sample(name: str, db: float, **answers: SampleAnswer) -> WorstSample:
    said = {"reference_answer": SampleAnswer(), "candidate_answer": SampleAnswer(), **answers}
    return WorstSample(
        id=name, path=None, sqnr_db=db, label=EVIL, reference=EVIL, candidate="a cat", **said
    )


def result(worst: tuple[WorstSample, ...] = ()) -> ConversionResult:
    judged = made.classifier()
    files = tuple(
        FileResult(
            scheme=scheme,
            artifact=Artifact(
                path=Path(f"out/{EVIL}.tflite"),
                sha256="ab" * 32,
                kind="tflite",
                size_bytes=4_000_000,
            ),
            parity=one.parity,
            latency=one.timing.latency if one.timing else None,
            verdict=one.verdict,
            metrics={**one.metrics, "latency_p50_ms": 3.0 + place, "top1_accuracy": 0.75},
            figures=one.figures,
            worst=worst if scheme == "int8" else (),
        )
        for place, (scheme, one) in enumerate(
            zip(("fp32", "fp16", "int8"), judged.candidates, strict=False)
        )
    )
    return ConversionResult(
        source=ModelSource(location=EVIL, kind="onnx", name=EVIL),
        source_digest="cd" * 32,
        contract=Contract(
            outputs=(
                OutputContract(tensor=TensorSpec(name="y", shape=(1, 9)), task="classification"),
            )
        ),
        data=DataReport(
            path=EVIL,
            synthetic=False,
            seed=0,
            calibration_samples=8,
            calibration_digest="x",
            parity_samples=64,
            parity_digest="y",
        ),
        attempts=(Attempt(route="onnx2tf", path="onnx → tflite", state="used"),),
        files=files,
        steps=(),
        notes=(EVIL,),
        advice=(Advice(code="c", message=EVIL, warning=False),),
        front=tuple(
            FrontPoint(
                layers=(),
                db=db,
                slowdown=slow,
                predicted_db=db,
                predicted_slowdown=slow,
                chosen=slow > 1,
            )
            for db, slow in ((24.0, 1.0), (28.0, 1.2))
        ),
        output=Path("out"),
        report=Path("out/edgekit-report.json"),
        page=Path("out/edgekit-report.html"),
        seconds=2.0,
    )


def test_whatever_names_come_in_nothing_of_them_runs_or_is_loaded() -> None:
    classes = SampleAnswer(classes=((EVIL, 0.8), ("dog", 0.1)))
    page = to_html(
        result((sample(EVIL, 9.0, reference_answer=classes, candidate_answer=classes),)),
        pictures={EVIL: encoded(np.zeros((9, 9, 3), np.uint8))},
    )
    seen = Reader(page)
    assert not seen.all("script")
    assert {one["src"][:11] for one in seen.all("img")} == {"data:image/"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "2 of 3 files may ship" in seen.text
    for words in (
        "Accuracy against latency",
        "Worst samples",
        "Layers in more than 8 bits",
        "chosen",
    ):
        assert words in seen.text


def test_boxes_and_masks_of_both_are_drawn_over_one_picture() -> None:
    boxes = SampleAnswer(boxes=(AnswerBox(name=EVIL, score=0.9, place=(0.25, 0.5, 0.75, 1.0)),))
    mask = AnswerMask(height=2, width=2, runs="0*3 1*1", names={0: "road", 1: EVIL})
    pictures = {name: encoded(np.zeros((100, 200, 3), np.uint8)) for name in ("boxes", "mask")}
    page = Reader(
        to_html(
            result(
                (
                    sample("boxes", 9.0, reference_answer=boxes),
                    sample(
                        "mask",
                        10.0,
                        reference_answer=SampleAnswer(mask=mask),
                        candidate_answer=SampleAnswer(mask=mask),
                    ),
                )
            ),
            pictures=pictures,
        )
    )
    assert [one["href"] for one in page.all("use")] == ["#sample-1", "#sample-2"]
    (drawn,) = page.all("rect")
    assert [drawn[key] for key in ("x", "y", "width", "height")] == [
        "50.0",
        "50.0",
        "100.0",
        "50.0",
    ]
    assert sum("pixelated" in (one.get("style") or "") for one in page.all("image")) == 2


def test_24_pictures_stay_below_3_megabytes() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 256, 256, 3), np.uint8)
    worst = tuple(sample(str(place), place) for place in range(24))
    pictures = {str(place): encoded(pixels) for place, pixels in enumerate(noise)}
    files = result(worst)
    files = replace(
        files,
        files=tuple(
            replace(one, worst=worst[8 * n : 8 * n + 8]) for n, one in enumerate(files.files)
        ),
    )
    page = to_html(files, pictures=pictures)
    assert len(Reader(page).all("article")) == 24
    assert len(page.encode()) < 3_000_000


def test_without_pictures_samples_are_named_only() -> None:
    page = Reader(to_html(result((sample("0001.jpg", 9.0),))))
    assert not page.all("img")
    assert "0001.jpg" in page.text
    assert "Pictures were left out on request." in page.text


def node(place: int, name: str) -> GraphNode:
    return GraphNode(place=place, name=name, operator="ADD", tensor="", reads=(), integer=True)


def test_operators_are_grouped_by_module_or_by_place() -> None:
    names = [f"layer{n // 6}.{n // 3 % 2}.conv{n % 3}" for n in range(24)]
    groups = grouped([node(*one) for one in enumerate(names)])
    assert [group.name for group in groups] == [f"layer{n // 2}.{n % 2}" for n in range(8)]
    plain = grouped([node(place, f"tensor{place}") for place in range(45)])
    assert [len(group.nodes) for group in plain] == [20, 20, 5]


def test_the_graph_says_of_each_operator_what_is_known() -> None:
    model = tiny_net(random_weights())
    first = model.main.operators[0]
    first.outputs[0].raw.name = EVIL
    graph = draw_graph(model, EVIL, profiles=[load("edge-tpu")])
    assert [mode.title for mode in graph.modes] == ["edge-tpu", "integer or float"]
    assert [mode.of(graph.nodes[0]) for mode in graph.modes] == [0.0, 0.0]
    page = to_html(result(), graph=graph)
    seen = Reader(page)
    assert len(seen.all("script")) == 1  # our own: the search
    assert len([one for one in seen.all("li") if one.get("class") == "op"]) == len(graph.nodes)
    assert "throw 1</script>" not in page


@pytest.mark.parametrize(("color", "wanted"), [("RGB", (30, 20, 10)), ("BGR", (10, 20, 30))])
def test_the_picture_is_what_the_values_were_made_of(color, wanted) -> None:
    preprocess = Preprocess(color=color, scale=1 / 255, mean=(0.5,), std=(0.25,))
    entry = InputContract(
        tensor=TensorSpec(name="x", shape=(1, 3, 1, 1), layout="NCHW"), preprocess=preprocess
    )
    values = (np.array([10, 20, 30], np.float32).reshape(3, 1, 1) / 255 - 0.5) / 0.25
    assert tuple(_pixels(values, entry, as_stated=True)[0, 0]) == wanted
