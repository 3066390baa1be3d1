"""``edgekit sensitivity``: refusals before any work, the table, the JSON and the page."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import tflite_builder as tiny

from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.closeness import EQUAL_DB
from edgekit.pipeline import sensitivity as pipeline
from edgekit.quantize.judge import Judgement
from edgekit.quantize.sensitivity import LayerSensitivity
from edgekit.report.sensitivity import SensitivityReport, to_html, to_json

EVIL = "<script>alert(1)</script>[bold]/a/very/long/name" * 3


def layer(place: int, name: str, db: float, share: float) -> LayerSensitivity:
    return LayerSensitivity(
        place=place,
        index=place + 3,
        operator="CONV_2D",
        name=name,
        tensor=f"tensor_{place}",
        members=(f"tensor_{place}",),
        macs=1000 * place,
        each=Judgement(output_db={"scores": db, "boxes": db + 5}, top1_agreement=0.75),
        prefix=Judgement(output_db={"scores": db - 1, "boxes": db}, top1_agreement=0.5),
        prefix_drop_db=None if place == 1 else 1.25,
        noise_share=share,
    )


@pytest.fixture
def report() -> SensitivityReport:
    layers = [layer(1, "stem", 30.0, 0.2), layer(2, EVIL, 20.0, 0.8), layer(3, "head", EQUAL_DB, 0)]
    layers.append(replace(layer(4, "odd", 1.0, 0), each=None, noise_share=None, problem="each: no"))
    return SensitivityReport(
        model="net.tflite",
        mode="both",
        effort="none",
        ranges="auto",
        data="photos",
        synthetic=False,
        calibration_samples=64,
        samples=16,
        whole=Judgement(output_db={"scores": 14.9}, top1_agreement=0.5),
        layers=tuple(layers),
        notes=("Input image: a note & more.",),
    )


class Page(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_holds_every_layer_and_loads_nothing(report: SensitivityReport) -> None:
    text = to_html(report)
    page = Page(text)
    for row in report.layers:
        assert row.name in page.texts  # as it is, whatever it holds
    assert "script" not in {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert [attrs["href"] for _, attrs in page.tags if "href" in attrs] == ["data:,"]
    assert not [attrs for _, attrs in page.tags if "src" in attrs]
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 100_000


def test_the_most_damaging_layer_is_first_and_its_bar_is_full(report: SensitivityReport) -> None:
    page = Page(to_html(report))
    bars = [attrs["style"] for _, attrs in page.tags if attrs.get("class") == "bar "]
    assert bars[:3] == ["width: 100.00%", "width: 25.00%", "width: 0.00%"]
    damaging = [text for text in page.texts if text in (EVIL, "stem", "head")][:3]
    assert damaging == [EVIL, "stem", "head"]
    assert bars[3:] == [f"width: {100 * db / 60:.2f}%" for db in (29, 19, 60, 0)]


def test_the_page_says_what_could_not_be_measured(report: SensitivityReport) -> None:
    page = Page(to_html(report))
    assert "Not measured: odd (CONV_2D), each: no" in page.texts
    assert "Input image: a note & more." in page.texts


def test_the_json_is_strict_and_holds_the_figures(report: SensitivityReport) -> None:
    document = json.loads(to_json(report), parse_constant=pytest.fail)
    assert document["schema"] == "edgekit-sensitivity"
    assert document["whole"] == {
        "worst_db": 14.9,
        "output_db": {"scores": 14.9},
        "top1_agreement": 0.5,
    }
    second = document["layers"][1]
    assert (second["each"]["worst_db"], second["noise_share"]) == (20.0, 0.8)
    assert second["prefix"]["output_db"] == {"scores": 19.0, "boxes": 20.0}
    assert document["layers"][3]["each"] is None


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch, report: SensitivityReport, tmp_path: Path) -> Path:
    """A float file whose analysis is the report."""
    monkeypatch.setattr(pipeline, "analyse", lambda request, **_: report)
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return path


def test_the_table_fits_80_columns_and_shows_names_as_they_are(answered: Path) -> None:
    result = CliRunner().invoke(group, ["sensitivity", str(answered)], catch_exceptions=False)
    assert result.exit_code == 0
    table = result.output.partition("In int8")[0]
    assert max(map(len, table.splitlines())) <= 80
    for text in ("80.0%", "20.0 dB", "-1.2", "exact", "[bold]"):
        assert text in table
    assert "14.9 dB, same top-1 50.0%" in result.output
    assert "net_sensitivity.html" in result.output


def test_json_is_all_that_is_printed(answered: Path) -> None:
    result = CliRunner().invoke(group, ["sensitivity", str(answered), "--json"])
    assert json.loads(result.stdout)["model"] == "net.tflite"


def error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = run(group, ["sensitivity", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)["error"]["cause"]


def test_what_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, data = tmp_path / "net.tflite", tmp_path / "photos"
    path.write_bytes(tiny.tiny_bytes())
    data.mkdir()
    given = [path, "--calibration", data]
    assert error(capsys, "net.onnx") == (2, "net.onnx is not a .tflite file.")
    assert error(capsys, path)[0] == 2  # no data
    Path("net_sensitivity.html").write_text("mine")
    assert error(capsys, *given) == (2, "net_sensitivity.html exists already.")
    assert error(capsys, *given, "-o", data) == (2, f"{data} is a folder.")
    assert error(capsys, *given, "-o", "no/where.html") == (5, "There is no folder no.")
    assert Path("net_sensitivity.html").read_text() == "mine"
