"""What TensorBoard reads from what was written for it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import validation_results as made

from edgekit.errors import SetupError
from edgekit.report.tensorboard import write_tensorboard

pytest.importorskip("tensorboard")
# With this module TensorBoard reads files by itself, instead of loading TensorFlow where it is.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path) -> object:
    events = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def test_scalars_histograms_and_pictures_come_back(tmp_path: Path) -> None:
    picture = tmp_path / "fox.jpg"
    cv2.imwrite(str(picture), np.full((300, 400, 3), 90, np.uint8))
    result = made.classifier(samples=200, pictures=[picture, None])
    files = write_tensorboard(result, tmp_path / "board")
    assert [path.parent.name for path in files] == [
        "reference", "fp32", "int8", "int8, no preparation", "int16x8",
    ]  # fmt: skip
    events = read(tmp_path / "board" / "int8")
    tags = events.Tags()

    def scalar(tag: str) -> float:
        (event,) = events.Scalars(tag)
        return float(event.value)

    one = result.candidates[1]
    assert one.timing is not None
    assert one.parity is not None
    assert scalar("task/top1_drop") == pytest.approx(0.004)
    assert scalar("task/top1_drop/high") == pytest.approx(0.007)
    assert scalar("metrics/sqnr_db") == pytest.approx(22.3)
    assert scalar("file/size_mb") == pytest.approx(4.93)
    assert scalar("verdict/passed") == 1
    times = np.array(one.timing.latency.samples_ms)
    assert scalar("latency/p90_ms") == pytest.approx(np.percentile(times, 90))

    assert set(tags["histograms"]) == {"latency_ms", "sqnr_db/logits"}
    (event,) = events.Histograms("sqnr_db/logits")
    values = np.array(one.parity.outputs[0].per_sample_sqnr_db)
    histogram = event.histogram_value
    assert (histogram.num, histogram.min, histogram.max) == (200, values.min(), values.max())
    assert histogram.sum == pytest.approx(values.sum())
    assert sum(histogram.bucket) == 200
    ends = np.array(histogram.bucket_limit)
    below = [(values <= end).sum() for end in ends[1:-1]]
    assert np.cumsum(histogram.bucket)[1:-1].tolist() == below

    assert tags["images"] == ["worst/01"]
    (shown,) = events.Images("worst/01")
    pixels = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (shown.height, shown.width, 3) == (192, 256, 3)
    assert abs(pixels.astype(int) - 90).max() <= 2
    assert "worst/01" in read(tmp_path / "board" / "fp32").Tags()["images"]

    reference = read(tmp_path / "board" / "reference")
    assert reference.Scalars("task/top1_accuracy")[0].value == pytest.approx(0.751)


def test_writing_again_replaces_only_what_is_ours(tmp_path: Path) -> None:
    result = made.single_sample()
    write_tensorboard(result, tmp_path)
    foreign = tmp_path / "int8" / "events.out.tfevents.1.training"
    foreign.write_bytes(b"")
    files = write_tensorboard(result, tmp_path)
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == sorted(
        [foreign.name, files[1].name]
    )
    foreign.unlink()
    assert len(read(tmp_path / "int8").Scalars("verdict/passed")) == 1


@pytest.mark.parametrize(
    "name", ["../../out", "/etc/passwd", "..", "a/b\\c", "\x00\udcff", "reference"]
)
def test_a_name_is_a_folder_inside_and_never_another_run(tmp_path: Path, name: str) -> None:
    base = made.single_sample()
    one = replace(base.candidates[0], name=name)
    files = write_tensorboard(replace(base, candidates=(one, one)), tmp_path / "board")
    assert len({path.parent for path in files}) == 3
    assert all(path.parent.parent == tmp_path / "board" for path in files)
    assert [path.name for path in tmp_path.iterdir()] == ["board"]


def test_a_candidate_that_failed_and_one_without_pictures(tmp_path: Path) -> None:
    result = replace(made.classifier(samples=3), candidates=(made.failed(),))
    write_tensorboard(result, tmp_path, pictures=False)
    events = read(tmp_path / "broken")
    assert events.Scalars("verdict/passed")[0].value == 0
    assert events.Tags()["images"] == []


def test_without_the_package_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SetupError) as caught:
        write_tensorboard(made.single_sample(), tmp_path)
    assert "edgekit-tflite[tensorboard]" in caught.value.cure


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        write_tensorboard(made.single_sample(), tmp_path / "file")
