"""The quantization engine as a worker.

Verbs: ``quantize``, ``keep_scales``, ``front``, ``sensitivity``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.quantize.engine import Engine
from edgekit.quantize.integer_ops.rewrites import Simplify
from edgekit.quantize.judge import Judge
from edgekit.quantize.kept_scales import state_scales, tables
from edgekit.quantize.mixed_precision import excepting, knee
from edgekit.quantize.observe import SampleFeed, laid_out
from edgekit.quantize.prepare import prepare
from edgekit.quantize.sensitivity import measure
from edgekit.tflite.model import read
from edgekit.tflite.passes import attempt
from edgekit_worker import WorkerError

_engines: dict[str, Engine] = {}
"""By what they were made from: the rungs of the ladder go on with what is known."""


def quantize(request: dict[str, Any], progress: Callable[[float, str], None]) -> dict[str, Any]:
    """See `edgekit.quantize.engine.Engine.write`; paths are strings, feeds are tables.

    ``kept`` has the operators that do not compute in 8 bits, as tables of ``members`` and
    ``precision``.
    """
    outputs = {scheme: Path(path) for scheme, path in request["outputs"].items()}
    keep = request.get("keep_prepared")
    try:
        outcome = _engine(request).write(
            outputs,
            effort=request.get("effort", "balanced"),
            method=request.get("ranges", "auto"),
            exceptions=excepting(
                (layer["members"], layer["precision"]) for layer in request.get("kept", ())
            ),
            keep_prepared=Path(keep) if keep else None,
            progress=progress,
        )
    except EdgekitError as error:
        raise WorkerError(error.cause, cure=error.cure, kind=error.kind) from error
    passes = [asdict(result) for result in outcome.passes]
    weights = [
        {one.name: getattr(result, one.name) for one in fields(result) if one.name != "model"}
        for result in outcome.weights
    ]
    mixed = {
        "tensors": [asdict(one) for one in outcome.mixed],
        "cut": outcome.cut,
        "joined": outcome.joined,
    }
    options = {"passes": passes, "weights": weights, "mixed_ranges": mixed}
    advice = [asdict(one) for one in outcome.advice]
    left = {scheme: [asdict(one) for one in kept] for scheme, kept in outcome.left.items()}
    return {
        "failures": outcome.failures,
        "advice": advice,
        "left": left,
        "gave_up": outcome.gave_up,
        "mixed_ranges": mixed,
        "options": options,
    }


def front(request: dict[str, Any], progress: Callable[[float, str], None]) -> dict[str, Any]:
    """See `edgekit.quantize.engine.Engine.front`.

    Returns the mixes under ``mixes``, and the place of the knee among them under ``knee``.
    """
    try:
        found = _engine(request).front(
            effort=request["effort"],
            method=request["ranges"],
            scheme=request["scheme"],
            progress=progress,
        )
    except EdgekitError as error:
        raise WorkerError(error.cause, cure=error.cure, kind=error.kind) from error
    return {
        "mixes": [asdict(mix) for mix in found],
        "knee": found.index(knee(found)) if found else None,
    }


def keep_scales(request: dict[str, Any], progress: Callable[[float, str], None]) -> dict[str, Any]:
    """See `edgekit.quantize.kept_scales.state_scales`.

    ``stored`` is what the source's worker answered to ``scales``; ``feeds`` its samples.
    """
    progress(0.1, "finding the source's tensors in the file")
    activations, weights = tables(request["stored"])
    kept = state_scales(
        Path(request["artifact"]),
        Path(request["output"]),
        activations,
        weights,
        _feeds(request["feeds"]),
    )
    return asdict(kept)


def _engine(request: dict[str, Any]) -> Engine:
    """The engine of a model and its samples; a session has one, made on the first request."""
    made_from = json.dumps([request[key] for key in ("artifact", "feeds", "work", "without")])
    if made_from not in _engines:
        _engines[made_from] = Engine(
            Path(request["artifact"]),
            _feeds(request["feeds"]),
            work=Path(request["work"]),
            parity=_feeds(request.get("parity", [])),
            without=request["without"],
        )
    return _engines[made_from]


def sensitivity(request: dict[str, Any], progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Prepare as `quantize` would, then see `edgekit.quantize.sensitivity.measure`.

    ``judged`` has the feeds to compare on. Returns the rows under ``layers``, and under ``whole``
    how good the file is with every layer in int8.
    """
    model = read(Path(request["artifact"]))
    attempt(Simplify(), model)
    share = 0.1 if request["effort"] == "none" else 0.3
    try:
        prepared = prepare(
            model,
            feeds=laid_out(_feeds(request["feeds"]), Path(request["work"])),
            effort=request["effort"],
            method=request["ranges"],
            progress=lambda fraction, message: progress(share * fraction, message),
        )
        judge = Judge(model, _feeds(request["judged"]))
        whole = judge.int8(prepared.model, prepared.ranges)
        layers = measure(
            prepared.model,
            prepared.ranges,
            judge,
            mode=request["mode"],
            progress=lambda fraction, message: progress(share + (1 - share) * fraction, message),
        )
    except EdgekitError as error:
        raise WorkerError(error.cause, cure=error.cure, kind=error.kind) from error
    return {"whole": asdict(whole), "layers": [asdict(layer) for layer in layers]}


def _feeds(tables: list[dict[str, Any]]) -> list[SampleFeed]:
    return [
        SampleFeed(
            stack=Path(table["path"]),
            shape=tuple(table["shape"]),
            permutation=tuple(table["permutation"]),
        )
        for table in tables
    ]
