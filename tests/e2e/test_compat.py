"""Real clients, each in its locked environment."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tflite_builder

pytestmark = pytest.mark.e2e

CLIENTS = "openvino,tflite-micro,tosa"


def test_other_runtimes_say_what_litert_says(tmp_path):
    """OpenVINO, TFLite Micro and TOSA's reference model on a float file."""
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(tflite_builder.tiny_bytes())
    data = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(data, image=rng.normal(size=(4, 8, 8, 3)).astype(np.float32))
    words = ["compat", str(plain), "--data", str(data), "--clients", CLIENTS]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *words, "--fresh", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["files"][0]["rows"]
    assert [(row["client"], row["state"]) for row in rows] == [
        ("litert", "baseline"),
        ("openvino", "agrees"),
        ("tflite-micro", "agrees"),
        ("tosa", "agrees"),
    ]
    assert all(row["outputs"][0]["largest"] < 0.01 for row in rows[1:])
    assert rows[1]["p50_ms"] > 0
    assert rows[2]["p50_ms"] is None
    assert rows[2]["versions"]["tflite-micro"]
    assert rows[2]["facts"]["arena_bytes"] > 8 * 8 * 3 * 4  # the input alone
