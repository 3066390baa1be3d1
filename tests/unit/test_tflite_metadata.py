"""The contract inside the file: replaced, read back, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.errors import ModelError
from edgekit.tflite.metadata import CONTRACT_ENTRY, embed_contract, read_contract
from edgekit.tflite.model import Model, read, write
from edgekit.types import TensorSpec

RECIPES = [None, "static_wi8_ai8", "dynamic_wi8_afp32"]


def contract_with(labels: tuple[str, ...] = ("cat", "dog")) -> Contract:
    return Contract(
        inputs=(
            InputContract(
                tensor=TensorSpec(name="image", shape=tiny.IMAGE, layout="NHWC"),
                preprocess=Preprocess(resize=8, scale=1 / 255, mean=(0.5,), std=(0.5,)),
                assumed=("nothing",),
            ),
        ),
        outputs=(
            OutputContract(
                tensor=TensorSpec(name="scores", shape=(1, tiny.CLASSES)),
                task="classification",
                labels=labels,
            ),
        ),
    )


def write_net(path: Path, recipe: str | None = None) -> Path:
    path.write_bytes(tiny.quantized_bytes(recipe) if recipe else tiny.tiny_bytes())
    return path


def everything_but_metadata(model: Model) -> list[object]:
    graph = model.main
    return [
        model.description,
        [(op.name, op.version, vars(op.raw.builtinOptions)) for op in graph.operators],
        [(op.raw.inputs, op.raw.outputs) for op in graph.operators],
        [
            (t.name, t.shape, t.shape_signature, t.dtype, t.quantization, t.buffer)
            for t in graph.tensors
        ],
        [t.data().tobytes() for t in graph.tensors if t.is_constant],
        (graph.raw.inputs, graph.raw.outputs),
        [(s.signatureKey, s.inputs[0].name) for s in model.raw.signatureDefs],
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_comes_back_and_the_model_is_the_same(tmp_path: Path, recipe: str | None) -> None:
    before, after = write_net(tmp_path / "in.tflite", recipe), tmp_path / "out.tflite"
    assert read_contract(before) is None
    embed_contract(before, after, contract_with())
    assert read_contract(after) == contract_with()
    assert everything_but_metadata(read(after)) == everything_but_metadata(read(before))
    image = tiny.random_image(5)
    if recipe == "static_wi8_ai8":
        image = np.round(image * 127).astype(np.int8)
    np.testing.assert_array_equal(tiny.invoke(after, image), tiny.invoke(before, image))


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=st.lists(st.lists(st.text(max_size=20), max_size=50).map(tuple), min_size=1, max_size=4),
    notes=st.dictionaries(st.text(min_size=1, max_size=10), st.binary(max_size=50), max_size=3),
)
def test_embedding_again_and_again_in_place(
    tmp_path: Path, labels: list[tuple[str, ...]], notes: dict[str, bytes]
) -> None:
    notes.pop(CONTRACT_ENTRY, None)
    path = write_net(tmp_path / "net.tflite")
    model = read(path)
    for name, value in notes.items():
        model.set_metadata(name, value)
    write(model, path)
    before = read(path)
    for entry in labels:
        embed_contract(path, path, contract_with(entry))
    after = read(path)
    assert read_contract(path) == contract_with(labels[-1])
    assert everything_but_metadata(after) == everything_but_metadata(before)
    assert {k: v for k, v in after.metadata.items() if k != CONTRACT_ENTRY} == before.metadata
    assert len(after.raw.buffers) == len(before.raw.buffers) + 1


def test_a_buffer_shared_with_a_weight_is_not_overwritten(tmp_path: Path) -> None:
    path = write_net(tmp_path / "net.tflite")
    model = read(path)
    kernel = model.main.operators[0].inputs[1]
    assert kernel is not None
    model.set_metadata(CONTRACT_ENTRY, b"{}")
    model.raw.metadata[-1].buffer = kernel.buffer
    write(model, path)
    embed_contract(path, path, contract_with())
    assert read_contract(path) == contract_with()
    image = tiny.random_image()
    expected = tiny.oracle(tiny.random_weights(), image)
    np.testing.assert_allclose(tiny.invoke(path, image)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "stored",
    [b"", b"\xff\xfe", b"[]", b"{", b'{"version": 99}', b"[" * 100_000, b'{"version": 1}'],
)
def test_a_contract_that_cannot_be_read_is_a_model_error(tmp_path: Path, stored: bytes) -> None:
    path = write_net(tmp_path / "net.tflite")
    model = read(path)
    model.set_metadata(CONTRACT_ENTRY, stored)
    write(model, path)
    with pytest.raises(ModelError, match="embedded contract") as caught:
        read_contract(path)
    assert caught.value.cure
    embed_contract(path, path, contract_with())
    assert read_contract(path) == contract_with()
