"""A replay takes the kernels of the lock where the processor can, and says so where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgekit.provenance import kernels

NAME = "import edgekit.provenance.kernels as k; print(k.blas())"


def in_a_new_process() -> str:
    """What a worker that starts now would compute with."""
    done = subprocess.run([sys.executable, "-c", NAME], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)


@pytest.mark.skipif(not kernels.blas(), reason="NumPy has another BLAS here")
@pytest.mark.skipif(not kernels.runs_here("Haswell"), reason="a processor without AVX2")
def test_workers_get_the_kernels_and_afterwards_not_any_more():
    own = in_a_new_process()
    with kernels.with_blas("Haswell"):
        assert in_a_new_process() == kernels.in_use() == "Haswell"
    assert in_a_new_process() == own
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_kernels_that_the_processor_cannot_run_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(kernels, "vectors", lambda: ["avx", "avx2", "fma"])
    monkeypatch.setattr(kernels, "blas", lambda: "Haswell")
    for name in ("SkylakeX", "nobody's", "", "../../x"):
        with kernels.with_blas(name):
            assert "OPENBLAS_CORETYPE" not in os.environ
    assert kernels.runs_here("Zen")


def test_the_users_own_choice_comes_back(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setattr(kernels, "vectors", lambda: ["avx2", "fma"])
    monkeypatch.setattr(kernels, "blas", lambda: "Prescott")
    with kernels.with_blas("Haswell"):
        assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"
    assert os.environ["OPENBLAS_CORETYPE"] == "Prescott"
