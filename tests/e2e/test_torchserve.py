"""A model behind a real TorchServe as the reference.

It needs Java and an environment with torchserve 0.12.0, torch-model-archiver and PyTorch, whose
``bin`` folder EDGEKIT_TEST_TORCHSERVE names: gigabytes that CI does not install.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.errors import EdgekitError, ModelError
from edgekit.runners.http_reference import HttpReference
from edgekit.types import TensorSpec

PROGRAMS = os.environ.get("EDGEKIT_TEST_TORCHSERVE", "")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not PROGRAMS or shutil.which("java") is None,
        reason="EDGEKIT_TEST_TORCHSERVE names no folder with TorchServe, or there is no java",
    ),
]
HANDLER = Path(__file__).parent / "torchserve" / "handler.py"
INPUTS = (TensorSpec(name="image", shape=(1, 1, 8, 8)),)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()


@pytest.fixture(scope="module")
def address(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("torchserve")
    torch.jit.trace(net, torch.zeros(1, 1, 8, 8)).save(str(folder / "model.pt"))
    programs = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    programs["TMPDIR"] = str(folder)  # one server for each: a file there says that one runs
    subprocess.run(
        [f"{PROGRAMS}/torch-model-archiver", "--model-name", "digits", "--version", "1.0",
         "--serialized-file", folder / "model.pt", "--handler", HANDLER, "--export-path", folder],
        check=True, env=programs, cwd=folder,
    )  # fmt: skip
    names = ("inference_address", "management_address", "metrics_address")
    *http, first, second = free_ports(5)
    settings = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, http, strict=True)]
    settings += [f"grpc_inference_port={first}", f"grpc_management_port={second}"]
    settings += ["service_envelope=kservev2", "default_workers_per_model=1"]
    settings += ["disable_token_authorization=true"]
    (folder / "config.properties").write_text("\n".join(settings))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [f"{PROGRAMS}/torchserve", "--foreground", "--ncs", "--model-store", folder,
             "--models", "digits.mar", "--ts-config", folder / "config.properties"],
            env={**programs, "TS_OPEN_INFERENCE_PROTOCOL": "oip"},
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    found = f"http://127.0.0.1:{http[0]}"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not answers(found):
            time.sleep(0.5)
        yield found
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def answers(address: str) -> bool:
    """Whether the model's worker is loaded: the server is healthy before that."""
    try:
        HttpReference(f"{address}/v2/models/digits", inputs=INPUTS).describe()
    except EdgekitError:
        return False
    return True


def test_it_says_what_pytorch_says(address: str, net: torch.nn.Module) -> None:
    with urllib.request.urlopen(f"{address}/v2", timeout=5) as response:
        assert b"Torchserve" in response.read()
    pictures = np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32)
    with HttpReference(f"{address}/v2/models/digits", inputs=INPUTS) as reference:
        (found,) = reference.run([pictures])
    wanted = net(torch.from_numpy(pictures)).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_unknown_model_is_told(address: str) -> None:
    with pytest.raises(ModelError):
        HttpReference(f"{address}/v2/models/letters", inputs=INPUTS).describe()
