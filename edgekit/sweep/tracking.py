"""A sweep in MLflow: a run for each combination, with parameters, figures, files and signature."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract
from edgekit.errors import SetupError
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import SweepRow
from edgekit.tflite.metadata import read_contract
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "edgekit"
_IDENTITY = "edgekit.combination"
_LONGEST = 500
_ENDED = {"pass": "FINISHED", "dropped": "KILLED"}


def log_to_mlflow(result: SweepResult, uri: str, *, experiment: str = EXPERIMENT) -> int:
    """Log all measured combinations to a tracking server; what is there already stays as it is.

    Args:
        result: the sweep.
        uri: of the server, or a folder, as MLflow takes it.
        experiment: its name; it is made where it is missing.

    Returns:
        How many runs are new.

    Raises:
        SetupError: MLflow is not installed, or the server does not take the runs.
    """
    # What an own server is told is nobody else's.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SetupError(
            "MLflow is not installed.", cure="pip install 'edgekit-tflite[mlflow]'"
        ) from error
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else client.create_experiment(experiment)
        there = _there(client, number)
        new = [row for row in result.table if row.metrics and _identity(row) not in there]
        for row in new:
            _log(client, number, row, result.folder)
    except (MlflowException, OSError) as error:
        raise SetupError(
            f"{uri} does not take the runs: {str(error)[:_LONGEST]}", cure="Check the address."
        ) from error
    return len(new)


def _identity(row: SweepRow) -> str:
    """Of a combination with its results: measured again on another machine it is another."""
    told = json.dumps([row.name, row.sha256, row.machine, row.state, dict(row.metrics)])
    return hashlib.sha256(told.encode()).hexdigest()


def _there(client: MlflowClient, experiment: str) -> set[str]:
    found: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found |= {run.data.tags.get(_IDENTITY, "") for run in page}
        token = page.token
        if not token:
            return found


def _log(client: MlflowClient, experiment: str, row: SweepRow, folder: Path) -> None:
    from mlflow.entities import Metric, Param

    tags = {
        "state": row.state,
        "front": str(row.front).lower(),
        "machine": row.machine,
        "sha256": row.sha256,
        "why": "; ".join(row.why)[:_LONGEST],
    }
    run = client.create_run(experiment, run_name=row.name, tags=tags).info.run_id
    now = int(time.time() * 1000)
    figures = [Metric(k, v, now, 0) for k, v in row.metrics.items() if math.isfinite(v)]
    client.log_batch(
        run, figures, [Param(key, str(value)) for key, value in vars(row.point).items()]
    )
    made = folder / row.file
    for path in sorted(made.parent.iterdir()):
        client.log_artifact(run, str(path), "file")
    if row.report and (folder / row.report).parent != made.parent:
        client.log_artifact(run, str(folder / row.report), "report")
    if (contract := read_contract(made)) is not None:
        client.log_dict(run, _signature(contract), "signature.json")
    # Last, so that a run that was interrupted is logged anew.
    client.set_tag(run, _IDENTITY, _identity(row))
    client.set_terminated(run, _ENDED.get(row.state, "FAILED"))


def _signature(contract: Contract) -> dict[str, Any]:
    """What the file takes and gives, in MLflow's own form."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    made: dict[str, Any] = ModelSignature(
        inputs=Schema([_spec(one.tensor) for one in contract.inputs]),
        outputs=Schema([_spec(one.tensor) for one in contract.outputs]),
    ).to_dict()
    return made


def _spec(tensor: TensorSpec) -> Any:
    import numpy as np
    from mlflow.types import TensorSpec as Spec

    shape = tuple(-1 if one is None else one for one in tensor.shape)
    return Spec(np.dtype(tensor.dtype), shape, tensor.name)
