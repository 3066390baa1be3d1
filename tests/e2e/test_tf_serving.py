"""TensorFlow's own SavedModel behind TensorFlow Serving's REST API as the reference.

The server's binary is in no package registry, so the API is a small server of ours
(tests/e2e/tf_serving/server.py), written to its documentation; models, metadata and outputs are
TensorFlow's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ModelError, UsageError
from edgekit.runners.http_reference import HttpReference

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.e2e
SERVER = Path(__file__).parent / "tf_serving" / "server.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the models, and the folder with what TensorFlow says without a server."""
    folder = tmp_path_factory.mktemp("tf_serving")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(folder)], stdout=subprocess.PIPE, stderr=log
        )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().decode().strip()
        assert port, (folder / "log").read_text(errors="replace")[-2000:]
        yield f"http://127.0.0.1:{port}/v1/models", folder
    finally:
        server.kill()
        server.wait(30)


def test_it_says_what_the_saved_model_says(served: tuple[str, Path]) -> None:
    address, folder = served
    direct = np.load(folder / "direct.npz")
    for path in ("net:predict", "net/versions/1:predict"):
        with HttpReference(f"{address}/{path}") as reference:
            described = reference.describe()
            found = reference.run([direct["image"]])
        assert [one.shape for one in described.inputs] == [(None, 8, 8, 3)]
        assert [one.name for one in described.outputs] == ["features", "scores"]
        for spec, values in zip(described.outputs, found, strict=True):
            np.testing.assert_allclose(values, direct[spec.name], atol=1e-5)
    body = json.dumps({"instances": direct["image"].tolist()}).encode()
    request = urllib.request.Request(f"{address}/net:predict", body)
    with urllib.request.urlopen(request, timeout=30) as response:
        rows = json.load(response)["predictions"]
    scores = np.array([one["scores"] for one in rows])
    np.testing.assert_allclose(scores, direct["scores"], atol=1e-5)


def test_a_signature_of_another_name_is_taken_where_it_is_the_only_one(
    served: tuple[str, Path],
) -> None:
    address, _ = served
    with HttpReference(f"{address}/single:predict") as reference:
        assert [one.name for one in reference.describe().inputs] == ["vector"]
        (values,) = reference.run([np.eye(4, dtype=np.float32)])
    assert values.shape == (4, 5)
    assert values.std() > 0
    with pytest.raises(UsageError, match="classify, score"):
        HttpReference(f"{address}/several:predict").describe()


def test_what_it_refuses_is_told_in_its_words(served: tuple[str, Path]) -> None:
    with pytest.raises(ModelError, match="Servable not found"):
        HttpReference(f"{served[0]}/nothing:predict").describe()
