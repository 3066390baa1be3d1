"""Reading, changing and writing the graph, checked with the real interpreter."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import ModelError, SetupError
from edgekit.tflite.model import Model, read, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return path


@pytest.fixture
def int8_file(tmp_path: Path) -> Path:
    path = tmp_path / "int8.tflite"
    path.write_bytes(tiny.quantized_bytes("static_wi8_ai8"))
    return path


def test_the_built_file_computes_what_numpy_computes(file: Path) -> None:
    image = tiny.random_image(1)
    expected = tiny.oracle(tiny.random_weights(), image)
    np.testing.assert_allclose(tiny.invoke(file, image)[0], expected, atol=1e-5)


def test_the_graph_is_named(file: Path) -> None:
    graph = read(file).main
    convolution, dense = graph.operators
    assert [convolution.name, dense.name] == ["CONV_2D", "FULLY_CONNECTED"]
    assert (convolution.version, convolution.is_custom) == (1, False)
    assert convolution.options.fusedActivationFunction == schema.ActivationFunctionType.RELU
    assert [tensor.name for tensor in graph.inputs + graph.outputs] == ["image", "scores"]
    image, kernel, _ = convolution.inputs
    assert image is not None
    assert kernel is not None
    assert (image.shape, image.dtype, image.is_constant) == (tiny.IMAGE, "float32", False)
    assert kernel.is_constant
    np.testing.assert_array_equal(kernel.data(), tiny.random_weights().kernel)


def test_consumers_and_producers(file: Path) -> None:
    graph = read(file).main
    convolution, dense = graph.operators
    features = convolution.outputs[0]
    assert graph.producer(features) == convolution
    assert graph.consumers(features) == [dense]
    assert graph.producer(graph.inputs[0]) is None
    assert graph.consumers(graph.outputs[0]) == []


def test_quantization_is_per_axis_or_per_tensor(int8_file: Path) -> None:
    graph = read(int8_file).main
    kernel = graph.operators[0].inputs[1]
    assert kernel is not None
    assert kernel.quantization is not None
    assert (len(kernel.quantization.scales), kernel.quantization.axis) == (tiny.CHANNELS, 0)
    scores = graph.outputs[0].quantization
    assert scores is not None
    assert (len(scores.scales), len(scores.zero_points), scores.axis) == (1, 1, None)
    largest = np.abs(tiny.random_weights().kernel).max(axis=(1, 2, 3))
    np.testing.assert_allclose(kernel.quantization.scales, largest / 127, rtol=1e-5)


def test_writing_what_was_read_changes_nothing(file: Path, int8_file: Path) -> None:
    for path in (file, int8_file):
        once, twice = path.with_suffix(".once"), path.with_suffix(".twice")
        write(read(path), once)
        write(read(once), twice)
        assert once.read_bytes() == twice.read_bytes()
        assert len(read(path).main.tensors) == len(read(once).main.tensors)


def test_new_weights_change_the_result(file: Path) -> None:
    other = tiny.random_weights(seed=7)
    model = read(file)
    by_name = {tensor.name: tensor for tensor in model.main.tensors}
    by_name["kernel"].set_data(other.kernel)
    by_name["kernel_bias"].set_data(other.kernel_bias)
    by_name["dense"].set_data(other.dense)
    by_name["dense_bias"].set_data(other.dense_bias)
    write(model, file)
    image = tiny.random_image(2)
    np.testing.assert_allclose(tiny.invoke(file, image)[0], tiny.oracle(other, image), atol=1e-5)


def test_a_shared_buffer_is_not_changed_under_the_other_tensor(file: Path) -> None:
    graph = read(file).main
    kernel = graph.operators[0].inputs[1]
    assert kernel is not None
    twin = graph.add_tensor("twin", kernel.shape, "float32")
    twin.use_buffer(kernel.buffer)
    before = kernel.data().copy()
    twin.set_data(before + 1)
    np.testing.assert_array_equal(kernel.data(), before)
    np.testing.assert_array_equal(twin.data(), before + 1)


def test_an_inserted_operator_runs(file: Path) -> None:
    model = read(file)
    graph = model.main
    scores = graph.outputs[0]
    half = graph.add_tensor("half", (), "float32", np.array(0.5, np.float32))
    halved = graph.add_tensor("halved", scores.shape, "float32")
    graph.insert_operator(2, "MUL", [scores, half], [halved], options=schema.MulOptionsT())
    graph.raw.outputs = [halved.index]
    model.raw.signatureDefs[0].outputs[0].tensorIndex = halved.index
    image = tiny.random_image(3)
    before = tiny.invoke(file, image)[0]
    write(model, file)
    np.testing.assert_allclose(tiny.invoke(file, image)[0], before / 2, rtol=1e-6)


def test_operator_codes_are_shared_by_name_and_version(file: Path) -> None:
    model = read(file)
    assert model.operator_code("CONV_2D") == model.main.operators[0].raw.opcodeIndex
    assert model.operator_code("CONV_2D", version=3) != model.operator_code("CONV_2D")
    newer = model.raw.operatorCodes[model.operator_code("GELU")]
    assert (newer.deprecatedBuiltinCode, newer.builtinCode) == (127, schema.BuiltinOperator.GELU)


@pytest.mark.parametrize("name", ["NO_SUCH_OP", "__doc__"])
def test_unknown_operators_are_refused(file: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        read(file).operator_code(name)


def test_misfitting_values_are_refused(file: Path) -> None:
    tensor = read(file).main.operators[0].inputs[2]
    assert tensor is not None
    with pytest.raises(ValueError, match="shape"):
        tensor.set_data(np.zeros(tiny.CHANNELS + 1, np.float32))
    with pytest.raises(ValueError, match="float64"):
        tensor.set_data(np.zeros(tiny.CHANNELS))


def test_a_computed_tensor_has_no_data(file: Path) -> None:
    with pytest.raises(ModelError, match="not a constant"):
        read(file).main.outputs[0].data()


def test_weights_are_aligned_for_vector_instructions(file: Path) -> None:
    data = file.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.BuffersLength()):
        stored = model.Buffers(index).DataAsNumpy()
        if not model.Buffers(index).DataIsNone():
            start = stored.__array_interface__["data"][0]
            whole = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
            assert (start - whole) % 16 == 0


def test_an_archive_behind_the_model_stays_readable(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    larger, smaller = read(file), read(file)
    larger.set_metadata("note", b"x" * 5000)
    smaller.raw.signatureDefs = None
    for name, model in (("larger", larger), ("smaller", smaller)):
        path = tmp_path / name
        write(model, path)
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt") == b"cat\ndog\n"
        tiny.invoke(path, tiny.random_image())


def test_buffers_behind_the_flatbuffer_are_taken_in(file: Path) -> None:
    """Files over 2 GB keep their weights there; a small one will do for the test."""
    model, data = read(file), bytearray(file.read_bytes())
    kernel = model.main.operators[0].inputs[1]
    assert kernel is not None
    values = kernel.data().tobytes()
    buffer = schema.BufferT(offset=10**9, size=len(values))  # found again below, then moved
    packed = read(file)
    packed.raw.buffers[kernel.buffer] = buffer
    data = _pack_plainly(packed)
    marker = (10**9).to_bytes(8, "little")
    assert data.count(marker) == 1
    place = data.index(marker)
    data[place : place + 8] = len(data).to_bytes(8, "little")
    file.write_bytes(bytes(data) + values)
    again = read(file)
    stored = again.main.operators[0].inputs[1]
    assert stored is not None
    np.testing.assert_array_equal(stored.data(), kernel.data())
    assert again.tail == b""
    write(again, file)
    image = tiny.random_image(4)
    expected = tiny.oracle(tiny.random_weights(), image)
    np.testing.assert_allclose(tiny.invoke(file, image)[0], expected, atol=1e-5)


def _pack_plainly(model: Model) -> bytearray:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    for buffer in model.raw.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    builder.Finish(model.raw.Pack(builder), file_identifier=b"TFL3")
    return bytearray(builder.Output())


def test_a_failed_write_leaves_the_old_file_and_no_litter(file: Path) -> None:
    before = file.read_bytes()
    model = read(file)
    model.main.operators[0].raw.builtinOptions = None  # its type stays: a newer schema's options
    with pytest.raises(ModelError, match="options"):
        write(model, file)
    assert file.read_bytes() == before
    with pytest.raises(SetupError, match="cannot be written"):
        write(read(file), file.parent / "missing" / "x.tflite")
    folder = file.parent / "a_folder.tflite"
    folder.mkdir()
    with pytest.raises(SetupError, match="cannot be written"):
        write(read(file), folder)
    assert sorted(path.name for path in file.parent.iterdir()) == ["a_folder.tflite", "tiny.tflite"]


def test_large_weights_are_taken_in_one_piece(tmp_path: Path) -> None:
    model = tiny.empty_model()
    values = np.random.default_rng(0).normal(size=(5_000_000,)).astype(np.float32)
    model.main.add_tensor("large", values.shape, "float32", values)
    path = tmp_path / "large.tflite"
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        write(model, path)
        read(path)
    finally:
        sys.setprofile(before)
    assert 0 < calls < 100_000  # element by element there would be millions
