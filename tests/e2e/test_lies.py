"""The battery of planted lies: none passes, and every honest twin does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

pytestmark = pytest.mark.e2e


def test_no_lie_passes_and_every_honest_twin_does(tmp_path: Path) -> None:
    from lies import answers

    found = list(answers(tmp_path))
    assert sum(not one.honest for one in found) >= 60
    assert sum(one.honest for one in found) >= 30
    assert [f"{one.group}: {one.name}: {one.why}" for one in found if not one.as_it_should] == []


def test_convert_and_validate_say_the_same(tmp_path: Path) -> None:
    """The same file, data and reference: the same figures and the same verdict, gate by gate."""
    from lying.battery import Bench
    from lying.nets import Digits, train

    import edgekit

    digits = Digits.load()
    bench = Bench(tmp_path, digits, train(digits))
    source = bench.classifier()
    calibration = bench.data(digits.images[:64])
    data = bench.data(*digits.held_out(60))
    made = edgekit.convert(
        source,
        calibration=calibration,
        parity=data,
        schemes=["int8", "int8-float-io", "dynamic-int8"],
        effort="none",
        task="classification",
        output=tmp_path / "made",
    )
    asked = edgekit.validate(
        *(file.artifact.path for file in made.files),
        reference=source,
        data=data,
        latency=False,
        explain="never",
    )
    compared = [
        "centred_sqnr_db",
        "sqnr_db",
        "lost_share",
        "systematic_error",
        "top1_agreement",
        "top1_accuracy",
        "top1_drop",
        "max_abs",
    ]
    for file, one in zip(made.files, asked.candidates, strict=True):
        for metric in compared:
            assert file.metrics[metric] == pytest.approx(one.metrics[metric], abs=1e-6), metric
        theirs = {str(result.gate): result.state for result in one.verdict.gates}
        mine = {str(result.gate): result.state for result in file.verdict.gates}
        mine.pop("integer_share >= 1", None)  # a promise of the conversion, not of the file
        assert mine == theirs
        assert file.verdict.state == one.state()
        others = {each.name: each.interval for each in one.figures}
        for each in file.figures:  # a bootstrap draws by the samples' order, which differs
            assert each.interval is not None
            assert each.interval.low == pytest.approx(others[each.name].low, abs=2e-3)
            assert each.interval.high == pytest.approx(others[each.name].high, abs=2e-3)


def test_a_conversion_reads_texts_and_tells_the_file_how(tmp_path: Path) -> None:
    """The blank is found by what the model says; labels are texts; validation needs neither."""
    from lying.battery import Bench, lines
    from lying.nets import Digits, train

    import edgekit
    from edgekit.contract import SequenceDecoder
    from edgekit.tflite.metadata import read_contract

    digits = Digits.load()
    bench = Bench(tmp_path, digits, train(digits))
    source, pictures, texts = bench.line(), *lines(digits)
    characters = tmp_path / "characters.txt"
    characters.write_text("".join(f"{digit}\n" for digit in range(10)))
    data = bench.data(pictures[:60], texts[:60])
    made = edgekit.convert(
        source,
        calibration=bench.data(pictures[60:]),
        parity=data,
        schemes=["int8-float-io"],
        effort="none",
        task="sequence",
        labels=characters,
        output=tmp_path / "made",
    )
    (file,) = made.files
    entry = read_contract(file.artifact.path).outputs[0]
    assert entry.sequence == SequenceDecoder(format="ctc", blank=0)
    assert entry.labels == ("", *"0123456789")
    asked = edgekit.validate(
        file.artifact.path, reference=source, data=data, latency=False, explain="never"
    )
    for metric in ("text_agreement", "cer_to_reference", "text_accuracy", "cer"):
        assert file.metrics[metric] == pytest.approx(asked.candidates[0].metrics[metric]), metric
    assert file.metrics["text_accuracy"] > 0.6
