"""The Keras converter, as a process: what it tells, runs and writes agrees with Keras itself."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from worker_process import WorkerFailure, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
datasets = pytest.importorskip("sklearn.datasets")

pytestmark = pytest.mark.e2e

Arrays = dict[str, np.ndarray]
LARGE_ENOUGH_DB = 60.0


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@pytest.fixture(scope="session")
def worker(folder: Path) -> Iterator[WorkerProcess]:
    """One process for all tests: importing TensorFlow takes longer than the tests."""
    with WorkerProcess("keras", folder / "worker.log") as process:
        yield process


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 handwritten digits, (N, 8, 8, 1) with values 0 to 16, and their classes."""
    data = datasets.load_digits()
    return data.images[..., None].astype("float32"), data.target


@pytest.fixture(scope="session")
def cnn(folder: Path, digits: tuple[np.ndarray, np.ndarray]) -> keras.Model:
    """A small network, trained for two seconds, in all three forms in ``folder``."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16)(image)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(max_value=6)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(x))
    scores = layers.Dense(10, activation="softmax", name="digit")(layers.Dropout(0.2)(x))
    model = keras.Model(image, scores)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*digits, epochs=3, batch_size=64, verbose=0)
    model.save(folder / "cnn.keras")
    model.save(folder / "cnn.h5")
    model.export(folder / "cnn_saved", verbose=False)
    return model


def source(path: Path, kind: str = "", *, trust: bool = False) -> dict[str, Any]:
    kind = kind or ("keras" if path.suffix else "saved_model")
    return {"location": str(path), "kind": kind, "weights": None, "trust_pickle": trust}


def sqnr_db(expected: np.ndarray, found: np.ndarray) -> float:
    assert expected.shape == found.shape
    noise = np.sum((expected.astype(float) - found) ** 2)
    return 10 * np.log10(np.sum(expected.astype(float) ** 2) / max(noise, 1e-30))


def run_onnx(path: str, inputs: Arrays) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    runs = [session.run(None, {n: v[i : i + 1] for n, v in inputs.items()}) for i in range(count)]
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def run_tflite(path: str, inputs: Arrays) -> list[np.ndarray]:
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    results = []
    for index in range(len(next(iter(inputs.values())))):
        for detail in interpreter.get_input_details():
            sample = inputs[detail["name"]][index : index + 1]
            interpreter.set_tensor(detail["index"], sample)
        interpreter.invoke()
        details = interpreter.get_output_details()
        results.append([interpreter.get_tensor(detail["index"]) for detail in details])
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def check(
    worker: WorkerProcess,
    path: Path,
    inputs: Arrays,
    expected: list[np.ndarray],
    signature: str | None = None,
) -> Any:
    """Describe, run and convert ``path``; everything must agree with ``expected``."""
    described = worker.call("describe", source={**source(path), "signature": signature})
    specs = [{**spec, "shape": [1, *spec["shape"][1:]]} for spec in described["inputs"]]
    names = [spec["name"] for spec in described["outputs"]]
    work = path.with_name(path.name + "_work")
    work.mkdir(exist_ok=True)
    files = {}
    for name, array in inputs.items():
        files[name] = str(work / f"input_{len(files)}.npy")
        np.save(files[name], array)
    answer = worker.call("reference", inputs=files, specs=specs, outputs_folder=str(work))
    assert [output["name"] for output in answer["outputs"]] == names
    for output, value in zip(answer["outputs"], expected, strict=True):
        assert output["shape"] == [1, *value.shape[1:]]
        assert sqnr_db(value, np.load(output["path"])) > LARGE_ENOUGH_DB
    converted = {}
    for to, run in (("onnx", run_onnx), ("tflite", run_tflite)):
        result = worker.call("convert", to=to, output=str(work / f"model.{to}"), inputs=specs)
        assert [entry["source"] for entry in result["inputs"]] == [s["name"] for s in specs]
        assert [entry["shape"] for entry in result["inputs"]] == [s["shape"] for s in specs]
        assert [entry["name"] for entry in result["outputs"]] == names
        for value, found in zip(expected, run(result["artifact"], inputs), strict=True):
            assert sqnr_db(value, found) > LARGE_ENOUGH_DB, to
        converted[to] = Path(result["artifact"])
    return described, converted


def tflite_ops(path: Path) -> set[str]:
    return {operation["op_name"] for operation in Interpreter(str(path))._get_ops_details()}


@pytest.mark.parametrize("form", ["cnn.keras", "cnn.h5", "cnn_saved"])
def test_trained_cnn(
    worker: WorkerProcess,
    folder: Path,
    cnn: keras.Model,
    digits: tuple[np.ndarray, np.ndarray],
    form: str,
) -> None:
    images, classes = digits[0][:64], digits[1][:64]
    expected = cnn(images, training=False).numpy()
    assert (expected.argmax(1) == classes).mean() > 0.5  # it has learnt something
    described, files = check(worker, folder / form, {"image": images}, [expected])
    image = {"name": "image", "shape": [None, 8, 8, 1], "dtype": "float32", "layout": "NHWC"}
    assert described["inputs"] == [image]
    # Batch normalisation and scaling are folded, and no variables are left.
    assert tflite_ops(files["tflite"]) <= {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "MUL", "SOFTMAX", "DELEGATE",
    }  # fmt: skip
    signature = Interpreter(str(files["tflite"])).get_signature_list()
    assert signature["serving_default"]["inputs"] == ["image"]


def test_two_inputs_two_outputs_keep_their_names_and_order(
    worker: WorkerProcess, folder: Path
) -> None:
    left, right = keras.Input((4,), name="z left"), keras.Input((6,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    outputs = {"b": keras.layers.Dense(2)(joined), "a": keras.layers.Dense(3)(joined)}
    model = keras.Model({"z left": left, "right": right}, outputs)
    model.save(folder / "two.keras")
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.normal(size=(8, n)).astype("float32") for name, n in [("z left", 4), ("right", 6)]
    }
    expected = model(inputs)
    described, _ = check(
        worker, folder / "two.keras", inputs, [expected["a"].numpy(), expected["b"].numpy()]
    )
    assert {spec["name"] for spec in described["inputs"]} == {"z left", "right"}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Bidirectional"])
def test_recurrent(worker: WorkerProcess, folder: Path, kind: str) -> None:
    layers = keras.layers
    cell = (
        layers.Bidirectional(layers.LSTM(8))
        if kind == "Bidirectional"
        else getattr(layers, kind)(8)
    )
    model = keras.Sequential(
        [keras.Input((12, 5), name="steps"), cell, layers.Dense(3, name="out")]
    )
    model.save(folder / f"{kind}.keras")
    steps = np.random.default_rng(0).normal(size=(6, 12, 5)).astype("float32")
    check(worker, folder / f"{kind}.keras", {"steps": steps}, [model(steps).numpy()])


def test_attention_leaves_no_shape_arithmetic(worker: WorkerProcess, folder: Path) -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Reshape((-1, 8))(layers.Conv2D(4, 3)(image))
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x) + x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    model.save(folder / "attention.keras")
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    _, files = check(worker, folder / "attention.keras", {"image": images}, [model(images).numpy()])
    operations = {node.op_type for node in onnx.load(files["onnx"]).graph.node}
    assert not operations & {"Shape", "Gather", "ConstantOfShape", "Expand"}


def test_mixed_precision_gelu_and_grouped_convolution(worker: WorkerProcess, folder: Path) -> None:
    """Three things that the back ends refuse as Keras writes them."""
    layers = keras.layers
    keras.config.set_dtype_policy("mixed_float16")
    try:
        image = keras.Input((8, 8, 4), name="image")
        x = layers.Conv2D(8, 3, groups=2, activation="gelu")(image)
        x = layers.Bidirectional(layers.GRU(4))(layers.Reshape((-1, 8))(x))
        model = keras.Model(image, layers.Dense(3, name="out")(x))
        model.save(folder / "mixed.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    config = model.get_config()
    text = json.dumps(config).replace("mixed_float16", "float32").replace("float16", "float32")
    exact = keras.Model.from_config(json.loads(text))
    exact.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
    expected = exact(images).numpy()
    described, _ = check(worker, folder / "mixed.keras", {"image": images}, [expected])
    assert described["outputs"][0]["dtype"] == "float32"


def test_an_input_that_is_an_output_too(worker: WorkerProcess, folder: Path) -> None:
    value = keras.Input((4,), name="value")
    model = keras.Model(value, [value, keras.layers.Dense(3, name="dense")(value)])
    model.save(folder / "echo.keras")
    described = worker.call("describe", source=source(folder / "echo.keras"))
    assert [spec["name"] for spec in described["outputs"]] == ["value_1", "dense"]
    specs = [{**described["inputs"][0], "shape": [1, 4]}]
    for to in ("onnx", "tflite"):
        output = str(folder / f"echo.{to}")
        result = worker.call("convert", to=to, output=output, inputs=specs)
        assert [entry["source"] for entry in result["outputs"]] == ["value_1", "dense"]


def test_saved_model_of_plain_tensorflow(worker: WorkerProcess, folder: Path) -> None:
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 5), name="x")])
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"total": tf.reduce_sum(x, 1), "best": tf.argmax(x, 1)}

    module = Module()
    tf.saved_model.save(
        module, folder / "plain", signatures=module.__call__.get_concrete_function()
    )
    x = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
    expected = {name: value.numpy() for name, value in module(x).items()}
    described, _ = check(
        worker, folder / "plain", {"x": x}, [expected[name] for name in ("best", "total")]
    )
    assert described["outputs"][0]["dtype"] == "int64"


def fail(
    worker: WorkerProcess, path: Path, kind: str = "keras", *, error: str = "model"
) -> WorkerFailure:
    with pytest.raises(WorkerFailure) as failure:
        worker.call("describe", source=source(path, kind))
    assert failure.value.kind == error, failure.value.trace
    assert str(path) in failure.value.cause
    return failure.value


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_files(worker: WorkerProcess, folder: Path, cnn: keras.Model, suffix: str) -> None:
    assert "no file" in fail(worker, folder / f"missing{suffix}").cause
    whole = (folder / f"cnn{suffix}").read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    for name, content in {"cut": whole[: len(whole) // 2], "noise": noise, "empty": b""}.items():
        path = folder / f"{name}{suffix}"
        path.write_bytes(content)
        assert "damaged" in fail(worker, path).cause


def test_weights_without_a_model(worker: WorkerProcess, folder: Path, cnn: keras.Model) -> None:
    cnn.save_weights(folder / "only.weights.h5")
    assert "weights only" in fail(worker, folder / "only.weights.h5").cause


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_code_runs_only_when_trusted(
    worker: WorkerProcess, folder: Path, suffix: str
) -> None:
    marker = folder / f"ran{suffix}"

    code = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x * 2)[1]"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(eval(code))])
    path = folder / f"lambda{suffix}"
    model.save(path)
    marker.unlink(missing_ok=True)
    assert "--trust-pickle" in fail(worker, path).cure
    assert not marker.exists()
    worker.call("describe", source=source(path, trust=True))
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "name", "config"),
    [
        ("os", "system", {"command": "touch CANARY"}),
        ("builtins", "exec", {"source": "open('CANARY', 'w')"}),
        ("keras.config", "enable_unsafe_deserialization", {}),
        ("keras.utils", "get_file", {"fname": "canary", "origin": "file:///etc/hostname",
                                     "cache_dir": "FOLDER", "cache_subdir": ""}),
        ("keras.saving", "load_model", {"filepath": "lambda.keras", "safe_mode": False}),
    ],
)  # fmt: skip
def test_a_keras_file_calls_no_function(
    worker: WorkerProcess, folder: Path, module: str, name: str, config: dict[str, Any]
) -> None:
    """A layer of the file is a function of Python or of Keras, with its arguments."""
    canary = folder / "canary"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(folder / "plain.keras")
    text = json.dumps(config).replace("CANARY", str(canary)).replace("FOLDER", str(folder))
    evil = {"module": module, "class_name": name, "config": json.loads(text)}
    path = folder / f"calls_{name}.keras"
    with zipfile.ZipFile(folder / "plain.keras") as plain, zipfile.ZipFile(path, "w") as archive:
        for entry in plain.namelist():
            data = plain.read(entry)
            if entry == "config.json":
                table = json.loads(data)
                table["config"]["layers"].append({**evil, "registered_name": None})
                data = json.dumps(table).encode()
            archive.writestr(entry, data)
    assert path.name in fail(worker, path).cause
    assert not canary.exists()


def test_custom_layer(worker: WorkerProcess, folder: Path) -> None:
    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    model = keras.Sequential([keras.Input((3,)), Twice()])
    for name in ("custom.keras", "custom.h5"):
        model.save(folder / name)
        failure = fail(worker, folder / name)
        assert "Twice" in failure.cause
        assert "model.export" in failure.cure
    model.export(folder / "custom_saved", verbose=False)  # the cure works
    x = np.ones((2, 3), "float32")
    check(worker, folder / "custom_saved", {model.inputs[0].name: x}, [2 * x])


def test_never_built(worker: WorkerProcess, folder: Path) -> None:
    keras.Sequential([keras.layers.Dense(3)]).save(folder / "unbuilt.keras")
    assert "keras.Input" in fail(worker, folder / "unbuilt.keras").cure


def test_saved_model_faults(worker: WorkerProcess, folder: Path, cnn: keras.Model) -> None:
    empty = folder / "empty_saved"
    empty.mkdir()
    assert "saved_model.pb" in fail(worker, empty, "saved_model").cause
    noise = folder / "noise_saved"
    shutil.copytree(folder / "cnn_saved", noise)
    (noise / "saved_model.pb").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "damaged" in fail(worker, noise, "saved_model").cause


def test_saved_model_with_several_signatures(worker: WorkerProcess, folder: Path) -> None:
    module = tf.Module()
    module.twice = tf.function(lambda x: x * 2, input_signature=[tf.TensorSpec((None, 2))])
    module.norm = tf.function(
        lambda x: tf.reduce_sum(x * x, 1, keepdims=True),
        input_signature=[tf.TensorSpec((None, 2))],
    )
    twice, norm = (getattr(module, name).get_concrete_function() for name in ("twice", "norm"))
    tf.saved_model.save(module, folder / "one", signatures={"encode": twice})
    tf.saved_model.save(module, folder / "two", signatures={"encode": twice, "size": norm})
    x = np.arange(6, dtype="float32").reshape(3, 2)
    check(worker, folder / "one", {"x": x}, [2 * x])  # the only one needs no name
    failure = fail(worker, folder / "two", "saved_model", error="usage")
    assert "encode, size" in failure.cause
    assert "--signature encode" in failure.cure
    squares = (x**2).sum(1, keepdims=True)
    check(worker, folder / "two", {"x": x}, [squares], signature="size")


def _saves(x: Any, target: str) -> Any:
    saved = tf.raw_ops.SaveV2(
        prefix=target, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.identity(x)]
    )
    with tf.control_dependencies([saved]):
        return tf.identity(x)


def _summarises(x: Any, target: str) -> Any:
    writer = tf.raw_ops.SummaryWriter(shared_name="w", container="")
    tf.raw_ops.CreateSummaryFileWriter(
        writer=writer, logdir=target, max_queue=1, flush_millis=1, filename_suffix=""
    )
    return x * 1.0


def _caches(x: Any, target: str) -> Any:
    data = tf.data.Dataset.from_tensors(tf.constant(1.0)).cache(target)
    return x * data.reduce(tf.constant(0.0), lambda total, one: total + one)


def _debugs(x: Any, target: str) -> Any:
    return tf.raw_ops.DebugIdentityV2(
        input=x, tfdbg_context_id="a", op_name="b", tensor_debug_mode=2,
        debug_urls=[f"file://{target}"],
    )  # fmt: skip


def _writes(x: Any, target: str) -> Any:
    tf.io.write_file(target, "written")
    return x * 1.0


SHAPE = [{"name": "x", "shape": [1, 2], "dtype": "float32", "layout": "any"}]


@pytest.mark.parametrize(
    ("body", "operation", "trust"),
    [
        (_writes, "WriteFile", False),
        (_summarises, "CreateSummaryFileWriter", False),
        (_caches, "CacheDatasetV2", False),
        (_debugs, "DebugIdentityV2", False),
        # In every SavedModel, so that only the kernel can tell; and with trust, which lets it run.
        (_saves, "", False),
        (_writes, "", True),
        (_summarises, "", True),
        (_caches, "", True),
    ],
)
def test_saved_model_that_writes_files(
    worker: WorkerProcess, folder: Path, body: Any, operation: str, trust: bool
) -> None:
    outside = Path(tempfile.mkdtemp())  # pytest's own folder is this worker's work folder
    module = tf.Module()
    module.run = tf.function(
        lambda x: {"y": body(x, str(outside / "canary"))},
        input_signature=[tf.TensorSpec((1, 2), name="x")],
    )
    path = folder / f"writer_{body.__name__}_{trust}"
    tf.saved_model.save(module, path, signatures=module.run.get_concrete_function())
    np.save(folder / "two.npy", np.ones((1, 2), "float32"))
    try:
        if operation:
            assert operation in fail(worker, path, "saved_model").cause
        else:
            worker.call("describe", source=source(path, "saved_model", trust=trust))
            with pytest.raises(WorkerFailure) as caught:
                worker.call(
                    "reference",
                    specs=SHAPE,
                    inputs={"x": str(folder / "two.npy")},
                    outputs_folder=str(folder),
                )
            assert str(outside / "canary") in caught.value.cause
            assert "--allow-write" in caught.value.cure
        assert not list(outside.iterdir())
    finally:
        shutil.rmtree(outside)


def test_operation_without_builtin_counterpart(worker: WorkerProcess, folder: Path) -> None:
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), name="x")])
        def __call__(self, x: Any) -> Any:
            return tf.math.erfinv(x)

    module = Module()
    tf.saved_model.save(
        module, folder / "erfinv", signatures=module.__call__.get_concrete_function()
    )
    worker.call("describe", source=source(folder / "erfinv"))
    specs = [{"name": "x", "shape": [1, 4], "dtype": "float32", "layout": None}]
    for to in ("tflite", "onnx"):
        output = folder / f"erfinv.{to}"
        with pytest.raises(WorkerFailure, match="Erfinv") as failure:
            worker.call("convert", to=to, output=str(output), inputs=specs)
        assert failure.value.kind == "conversion"
        assert not output.exists()


def test_wrong_shape(worker: WorkerProcess, folder: Path, cnn: keras.Model) -> None:
    worker.call("describe", source=source(folder / "cnn.keras"))
    specs = [{"name": "image", "shape": [1, 8, 8, 3], "dtype": "float32", "layout": "NHWC"}]
    with pytest.raises(WorkerFailure, match="cannot be run on the shapes") as failure:
        worker.call("convert", to="onnx", output=str(folder / "wrong.onnx"), inputs=specs)
    assert failure.value.kind == "model"
