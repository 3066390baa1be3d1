"""Average precision against pycocotools and by hand; decoders against what was encoded."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgekit.config import load_config
from edgekit.contract import Contract, Decoder, OutputContract, Preprocess, decoder_from_table
from edgekit.errors import DataError, UsageError
from edgekit.types import TensorSpec
from edgekit.validation.metrics import Batch, DetectionMetric, Settings, Tally
from edgekit.validation.metrics.boxes import Boxes, from_corners, overlaps, suppress, to_corners
from edgekit.validation.metrics.decode import boxes_to_input, decode
from edgekit.validation.metrics.detection import average_precision, by_class

READY = Decoder(format="boxes", box="xyxy", scores="scores", classes="classes", score_threshold=0.0)
NAMES = ("boxes", "scores", "classes")
SIZE = (400, 400)


def metric(**changes):
    return DetectionMetric(names=NAMES, main="boxes", decoder=READY, size=SIZE, **changes)


def outputs(pictures):
    """Pictures as lists of (box, score, class), padded to the same length with a score of -1."""
    longest = max(map(len, pictures), default=0)
    boxes = np.zeros((len(pictures), longest, 4))
    scores, classes = np.full((2, len(pictures), longest), -1.0)
    for place, found in enumerate(pictures):
        for index, (box, score, kind) in enumerate(found):
            boxes[place, index], scores[place, index], classes[place, index] = box, score, kind
    return [boxes, scores, classes]


def truth(objects):
    boxes = [box for box, *_ in objects]
    return Boxes(
        boxes=np.array(boxes, float).reshape(-1, 4),
        classes=np.array([one[1] for one in objects], int),
        crowd=np.array([len(one) > 2 for one in objects], bool),
    )


def run(reference, candidate, labels, draws=40):
    tally = Tally(metric())
    tally.update(
        Batch(
            index=range(len(labels)),
            reference=outputs(reference),
            candidate=outputs(candidate),
            labels=labels,
        )
    )
    return tally.result(Settings(draws=draws))


A, B, FAR = (10, 10, 50, 50), (100, 100, 180, 160), (300, 300, 340, 340)


def test_a_perfect_detector():
    found = run(
        [[(A, 0.9, 0), (B, 0.8, 1)]], [[(A, 0.9, 0), (B, 0.8, 1)]], [truth([(A, 0), (B, 1)])]
    )
    assert found.values["map_50_95"] == pytest.approx(1)
    assert found.values["map_drop"] == 0
    assert found.values["map_agreement"] == pytest.approx(1)
    assert found.intervals == {}  # one picture


def test_half_of_the_objects_found_by_hand():
    # One of two objects of a class is found: precision 1 up to recall 0.5, which is 51 of the 101
    # levels, and 0 after it.
    found = run([[(A, 0.9, 0)]], [[(A, 0.9, 0)]], [truth([(A, 0), (B, 0)])])
    assert found.values["map_50"] == pytest.approx(51 / 101)


def test_a_false_alarm_ahead_of_the_object_by_hand():
    found = run([[(A, 0.9, 0)]], [[(FAR, 0.95, 0), (A, 0.9, 0)]], [truth([(A, 0)])])
    assert found.values["map_50"] == pytest.approx(0.5)
    assert found.values["reference_map_50"] == pytest.approx(1)
    assert found.values["map_50_drop"] == pytest.approx(0.5)


def test_overlap_decides_at_how_many_thresholds_by_hand():
    # 40x40 against 40x32 of it: IoU 0.8, so 0.50 … 0.80 are met, 7 of 10 thresholds.
    found = run([[(A, 0.9, 0)]], [[((10, 10, 50, 42.0001), 0.9, 0)]], [truth([(A, 0)])])
    assert found.values["map_50_95"] == pytest.approx(0.7)
    assert found.values["map_50"] == pytest.approx(1)


def test_a_crowd_is_neither_found_nor_missed():
    labels = [truth([(A, 0), (B, 0, "crowd")])]
    found = run([[(A, 0.9, 0)]], [[(B, 0.95, 0), (A, 0.9, 0)]], labels)
    assert found.values["map_50"] == pytest.approx(1)


def random_set(rng, pictures=30, classes=4):
    found, labels = [], []
    for _ in range(pictures):
        low = rng.uniform(0, 300, (rng.integers(0, 7), 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 90, low.shape)], 1)
        kinds = rng.integers(0, classes, len(boxes))
        labels.append(
            truth(
                [
                    (box, kind, "crowd")[: 3 if rng.random() < 0.1 else 2]
                    for box, kind in zip(boxes, kinds, strict=True)
                ]
            )
        )
        near = boxes + rng.normal(0, 4, boxes.shape)
        extra = rng.uniform(0, 200, (rng.integers(0, 4), 2))
        alarms = np.concatenate([extra, extra + 50], 1)
        every = [(box, rng.random(), kind) for box, kind in zip(near, kinds, strict=True)]
        every += [(box, rng.random() * 0.8, rng.integers(0, classes)) for box in alarms]
        found.append(every)
    return found, labels


def cocoeval(found, labels, repeat=None):
    """pycocotools' own whole evaluation; ``repeat`` says how often each picture is there."""
    repeat = [1] * len(labels) if repeat is None else repeat
    images, truths, results = [], [], []
    for picture, often in enumerate(repeat):
        for _ in range(often):
            number = len(images)
            images.append({"id": number})
            for box, kind, crowd in zip(
                labels[picture].boxes, labels[picture].classes, labels[picture].crowd, strict=True
            ):
                x, y, w, h = from_corners(box[None], "xywh")[0]
                truths.append(
                    {
                        "id": len(truths) + 1,
                        "image_id": number,
                        "category_id": int(kind),
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": int(crowd),
                    }
                )
            for box, score, kind in found[picture]:
                x, y, w, h = from_corners(np.array(box)[None], "xywh")[0]
                results.append(
                    {
                        "image_id": number,
                        "category_id": int(kind),
                        "bbox": [x, y, w, h],
                        "score": score,
                    }
                )
    store = COCO()
    store.dataset = {
        "images": images,
        "annotations": truths,
        "categories": [{"id": k} for k in range(4)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        store.createIndex()
        evaluation = COCOeval(store, store.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(4))
def test_it_is_pycocotools_whole_evaluation(seed):
    found, labels = random_set(np.random.default_rng(seed))
    evaluation = cocoeval(found, labels)
    values = run(found, found, labels).values
    assert values["map_50_95"] == pytest.approx(evaluation.stats[0], abs=1e-12)
    assert values["map_50"] == pytest.approx(evaluation.stats[1], abs=1e-12)


def test_a_weight_is_so_many_copies_of_a_picture():
    found, labels = random_set(np.random.default_rng(9), pictures=12)
    rows = metric().measure(
        Batch(index=range(12), reference=outputs(found), candidate=outputs(found), labels=labels)
    )
    weights = np.array([2, 0, 1, 3, 1, 0, 0, 1, 2, 1, 1, 0])
    precision = average_precision(rows, "candidate", np.ones(12, bool))(weights[None].astype(float))
    wanted = cocoeval(found, labels, weights).eval["precision"][:, :, :, 0, 2].mean(axis=1)
    wanted[wanted < 0] = np.nan
    there = np.isfinite(precision[0]).any(axis=0)
    assert precision[0][:, there] == pytest.approx(wanted[:, np.isfinite(wanted[0])], abs=1e-12)


def test_intervals_and_classes():
    found, labels = random_set(np.random.default_rng(5), pictures=40)
    worse = [[(np.array(b) + 6, s, k) for b, s, k in one] for one in found]
    summary = run(found, worse, labels, draws=200)
    for name, interval in summary.intervals.items():
        assert interval.low <= summary.values[name] <= interval.high
    assert summary.intervals["map_drop"].low > 0
    by_hand = cocoeval(worse, labels).eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))
    classes = summary.details["candidate_ap_by_class"]
    assert [classes[k] for k in range(4)] == pytest.approx(list(by_hand))


def test_without_labels_the_reference_is_the_truth():
    reference = [[(A, 0.9, 0), (FAR, 0.1, 0)], [(B, 0.9, 1)]]
    candidate = [[(A, 0.8, 0)], []]
    summary = run(reference, candidate, [None, None])
    assert set(summary.values) == {"map_agreement", "map_50_agreement"}
    assert summary.values["map_agreement"] == pytest.approx(0.5)  # one of two classes


def test_nothing_to_find_and_nothing_found():
    assert run([[]], [[]], [truth([])]).values == {}
    rows = metric().measure(
        Batch(index=[0], reference=outputs([[]]), candidate=outputs([[]]), labels=[truth([])])
    )
    assert by_class(rows, "candidate", np.ones(1, bool)) == {}


# ------------------------------------------------------------------------- boxes


corners = hnp.arrays(np.float64, (5, 2), elements=st.floats(0, 300)).flatmap(
    lambda low: hnp.arrays(np.float64, (5, 2), elements=st.floats(1, 99)).map(
        lambda size: np.concatenate([low, low + size], 1)
    )
)


@given(corners, st.sampled_from(["xyxy", "yxyx", "xywh", "cxcywh"]))
def test_notations_round_trip(boxes, box):
    assert to_corners(from_corners(boxes, box), box) == pytest.approx(boxes)


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]], float)
    assert overlaps(boxes[0], boxes) == pytest.approx([1, 50 / 150, 0, 0])


@given(
    corners,
    st.lists(st.floats(0.01, 1), min_size=5, max_size=5, unique=True),
    st.lists(st.integers(0, 1), min_size=5, max_size=5),
    st.floats(0.1, 0.9),
)
def test_suppression_is_idempotent_and_complete(boxes, scores, classes, iou):
    scores, classes = np.array(scores), np.array(classes)
    kept = suppress(boxes, scores, classes, iou=iou, at_most=10)
    again = suppress(boxes[kept], scores[kept], classes[kept], iou=iou, at_most=10)
    assert again.tolist() == list(range(len(kept)))
    assert (np.diff(scores[kept]) <= 0).all()
    for gone in set(range(5)) - set(kept.tolist()):
        better = [k for k in kept if scores[k] > scores[gone] and classes[k] == classes[gone]]
        assert (overlaps(boxes[gone], boxes[better]) > iou).any()


def test_classes_do_not_suppress_each_other():
    boxes = np.array([A, A], float)
    kept = suppress(boxes, np.array([0.9, 0.8]), np.array([0, 1]), iou=0.5, at_most=10)
    assert kept.tolist() == [0, 1]
    assert suppress(boxes, np.array([0.9, 0.8]), np.array([0, 1]), iou=0.5, at_most=1).tolist() == [
        0
    ]


# ------------------------------------------------------------------------- decoders

TWO = np.array([[40, 60, 120, 100], [200, 210, 320, 300]], float)


def same(found, scores=(0.9, 0.7), classes=(2, 0)):
    assert found.boxes == pytest.approx(TWO, abs=1e-6)
    assert found.scores == pytest.approx(scores)
    assert found.classes.tolist() == list(classes)


def scored():
    return np.array([[0, 0, 0.9], [0.7, 0, 0]])


@pytest.mark.parametrize("normalized", [False, True])
def test_yolov8(normalized):
    size = (320, 640)
    boxes = from_corners(TWO, "cxcywh") / (np.array([640, 320, 640, 320]) if normalized else 1)
    output = np.concatenate([boxes, scored()], axis=1).T
    same(decode({"y": output}, "y", Decoder(format="yolov8", normalized=normalized), size))


def test_yolov5_multiplies_by_objectness():
    output = np.concatenate([from_corners(TWO, "cxcywh"), [[0.9], [0.7]], scored() > 0], axis=1)
    same(decode({"y": output}, "y", Decoder(format="yolov5"), SIZE))


def test_raw_grids_round_trip():
    """Boxes are encoded into the raw head by the inverse of the published formula."""
    anchors = ((60.0, 50.0), (100.0, 90.0))
    head = np.full((10, 10, 2, 8), -30.0)
    centre = (TWO[:, :2] + TWO[:, 2:]) / 2
    for index, ((x, y), (w, h)) in enumerate(zip(centre, TWO[:, 2:] - TWO[:, :2], strict=True)):
        column, row = int(x // 32), int(y // 32)
        wanted = np.array(
            [
                (x / 32 - column + 0.5) / 2,
                (y / 32 - row + 0.5) / 2,
                np.sqrt(w / anchors[index][0]) / 2,
                np.sqrt(h / anchors[index][1]) / 2,
            ]
        )
        head[row, column, index, :4] = np.log(wanted / (1 - wanted))
        head[row, column, index, 4] = np.log((0.9, 0.7)[index] / (0.1, 0.3)[index])
        head[row, column, index, 5 + (2, 0)[index]] = 30
    decoder = Decoder(format="yolo-grid", grid_anchors=(anchors,), score_threshold=0.1)
    same(decode({"y": head.reshape(10, 10, 16)}, "y", decoder, (320, 320)))
    same(decode({"y": head.transpose(2, 0, 1, 3)}, "y", decoder, (320, 320)))


def test_ssd_with_and_without_anchors():
    size = (400, 400)
    normal = from_corners(TWO, "yxyx") / 400
    with_background = np.concatenate([np.full((2, 1), 0.05), scored()], axis=1)
    plain = Decoder(format="ssd", scores="s", background=0, normalized=True, score_threshold=0.1)
    same(decode({"b": normal, "s": with_background}, "b", plain, size))
    anchors = np.array([[0.2, 0.2, 0.3, 0.2], [0.6, 0.7, 0.2, 0.3]])
    x, y, w, h = (from_corners(TWO, "cxcywh") / 400).T
    ax, ay, aw, ah = anchors.T
    offsets = np.stack(
        [(y - ay) / ah / 0.1, (x - ax) / aw / 0.1, np.log(h / ah) / 0.2, np.log(w / aw) / 0.2], 1
    )
    found = decode({"b": offsets, "s": with_background}, "b", plain, size, anchors=anchors)
    same(found)


def test_ready_boxes_count_and_order():
    decoder = Decoder(
        format="boxes", scores="s", classes="c", count="n", normalized=True, box="yxyx"
    )
    boxes = from_corners(np.concatenate([TWO[::-1], TWO[:1]]), "yxyx") / 400
    made = {"b": boxes, "c": np.array([0, 2, 1.0]), "s": np.array([0.7, 0.9, 0.99])}
    same(decode(made | {"n": np.array([2.0])}, "b", decoder, (400, 400)))


def test_activations():
    logit = np.array([[2.0, -1.0]])
    output = np.concatenate([from_corners(TWO[:1], "cxcywh"), logit], axis=1).T
    for activation, wanted in (
        ("sigmoid", 1 / (1 + np.exp(-2))),
        ("softmax", np.exp(2) / (np.exp(2) + np.exp(-1))),
    ):
        decoder = Decoder(format="yolov8", activation=activation)
        assert decode({"y": output}, "y", decoder, SIZE).scores[0] == pytest.approx(wanted)


def test_nan_boxes_are_no_detections():
    output = np.concatenate([from_corners(TWO, "cxcywh"), scored()], axis=1).T
    output[0, 0] = np.nan
    assert len(decode({"y": output}, "y", Decoder(format="yolov8"), SIZE).scores) == 1


def test_boxes_without_area_are_not_compared():
    """Such a box overlaps nothing, so a detector would not even agree with itself."""
    found = [[([10, 10, 50, 50], 0.9, 0), ([80, 80, 80, 90], 0.8, 1)]]
    assert run(found, found, [None]).values["map_agreement"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "place", "left"), [("b", (0, 0), 2), ("c", 0, 2), ("s", 0, 2), ("n", 0, 0)]
)
def test_ready_boxes_with_nan(name, place, left):
    decoder = Decoder(format="boxes", scores="s", classes="c", count="n", box="xyxy")
    made = {"b": np.concatenate([TWO, TWO[:1]]), "c": np.array([0, 2, 1.0])}
    made |= {"s": np.array([0.7, 0.9, 0.99]), "n": np.array([3.0])}
    made[name][place] = np.nan
    assert len(decode(made, "b", decoder, (400, 400)).scores) == left


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(DataError, match="yolov8 wants"):
        decode({"y": np.zeros((3, 3))}, "y", Decoder(format="yolov8"), SIZE)
    with pytest.raises(DataError, match="'s'"):
        decode({"y": np.zeros((3, 4))}, "y", Decoder(format="ssd", scores="s"), SIZE)
    with pytest.raises(DataError, match="grid_anchors"):
        decode({"y": np.zeros((3, 4))}, "y", Decoder(format="yolo-grid"), SIZE)


@given(corners)
@settings(max_examples=30)
def test_labels_move_as_the_picture_does(boxes):
    labels = Boxes(boxes=boxes, classes=np.arange(5), crowd=np.zeros(5, bool))
    stretched = boxes_to_input(labels, (400, 800), Preprocess(resize=(200, 200)), (200, 200))
    for box, kind in zip(stretched.boxes, stretched.classes, strict=True):
        assert box == pytest.approx(boxes[kind] * [0.25, 0.5, 0.25, 0.5])


def test_a_crop_moves_and_cuts_labels():
    labels = truth([((0, 0, 40, 40), 0), ((300, 100, 500, 300), 1), ((700, 0, 800, 50), 2)])
    preprocess = Preprocess(resize=200, crop=(100, 100))  # 400x800 → 200x400 → from (50, 150)
    found = boxes_to_input(labels, (400, 800), preprocess, (100, 100))
    assert found.classes.tolist() == [1]
    assert found.boxes[0] == pytest.approx([0, 0, 100, 100])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("place", ["centre", "end"])
def test_a_letterbox_gives_the_average_precision_of_the_original_picture(seed, place):
    """Detections in the model's pixels, against pycocotools on the pictures' own pixels."""
    preprocess = Preprocess(resize=SIZE, letterbox=True, pad_place=place)
    found, labels = random_set(np.random.default_rng(seed))
    picture, factor = (400, 640), 400 / 640
    top = 75 if place == "centre" else 0
    by_model = [
        [(np.array(box) * factor + [0, top, 0, top], score, kind) for box, score, kind in one]
        for one in found
    ]
    moved = [boxes_to_input(label, picture, preprocess, SIZE) for label in labels]
    values = run(by_model, by_model, moved).values
    evaluation = cocoeval(found, labels)
    assert values["map_50_95"] == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert values["map_50"] == pytest.approx(evaluation.stats[1], abs=1e-9)
    stretched = [boxes_to_input(label, picture, Preprocess(resize=SIZE), SIZE) for label in labels]
    assert run(by_model, by_model, stretched).values["map_50"] < evaluation.stats[1] / 2


# ------------------------------------------------------------------------- the contract


def test_a_decoder_is_read_from_a_table():
    table = {"format": "yolo-grid", "grid_anchors": [[[10, 13], [16, 30]]], "iou_threshold": 0.5}
    decoder = decoder_from_table(table)
    assert decoder.grid_anchors == (((10.0, 13.0), (16.0, 30.0)),)
    assert decoder.iou_threshold == 0.5


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"format": "yolov99"}, "one of"),
        ({}, "no format"),
        ({"format": "ssd"}, "needs scores"),
        ({"format": "boxes", "scores": "s"}, "needs classes"),
        ({"format": "yolov8", "iou_threshold": 2}, "within 0…1"),
        ({"format": "yolov8", "max_detections": 0}, "from 1"),
        ({"format": "yolov8", "stride": 8}, "unknown key"),
    ],
)
def test_a_decoder_that_makes_no_sense(table, words):
    with pytest.raises(UsageError, match=words):
        decoder_from_table(table)


def test_the_contract_keeps_a_decoder_and_the_configuration_finds_its_anchors(tmp_path):
    tensor = TensorSpec(name="y", shape=(1, 84, 2100))
    decoder = Decoder(format="yolov8", normalized=True, grid_anchors=(((1.0, 2.0),),))
    contract = Contract(outputs=(OutputContract(tensor=tensor, decoder=decoder),))
    assert Contract.from_json(contract.to_json()) == contract
    path = tmp_path / "edgekit.toml"
    path.write_text(
        '[outputs.boxes]\ndecoder = { format = "ssd", scores = "s", anchors = "anchors.npy" }\n'
    )
    table = load_config(path).outputs["boxes"]["decoder"]
    assert decoder_from_table(table).anchors == str(tmp_path / "anchors.npy")
    path.write_text('[outputs.boxes]\ndecoder = { format = "ssd" }\n')
    with pytest.raises(UsageError, match="needs scores"):
        load_config(path)


def test_a_table_is_what_boxes_scores_and_classes_are_apart():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 64, (30, 2, 2)), axis=1).reshape(30, 4)
    scores, classes = rng.uniform(0, 1, 30), rng.integers(0, 5, 30).astype(float)
    table = np.concatenate([corners, scores[:, None], classes[:, None]], axis=1)
    table[7, 3] = np.nan
    found = decode({"y": table}, "y", Decoder(format="table", score_threshold=0.2), (64, 64))
    apart = {"b": table[:, :4], "s": scores, "c": classes}
    decoder = Decoder(format="boxes", scores="s", classes="c", box="xyxy", score_threshold=0.2)
    wanted = decode(apart, "b", decoder, (64, 64))
    assert 0 < len(found.scores) < 30
    for name in ("boxes", "scores", "classes"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
    with pytest.raises(DataError, match="a box, its score and its class"):
        decode({"y": table[:, :5]}, "y", Decoder(format="table"), (64, 64))
