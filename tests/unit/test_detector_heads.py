"""A detector's head recognised by its shapes: the lines that are told are lines that are read."""

from __future__ import annotations

import tomllib

import pytest

from edgekit.contract import Contract, OutputContract, decoder_from_table
from edgekit.errors import UsageError
from edgekit.measure.heads import recognise_head
from edgekit.measure.tasks import require_meaning
from edgekit.types import TensorSpec

SIZE = (640, 640)


def specs(**shapes: tuple[int, ...]) -> list[TensorSpec]:
    return [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()]


HEADS = {
    "YOLOv8": (specs(output0=(1, 84, 8400)), "output0", {"format": "yolov8"}),
    "YOLOv10": (specs(output0=(1, 300, 6)), "output0", {"format": "table"}),
    "YOLOv5": (specs(output0=(1, 25200, 85)), "output0", {"format": "yolov5"}),
    "YOLOX": (specs(output=(1, 8400, 85)), "output", {"format": "yolov5"}),
    "SSD": (
        specs(scores=(1, 3234, 91), boxes=(1, 3234, 4)),
        "boxes",
        {"format": "ssd", "scores": "scores"},
    ),
    "DETR": (
        specs(logits=(1, 100, 92), pred_boxes=(1, 100, 4)),
        "pred_boxes",
        {"format": "ssd", "scores": "logits", "background": 91, "normalized": True},
    ),
    "suppression": (
        specs(b=(1, 25, 4), s=(1, 25), c=(1, 25), n=(1,)),
        "b",
        {"format": "boxes", "scores": "s", "classes": "c", "count": "n"},
    ),
    "YOLO-NAS": (
        specs(boxes=(1, 8400, 4), scores=(1, 8400, 80)),
        "boxes",
        {"format": "ssd", "scores": "scores", "box": "xyxy", "background": None},
    ),
    "raw heads of YOLOv5": (
        specs(p3=(1, 80, 80, 255), p4=(1, 40, 40, 255), p5=(1, 20, 20, 255)),
        "p3",
        {"format": "yolo-grid"},
    ),
    "heads of YOLOv5": (
        specs(p3=(1, 3, 80, 80, 85), p4=(1, 3, 40, 40, 85), p5=(1, 3, 20, 20, 85)),
        "p3",
        {"format": "yolo-grid"},
    ),
    "raw heads": (
        specs(p3=(1, 255, 80, 80), p4=(1, 255, 40, 40), p5=(1, 255, 20, 20)),
        "p3",
        {"format": "yolo-grid"},
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_lines_for_a_common_head_are_valid(name: str) -> None:
    outputs, main, wanted = HEADS[name]
    head = recognise_head(outputs, SIZE)
    assert head is not None
    assert name in head.name
    table = tomllib.loads(head.lines)["outputs"][main]
    assert table["task"] == "detection"
    decoder = decoder_from_table(table["decoder"])
    assert {key: getattr(decoder, key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        (specs(hm=(1, 80, 128, 128), wh=(1, 2, 128, 128), reg=(1, 2, 128, 128)), "CenterNet"),
    ],
)
def test_heads_without_a_decoder_are_told_what_to_do_instead(
    outputs: list[TensorSpec], name: str
) -> None:
    head = recognise_head(outputs, SIZE)
    assert head is not None
    assert name in head.name
    assert (head.lines, bool(head.advice)) == ("", True)


def test_other_shapes_say_nothing() -> None:
    assert recognise_head(specs(scores=(1, 1000)), SIZE) is None
    assert recognise_head(specs(map=(1, 21, 64, 64)), SIZE) is None


def of(task, *outputs: tuple[int, ...]) -> Contract:
    entries = (
        OutputContract(tensor=TensorSpec(name=f"y{place}", shape=shape), task=task)
        for place, shape in enumerate(outputs)
    )
    return Contract(outputs=tuple(entries))


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (of("detection", (1, 84, 8400)), "boxes"),
        (of("keypoints", (1, 17, 384), (1, 17, 512)), "keypoints"),
        (of("keypoints", (1, 64, 64, 17, 2)), "keypoints"),
        (of("sequence", (1, 8, 8, 64)), "step and symbol"),
    ],
)
def test_what_a_task_needs_is_asked_for_before_anything_runs(contract, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        require_meaning(contract)
    assert caught.value.cure


def test_what_is_there_or_cannot_be_known_yet_is_not_asked_for() -> None:
    for task, shape in (
        ("keypoints", (1, 17, 64, 48)),
        ("keypoints", (1, 1, 17, 3)),
        ("sequence", (40, 1, 97)),
        ("sequence", (None, None, 97)),
        ("depth", (1, 1, 64, 64)),
        ("classification", (1, 10)),
        (None, (1, 84, 8400)),
    ):
        require_meaning(of(task, shape))
