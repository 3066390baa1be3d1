"""The sweep file: mistakes are told before anything runs, with their place and the nearest word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.sweep.file import SweepFile, parsed_inputs, read_sweep, sweep_from_table
from edgekit.sweep.points import points


def table(**parts: Any) -> dict[str, Any]:
    return {"models": [{"name": "net", "model": "net.tflite"}], **parts}


def read(tmp_path: Path, **parts: Any) -> SweepFile:
    return sweep_from_table(table(**parts), tmp_path, "sweep.toml")


def test_what_is_shared_and_what_is_a_models_own(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        """
        [sweep]
        schemes = ["fp32", "int8"]
        efforts = ["fast", "balanced"]
        [settings]
        calibration = "photos"
        task = "classification"
        [[models]]
        model = "nets.py:build"
        [[models]]
        name = "other"
        model = "other.onnx"
        task = "embedding"
        """
    )
    (tmp_path / "nets.py").touch()
    sweep = read_sweep(tmp_path / "sweep.toml")
    first, other = sweep.models
    assert (first.name, first.location) == ("nets", f"{tmp_path / 'nets.py'}:build")
    assert first.settings == {"calibration": tmp_path / "photos", "task": "classification"}
    assert other.settings["task"] == "embedding"


def test_efforts_are_crossed_with_schemes_that_they_change(tmp_path: Path) -> None:
    sweep = read(tmp_path, sweep={"schemes": ["fp32", "int8"], "efforts": ["fast", "balanced"]})
    assert [point.name for point in points(sweep)] == [
        "net fp32",
        "net int8 fast",
        "net int8 balanced",
    ]


def test_include_and_exclude(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        models=[{"name": name, "model": "net.tflite"} for name in ("a", "b")],
        sweep={
            "schemes": ["fp32", "int8"],
            "runtimes": ["local", "tflite-runtime==2.14.0"],
            "exclude": [
                {"model": "b", "scheme": "int8"},
                {"on": "tflite-runtime==2.14.0", "model": ["a"]},
            ],
            "include": [{"model": "b", "scheme": "int16x8", "on": "local"}],
        },
    )
    found = [(point.model, point.scheme, point.on) for point in points(sweep)]
    assert found == [
        ("a", "fp32", "local"),
        ("a", "int8", "local"),
        ("b", "fp32", "local"),
        ("b", "fp32", "tflite-runtime==2.14.0"),
        ("b", "int16x8", "local"),
    ]


def test_devices_take_the_place_of_this_computer(tmp_path: Path) -> None:
    assert read(tmp_path, sweep={"devices": ["ssh://pi@board"]}).places == ("ssh://pi@board",)


def test_nothing_left_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No combination is left"):
        points(read(tmp_path, sweep={"exclude": [{"model": "net"}]}))


def test_one_typo_among_forty_models_is_named(tmp_path: Path) -> None:
    models = [{"name": f"net{n}", "model": "net.tflite", "weights": "w.pt"} for n in range(40)]
    models[26]["wieghts"] = models[26].pop("weights")
    with pytest.raises(UsageError) as caught:
        read(tmp_path, models=models)
    assert "number 27" in caught.value.cause
    assert "'net26'" in caught.value.cause or "(net26)" in caught.value.cause
    assert "'wieghts'" in caught.value.cause
    assert caught.value.cure == "Did you mean 'weights'?"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"sweeps": {}}, ["'sweeps'", "'sweep'"]),
        ({"sweep": {"scheme": ["int8"]}}, ["'scheme'", "'schemes'"]),
        ({"sweep": {"schemes": ["int9"]}}, ["schemes has 'int9'", "'int8'"]),
        ({"sweep": {"schemes": "int8"}}, ["must be a list of texts"]),
        ({"sweep": {"schemes": []}}, ["schemes is empty"]),
        ({"sweep": {"efforts": ["balance"]}}, ["'balance'", "'balanced'"]),
        ({"sweep": {"runtimes": ["tflite==2"]}}, ["not a runtime that edgekit knows"]),
        ({"sweep": {"devices": ["shh://pi"]}}, ["shh://pi"]),
        ({"sweep": {"exclude": [{"modle": "net"}]}}, ["exclude number 1", "'model'"]),
        ({"sweep": {"exclude": [{"model": "nett"}]}}, ["no model 'nett'", "'net'"]),
        ({"sweep": {"exclude": [{"scheme": "int16x8"}]}}, ["no scheme 'int16x8'"]),
        ({"settings": {"calibrations": "x"}}, ["'calibrations'", "'calibration'"]),
        ({"settings": {"samples": 0}}, ["samples is 0", "a number from 1"]),
        ({"settings": {"synthetic": "yes"}}, ["true or false"]),
        ({"settings": {"max_drop": "1%"}}, ["max_drop is '1%'", "such as 0.01"]),
        ({"settings": {"min_agreement": 98}}, ["min_agreement is 98", "a share from 0 to 1"]),
        ({"settings": {"max_latency": 0.5}}, ["max_latency is 0.5", "from 1"]),
        ({"search": {"keep": 0.5}}, ["no samples"]),
        ({"search": {"samples": [64, 32]}}, ["growing numbers"]),
        ({"search": {"samples": [8], "keep": 1.5}}, ["between 0 and 1"]),
        ({"models": []}, ["at least one"]),
        ({"models": [{"name": "x"}]}, ["number 1", "has no model"]),
        ({"models": [{"modle": "x.onnx"}]}, ["'modle'", "'model'"]),
        (
            {"models": [{"model": "a/net.onnx"}, {"model": "b/net.onnx"}]},
            ["number 2", "the name 'net'", "number 1"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, parts: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        points(read(tmp_path, **parts))
    said = f"{caught.value.cause} {caught.value.cure}"
    assert all(word in said for word in words), said


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, settings={"tsak": "x"}, models=[{"name": "a"}, {"model": "b", "labls": "l"}])
    assert caught.value.cause.startswith("3 things are wrong")
    assert all(word in caught.value.cause for word in ("tsak", "has no model", "labls"))


def test_a_missing_file_and_broken_toml_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no sweep file"):
        read_sweep(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[sweep\n")
    with pytest.raises(UsageError, match=r"bad\.toml"):
        read_sweep(tmp_path / "bad.toml")


def test_sizes_are_filled_in() -> None:
    (one,) = parsed_inputs({"inputs": ["image:1x3x{size}x{size}"]}, "224")
    assert one.shape == (1, 3, 224, 224)
    (one,) = parsed_inputs({"inputs": ["image:1x3x{height}x{width}"]}, "192x256")
    assert one.shape == (1, 3, 192, 256)
    with pytest.raises(UsageError, match="has no sizes"):
        parsed_inputs({"inputs": ["image:1x3x{size}x{size}"]}, "")


def test_the_sweep_in_the_documentation_is_six_models_four_schemes_two_runtimes(
    tmp_path: Path,
) -> None:
    """Its small sibling is run by `tests/e2e/test_docs.py`."""
    root = Path(__file__).parents[2]
    text = (root / "docs" / "sweep.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- file: sweep\.toml -->\n```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "sweep.toml").write_text(code)
    (tmp_path / "digits_nets.py").write_text((root / "examples" / "digits_nets.py").read_text())
    sweep = read_sweep(tmp_path / "sweep.toml")
    assert len(points(sweep)) == 6 * 4 * 2
    names = (tmp_path / "digits_nets.py").read_text().partition("NETWORKS = (")[2].partition(")")[0]
    assert [model.name for model in sweep.models] == names.split(", ")
    for model in sweep.models:
        assert model.location == f"{tmp_path / 'digits_nets.py'}:{model.name}"
        assert model.settings["weights"] == tmp_path / f"{model.name}.pt"


def test_devices_have_names_in_a_config_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text('[devices]\nboard = "exec:python3"\n')
    sweep = read(tmp_path, sweep={"devices": ["board", "local"]})
    assert [sweep.where(one) for one in sweep.places] == [("exec:python3", None), ("local", None)]
    assert {point.on for point in points(sweep)} == {"board", "local"}
    (tmp_path / "other.toml").write_text('[devices]\nbench = "exec:python3 -S"\n')
    sweep = read(tmp_path, sweep={"devices": ["bench"]}, settings={"config": "other.toml"})
    assert sweep.where("bench") == ("exec:python3 -S", None)
    with pytest.raises(UsageError, match="'borad' is not an address of a device") as caught:
        read(tmp_path, sweep={"devices": ["borad"]})
    assert "Did you mean 'board'?" in caught.value.cure
