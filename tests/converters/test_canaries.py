"""Files of strangers: whatever is in them, nothing runs, and nothing is written outside.

The workers are bounded as in a conversion. The canary lies in a folder that they may not touch.
That such a file makes it where nothing holds it back is checked too, or this would prove nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError
from edgekit.toolchain.converters import discover
from edgekit.toolchain.workshop import Workshop
from edgekit.types import SilentProgress, SourceKind

torch = pytest.importorskip("torch")

import hostile  # noqa: E402

from edgekit.sources import recognise  # noqa: E402

pytestmark = pytest.mark.e2e

INPUTS = [{"name": "x", "shape": [2, 4], "dtype": "float32", "layout": None}]


@pytest.fixture(scope="module")
def torch_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One process for all files; they lie where it may read."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "models").mkdir()
    (folder / "work").mkdir()
    shop = Workshop(
        name="canaries",
        progress=SilentProgress(),
        work=folder / "work",
        read=(folder / "models",),
    )
    with shop:
        yield shop


@pytest.fixture
def models(torch_shop: Workshop) -> Path:
    return torch_shop.read[0]


def describe(shop: Workshop, path: Path, *, trust: bool = False) -> None:
    source = recognise(str(path), trust_pickle=trust)
    shop.call(
        discover()["torch"],
        "describe",
        {
            "source": {
                "location": source.location,
                "kind": source.kind,
                "weights": None,
                "trust_pickle": trust,
            },
            "inputs": INPUTS,
        },
        title="",
    )


@pytest.mark.parametrize("make", hostile.ARCHIVES, ids=lambda make: make.__name__)
def test_an_archive_runs_no_code(torch_shop: Workshop, models: Path, tmp_path: Path, make) -> None:
    canary = tmp_path / "canary"
    path = make(models, canary)
    with pytest.raises(EdgekitError) as caught:
        describe(torch_shop, path)
    assert path.name in caught.value.cause
    assert "any code" in caught.value.cause
    assert "--trust-pickle" in caught.value.cure
    assert not canary.exists()


def test_the_attacks_are_some(tmp_path: Path) -> None:
    """Held back by nothing, PyTorch's own loader makes the canaries."""
    makers = (
        hostile.sample_inputs,
        hostile.pickled_weight,
        hostile.opaque_constant,
        hostile.shape,
        hostile.of_before,
    )
    canaries = [tmp_path / make.__name__ for make in makers]
    paths = [str(make(tmp_path, canary)) for make, canary in zip(makers, canaries, strict=True)]
    code = """
import contextlib, sys, torch
for path in sys.argv[1:]:
    with contextlib.suppress(Exception):
        torch.export.load(path)
"""
    subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, check=True)
    assert [canary.name for canary in canaries if not canary.exists()] == []


def test_a_sound_archive_is_opened(torch_shop: Workshop, models: Path) -> None:
    describe(torch_shop, hostile.program(models))


def test_trust_lets_code_run_and_not_write_elsewhere(
    torch_shop: Workshop, models: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(EdgekitError) as caught:
        describe(torch_shop, hostile.opaque_constant(models, canary), trust=True)
    assert str(canary) in caught.value.cause, "it ran, and was stopped where it wrote"
    assert f"--allow-write {tmp_path}" in caught.value.cure
    assert not canary.exists()


@pytest.mark.parametrize(
    "make", [hostile.script_that_saves, hostile.script_that_reads], ids=lambda make: make.__name__
)
def test_torchscript_reaches_for_no_file(
    torch_shop: Workshop, models: Path, tmp_path: Path, make
) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(EdgekitError) as caught:
        describe(torch_shop, make(models, canary))
    assert "aten::" in caught.value.cause
    assert not canary.exists()


def test_a_pickle_is_not_opened(torch_shop: Workshop, models: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(EdgekitError) as caught:
        describe(torch_shop, hostile.whole_module(models, canary))
    assert "--trust-pickle" in caught.value.cure
    assert not canary.exists()


def test_a_kind_is_told_by_the_content(tmp_path: Path) -> None:
    kinds: dict[str, SourceKind] = {}
    for make in (hostile.another_ending, hostile.script_that_saves, hostile.whole_module):
        path = make(tmp_path, tmp_path / "canary")
        kinds[path.name] = recognise(str(path)).kind
    wanted = {"other.pt": "exported_program", "saves.pt": "torchscript", "whole.pt": "torch_pickle"}
    assert kinds == wanted
