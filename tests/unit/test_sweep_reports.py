"""A sweep's page, tables and summary."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.sweep.page import to_page
from edgekit.sweep.points import Combination
from edgekit.sweep.reports import to_csv, to_json, to_markdown, write_reports
from edgekit.sweep.result import JobFailure, SweepResult
from edgekit.sweep.rows import SweepRow, with_front


def row(name: str, accuracy: float, latency: float, size: float = 1.0, **facts: Any) -> SweepRow:
    on = facts.pop("on", "local")
    given = {
        "point": Combination(model=name, size="", scheme="int8", effort="fast", on=on),
        "state": "pass",
        "machine": "A",
        "report": f"artifacts/ab/{name}/report.html",
        "metrics": {"top1_accuracy": accuracy, "latency_p50_ms": latency, "size_mb": size},
    }
    return SweepRow(**{**given, **facts})


def result(*rows: SweepRow, **facts: Any) -> SweepResult:
    return SweepResult(folder=Path("out"), table=with_front(rows), jobs=9, done=9, **facts)


SOME = (
    row("quick", 0.8, 1.0),
    row("right", 0.9, 4.0),
    row("worse", 0.7, 5.0, 2.0),
    row("wrong", 0.95, 0.5, state="fail", why=("top1_drop <= 1%, measured 0.2",)),
    row("there", 0.6, 50.0, on="ssh://pi"),
)


def links(page: str) -> list[str]:
    return re.findall(r'href="(artifacts/[^"]+)"', page)


def test_every_measured_combination_is_in_every_drawing_and_leads_to_its_report() -> None:
    page = to_page(result(*SOME))
    for one in SOME:  # two drawings of its place, and the table
        assert links(page).count(one.report) == 3
    assert page.count('<figure class="points">') == 4
    assert page.count('class="front"') == 2 * 3
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_rows_know_their_place_in_every_order() -> None:
    page = to_page(result(*SOME))
    places = re.findall(r'<tr role="row" style="([^"]+)"', page)
    assert len(places) == len(SOME)
    orders = [dict(re.findall(r"--o(\d):(\d+);", place)) for place in places]
    by_accuracy = sorted(range(5), key=lambda place: int(orders[place]["1"]))
    assert [SOME[place].point.model for place in by_accuracy] == [
        "wrong",
        "right",
        "quick",
        "worse",
        "there",
    ]
    names = re.findall(r'<label for="sort-\d">([^<]+)<', page)
    latency = str(names.index("latency p50"))
    by_latency = sorted(range(5), key=lambda place: int(orders[place][latency]))
    assert SOME[by_latency[0]].point.model == "wrong"
    assert SOME[by_latency[-1]].point.model == "there"


def test_names_are_never_markup() -> None:
    evil = "<img src=x onerror=alert(1)>|`a`"
    bad = result(
        row(evil, 0.5, 1.0), failures=(JobFailure(name=evil, ending="bug", reason=evil, tries=1),)
    )
    assert "<img" not in to_page(bad)
    assert "<img" not in to_markdown(bad).replace("\\<", "")
    assert "\\|\\`a\\`" in to_markdown(bad)


def test_a_formula_is_no_formula_in_a_spreadsheet() -> None:
    (line,) = csv.DictReader(io.StringIO(to_csv([row("=1+1", 0.5, 1.0)])))
    assert line["model"] == "'=1+1"
    assert float(line["top1_accuracy"]) == 0.5


def test_csv_has_a_line_for_each_and_a_column_for_every_figure() -> None:
    extra = replace(SOME[0], metrics={"map_50_95": 0.3})
    lines = list(csv.DictReader(io.StringIO(to_csv([*SOME, extra]))))
    assert len(lines) == 6
    assert lines[5]["map_50_95"] == "0.3"
    assert lines[0]["map_50_95"] == ""


def test_json_is_strict_and_versioned() -> None:
    told = result(row("quick", 0.8, 1.0), row("odd", float("nan"), 2.0))
    document = json.loads(to_json(told), parse_constant=pytest.fail)
    assert (document["schema"], document["schema_version"]) == ("edgekit-sweep", 1)
    assert document["rows"][1]["metrics"]["top1_accuracy"] is None
    assert document["rows"][0]["front"] is True


def test_the_summary_says_what_changed_and_compares_no_latency_of_two_machines() -> None:
    before = result(
        row("same", 0.8, 1.0),
        row("slower", 0.7, 1.0),
        row("noisy", 0.7, 1.0),
        row("moved", 0.7, 1.0, machine="B"),
        row("worse", 0.7, 1.0),
        row("gone", 0.7, 1.0),
    )
    now = result(
        row("same", 0.8, 1.0),
        row("slower", 0.7, 2.0),
        row("noisy", 0.7, 1.04),
        row("moved", 0.7, 9.0),
        row("worse", 0.6, 1.0, state="fail"),
        row("new", 0.5, 3.0),
    )
    text = to_markdown(now, before).partition("### Against the baseline")[2]
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    told = {
        (line[0].lstrip("| ").split()[0], line[1]): (line[2], line[3].rstrip(" |"))
        for line in lines
    }
    assert told[("slower", "latency p50")] == ("1 ms", "2 ms")
    assert told[("worse", "verdict")] == ("pass", "fail")
    assert told[("worse", "top-1 accuracy")] == ("70.0 %", "60.0 %")
    assert told[("gone", "combination")] == ("pass", "–")
    assert told[("new", "combination")] == ("–", "pass")
    assert not [what for name, what in told if name in ("same", "noisy")]
    assert ("moved", "latency p50") not in told
    assert "No change." in to_markdown(before, before)


def test_all_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    told = replace(result(*SOME), folder=tmp_path)
    written = write_reports(told)
    assert {path.name for path in written} >= {"sweep.html", "sweep.json", "sweep.csv", "sweep.md"}
    assert sorted(tmp_path.iterdir()) == sorted(written)
    first = {path: path.read_bytes() for path in written}
    write_reports(told)
    assert {path: path.read_bytes() for path in written if path.suffix != ".parquet"} == {
        path: text for path, text in first.items() if path.suffix != ".parquet"
    }


def test_parquet_has_what_the_csv_has(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    without = row("timed", 0.0, 2.0, metrics={"latency_p50_ms": 2.0})
    written = write_reports(replace(result(*SOME, without), folder=tmp_path))
    table = pandas.read_parquet(next(path for path in written if path.suffix == ".parquet"))
    told = pandas.read_csv(tmp_path / "sweep.csv", keep_default_na=False)
    assert list(table.columns) == list(told.columns)
    assert list(table["name"]) == list(told["name"])
    assert table["top1_accuracy"].isna().tolist() == [False] * len(SOME) + [True]
    assert table["latency_p50_ms"].tolist() == told["latency_p50_ms"].tolist()
    assert table["front"].dtype == bool
    assert table["why"].tolist() == told["why"].tolist()


def test_a_sweep_of_nothing_yet_has_a_page() -> None:
    waiting = SweepRow(point=SOME[0].point, state="waiting")
    page = to_page(result(waiting, complete=False))
    assert "Nothing was measured yet" in page
    assert "has not ended" in page


def test_one_point_alone_can_be_drawn() -> None:
    assert to_page(result(row("one", 0.0, 1.0, 0.0))).count("<circle") == 2


def test_tensorboard_shows_choices_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    from edgekit.sweep.reports import write_hparams

    waiting = SweepRow(point=replace(SOME[0].point, model="later"), state="waiting")
    files = write_hparams(result(*SOME, waiting), tmp_path)
    assert len(files) == len(SOME)
    events = EventAccumulator(str(files[1].parent))
    events.Reload()
    assert events.Scalars("metrics/top1_accuracy")[0].value == pytest.approx(0.9)
    told = events.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(told[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["model"].string_value == "right"
    assert start.hparams["on"].string_value == "local"
    assert start.hparams["effort"].string_value == "fast"
