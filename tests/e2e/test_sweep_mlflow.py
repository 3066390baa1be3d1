"""A sweep in a real MLflow server on this machine, read back by its REST interface."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import SetupError
from edgekit.sweep.points import Combination
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import SweepRow
from edgekit.sweep.tracking import log_to_mlflow

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # the nets of the unit tests
import validate_nets as nets

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/runs.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words],
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # processes for what nobody asks of it
        },
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        while True:  # however long it takes: it makes its tables first
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def ask(uri: str, path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def pairs(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in entries}


@pytest.fixture
def result(tmp_path: Path) -> SweepResult:
    (tmp_path / "made").mkdir()
    nets.classifier(tmp_path / "made" / "net.tflite", said=nets.contract())
    (tmp_path / "made" / "edgekit-report.json").write_text("{}")
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "report.html").write_text("<html></html>")
    rows = [
        SweepRow(
            point=Combination(model=name, size="", scheme="int8", effort="fast", on="local"),
            state=state,
            front=state == "pass",
            machine="A",
            metrics={"top1_accuracy": 0.75, "latency_p50_ms": 2.5},
            file="made/net.tflite",
            report="measured/report.html",
            sha256="ab" * 32,
        )
        for name, state in (("good", "pass"), ("bad", "fail"))
    ]
    waiting = SweepRow(point=rows[0].point, state="waiting")
    return SweepResult(folder=tmp_path, table=(*rows, waiting))


def test_runs_have_parameters_figures_files_and_a_signature(
    server: str, result: SweepResult
) -> None:
    assert log_to_mlflow(result, server, experiment="nets") == 2
    assert log_to_mlflow(result, server, experiment="nets") == 0
    found = ask(server, "experiments/get-by-name?experiment_name=nets")
    number = found["experiment"]["experiment_id"]
    runs = ask(server, "runs/search", experiment_ids=[number])["runs"]
    by_name = {run["info"]["run_name"]: run for run in runs}
    assert set(by_name) == {"good int8 fast on local", "bad int8 fast on local"}
    good = by_name["good int8 fast on local"]
    assert good["info"]["status"] == "FINISHED"
    assert by_name["bad int8 fast on local"]["info"]["status"] == "FAILED"
    assert pairs(good["data"]["metrics"]) == {"top1_accuracy": 0.75, "latency_p50_ms": 2.5}
    assert pairs(good["data"]["params"])["scheme"] == "int8"
    assert pairs(good["data"]["tags"])["front"] == "true"
    run = good["info"]["run_id"]
    files = ask(server, f"artifacts/list?run_id={run}&path=file")["files"]
    assert {one["path"] for one in files} == {"file/net.tflite", "file/edgekit-report.json"}
    wanted = f"{server}/get-artifact?run_id={run}&path=file/net.tflite"
    with urllib.request.urlopen(wanted, timeout=60) as answer:
        assert answer.read() == (result.folder / "made" / "net.tflite").read_bytes()
    wanted = f"{server}/get-artifact?run_id={run}&path=signature.json"
    with urllib.request.urlopen(wanted, timeout=60) as answer:
        (entry,) = json.loads(json.load(answer)["inputs"])
    assert entry["name"] == "image"
    assert entry["tensor-spec"]["dtype"] == "float32"


def test_a_server_that_is_not_there_is_told(result: SweepResult) -> None:
    with pytest.raises(SetupError, match="does not take the runs"):
        log_to_mlflow(result, "http://127.0.0.1:9")
