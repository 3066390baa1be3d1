"""References behind HTTP, against servers on loopback that are written to the specifications.

TensorFlow Serving's own server cannot be installed from a package index, so its REST API is a stub
here, written to its documentation ("RESTful API"): columns in, columns out, metadata with sizes as
texts, `NaN` written as such. The Open Inference Protocol meets a real server in
tests/e2e/test_reference.py; here it is a stub with the binary extension, which that server lacks.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from edgekit.errors import DataError, EdgekitError, ModelError, SetupError, UsageError
from edgekit.runners.http_client import HttpClient
from edgekit.runners.http_reference import HttpReference, is_url
from edgekit.types import TensorSpec

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

Answer = tuple[int, dict[str, str], bytes]
Route = Callable[[str, dict[str, str], bytes], Answer]


def as_json(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def serve(route: Route) -> Iterator[str]:
    """``http://127.0.0.1:PORT`` of a server that answers with ``route(path, headers, body)``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, content = route(self.path, headers, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that hangs up is part of some tests
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tf_serving(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """One model, ``net``: y = x·W and its arg-max."""
    if path == "/v1/models/net/metadata":
        return as_json(tf_metadata())
    if path != "/v1/models/net:predict":
        return as_json({"error": f"Malformed request: {path}"}, 400)
    request = json.loads(body)
    assert set(request) == {"signature_name", "inputs"}  # "instances" would be the row format
    assert request["signature_name"] == "serving_default"
    y = np.array(request["inputs"]["x"], np.float32) @ WEIGHTS
    return as_json({"outputs": {"y": y.tolist(), "best": y.argmax(1).tolist()}})


def tf_metadata(outputs: dict[str, object] | None = None) -> dict[str, object]:
    def tensor(dtype: str, *sizes: int) -> dict[str, object]:
        dims = [{"size": str(size), "name": ""} for size in sizes]
        return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": "t:0"}

    signature = {
        "inputs": {"x": tensor("DT_FLOAT", -1, 4)},
        "outputs": outputs or {"y": tensor("DT_FLOAT", -1, 3), "best": tensor("DT_INT64", -1)},
        "method_name": "tensorflow/serving/predict",
    }
    initial = {"inputs": {}, "outputs": {}, "method_name": ""}
    return {
        "model_spec": {"name": "net", "signature_name": "", "version": "3"},
        "metadata": {
            "signature_def": {
                "signature_def": {"__saved_model_init_op": initial, "serving_default": signature}
            }
        },
    }


def v2_server(*, binary: bool, tells: bool = True) -> Route:
    """One model, ``net``, and the binary extension where asked for."""

    def route(path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/v2":
            extensions = ["classification", "binary_tensor_data"] if binary else []
            return as_json({"name": "triton", "version": "2.50", "extensions": extensions})
        if path == "/v2/models/net":
            shapes = {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [
                    {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
                    {"name": "best", "datatype": "INT64", "shape": [-1]},
                ],
            }
            return as_json({"name": "net", "platform": "onnx", **(shapes if tells else {})})
        if path != "/v2/models/net/infer":
            return as_json({"error": "Model not found"}, 404)
        assert ("inference-header-content-length" in headers) == binary
        split = int(headers.get("inference-header-content-length", len(body)))
        request = json.loads(body[:split])
        (tensor,) = request["inputs"]
        if binary:
            assert tensor["parameters"]["binary_data_size"] == len(body) - split
            x = np.frombuffer(body[split:], "<f4").reshape(tensor["shape"])
        else:
            x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        y = x @ WEIGHTS
        return v2_answer({"best": y.argmax(1), "y": y}, binary=binary)

    return route


def v2_answer(outputs: dict[str, np.ndarray], *, binary: bool) -> Answer:
    types = {"float32": "FP32", "int64": "INT64"}
    entries, tail = [], b""
    for name, value in outputs.items():
        entry = {"name": name, "shape": list(value.shape), "datatype": types[value.dtype.name]}
        if binary:
            entry["parameters"] = {"binary_data_size": value.nbytes}
            tail += value.tobytes()
        else:
            entry["data"] = value.ravel().tolist()
        entries.append(entry)
    head = json.dumps({"model_name": "net", "outputs": entries}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return 200, headers, head + tail


SERVERS = {
    "v2 json": (v2_server(binary=False), "/v2/models/net"),
    "v2 binary": (v2_server(binary=True), "/v2/models/net"),
    "tf serving": (tf_serving, "/v1/models/net:predict"),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_outputs_are_those_of_the_model(kind):
    route, path = SERVERS[kind]
    with serve(route) as address, HttpReference(address + path) as runner:
        described = runner.describe()
        outputs = runner.run([X])
    assert runner.name == "net"
    assert described.inputs == (TensorSpec(name="x", shape=(None, 4)),)
    assert "network" in described.device
    named = {spec.name: value for spec, value in zip(described.outputs, outputs, strict=True)}
    expected = np.stack([row @ WEIGHTS for row in X])
    assert named["y"].dtype == np.float32
    np.testing.assert_allclose(named["y"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(named["best"], expected.argmax(1))


@pytest.mark.parametrize("kind", SERVERS)
def test_latency_is_measured_and_said_to_include_the_network(kind):
    def slow(path, headers, body):
        if body:
            time.sleep(0.02)
        return SERVERS[kind][0](path, headers, body)

    with serve(slow) as address, HttpReference(address + SERVERS[kind][1]) as runner:
        timing = runner.benchmark([X], runs=6, warmup=1)
    assert len(timing.latency.samples_ms) == 6
    assert min(timing.latency.samples_ms) >= 20
    assert timing.peak_memory_mb is None


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/net/",
        "/v2/models/net/infer",
        "/v1/models/net",
        "/v1/models/net/",
    ],
)
def test_the_url_may_be_of_the_model_or_of_its_verb(path):
    route = SERVERS["v2 json" if "v2" in path else "tf serving"][0]
    with serve(route) as address, HttpReference(address + path) as runner:
        assert len(runner.run([X[:1]])) == 2


def test_versions_and_prefixes_stay_in_the_path():
    asked = []

    def route(path, headers, body):
        asked.append(path)
        inner = path.replace("/proxy", "").replace("/versions/7", "")
        return v2_server(binary=False)(inner, headers, body)

    with serve(route) as address:
        HttpReference(f"{address}/proxy/v2/models/net/versions/7").run([X[:1]])
    base = "/proxy/v2/models/net/versions/7"
    assert asked == [base, "/proxy/v2", f"{base}/infer"]


def test_a_server_that_tells_nothing_is_asked_with_what_the_user_states():
    with serve(v2_server(binary=False, tells=False)) as address:
        url = f"{address}/v2/models/net"
        with pytest.raises(UsageError, match="does not tell"):
            HttpReference(url).describe()
        runner = HttpReference(url, inputs=(TensorSpec(name="x", shape=(1, 4)),))
        described = runner.describe()
        assert {spec.name: spec.shape for spec in described.outputs} == {"y": (1, 3), "best": (1,)}
        assert len(runner.run([X])) == 2


def test_a_server_without_descriptions_is_asked_with_what_the_user_states():
    """TorchServe has no description of a model, and answers without the batch's axis."""
    whole = v2_server(binary=False)

    def route(path: str, headers: dict[str, str], body: bytes) -> Answer:
        if not body:
            return as_json({"message": "Requested resource is not found"}, 404)
        status, more, content = whole(path, headers, body)
        table = json.loads(content)
        for entry in table.get("outputs", ()):
            entry["shape"] = [int(np.prod(entry["shape"]))]
        return status, more, json.dumps(table).encode()

    inputs = (TensorSpec(name="x", shape=(1, 4)),)
    with serve(route) as address:
        with pytest.raises(ModelError, match="not found"):
            HttpReference(f"{address}/v2/models/net").describe()
        runner = HttpReference(f"{address}/v2/models/net", inputs=inputs)
        outputs = {spec.name: spec.shape for spec in runner.describe().outputs}
        assert outputs == {"y": (3,), "best": (1,)}
        found = dict(zip(outputs, runner.run([X]), strict=True))
        np.testing.assert_allclose(found["y"], X @ WEIGHTS, rtol=1e-5)
        with pytest.raises(ModelError, match="Model not found"):
            HttpReference(f"{address}/v2/models/nix", inputs=inputs).describe()


def test_a_signature_with_one_output_gives_it_without_a_name():
    outputs = {"y": tf_metadata()["metadata"]["signature_def"]["signature_def"]}
    outputs = {"y": outputs["y"]["serving_default"]["outputs"]["y"]}

    def route(path, headers, body):
        if path.endswith("/metadata"):
            return as_json(tf_metadata(outputs))
        x = np.array(json.loads(body)["inputs"]["x"], np.float32)
        return as_json({"outputs": (x @ WEIGHTS).tolist()})

    with serve(route) as address:
        (found,) = HttpReference(f"{address}/v1/models/net").run([X])
    np.testing.assert_allclose(found, X @ WEIGHTS, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "null"])
def test_not_a_number_is_passed_on(written):
    def route(path, headers, body):
        if path.endswith("/infer"):
            y = f'{{"name":"y","shape":[1,3],"datatype":"FP32","data":[1,{written},2]}}'
            best = '{"name":"best","shape":[1],"datatype":"INT64","data":[0]}'
            return 200, {}, f'{{"outputs":[{y},{best}]}}'.encode()
        return v2_server(binary=False)(path, headers, body)

    with serve(route) as address:
        found, _ = HttpReference(f"{address}/v2/models/net").run([X[:1]])
    expected = {"NaN": math.nan, "null": math.nan}.get(written, float(written.replace("null", "0")))
    np.testing.assert_array_equal(found, np.array([[1, expected, 2]], np.float32))


def test_an_input_that_json_cannot_carry_is_refused():
    with serve(v2_server(binary=False)) as address, pytest.raises(UsageError, match="NaN"):
        HttpReference(f"{address}/v2/models/net").run([np.full((1, 4), np.nan, np.float32)])


def test_inputs_of_another_shape_are_refused_before_anything_is_sent():
    with serve(v2_server(binary=False)) as address, pytest.raises(DataError, match="Input x"):
        HttpReference(f"{address}/v2/models/net").run([np.zeros((2, 5), np.float32)])


def test_a_redirect_is_not_followed():
    asked = []

    def other(path, headers, body):
        asked.append(path)
        return as_json({})

    with serve(other) as elsewhere:
        location = {"Location": f"{elsewhere}/v2/models/net"}
        with (
            serve(lambda *_: (307, location, b"")) as address,
            pytest.raises(ModelError, match="redirects") as caught,
        ):
            HttpReference(f"{address}/v2/models/net").describe()
    assert elsewhere in caught.value.cause
    assert not asked


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve(v2_server(binary=False)) as address:
        HttpReference(f"{address}/v2/models/net").describe()


def test_an_unknown_model_is_told_in_the_servers_words():
    with (
        serve(v2_server(binary=False)) as address,
        pytest.raises(ModelError, match="Model not found") as caught,
    ):
        HttpReference(f"{address}/v2/models/nix").describe()
    assert "name in the URL" in caught.value.cure


def test_an_error_of_the_server_shows_no_control_characters():
    def route(*_):
        return 500, {}, b'{"error": "bad\\u001b[31m\\nthing"}'

    with serve(route) as address, pytest.raises(ModelError) as caught:
        HttpReference(f"{address}/v2/models/net").describe()
    assert caught.value.cause.isprintable()
    assert "500" in caught.value.cause


def test_nobody_there_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v2/models/net"
        with pytest.raises(SetupError, match="cannot be asked") as caught:
            HttpReference(url).describe()
    assert "running" in caught.value.cure


def test_a_server_that_does_not_answer_in_time_is_told():
    with (
        serve(lambda *_: (time.sleep(0.5), as_json({}))[1]) as address,
        pytest.raises(SetupError, match=r"within 0\.1 s"),
    ):
        HttpReference(f"{address}/v2/models/net", timeout=0.1).describe()


def test_a_server_that_drips_is_told():
    """Each byte comes in time, the whole does not."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            try:
                for _ in range(60):
                    connection.sendall(b" " * 70_000)
                    time.sleep(0.05)
            except OSError:
                pass

    thread = threading.Thread(target=drip)
    thread.start()
    with listener, pytest.raises(SetupError, match="did not answer"):
        HttpReference(
            f"http://127.0.0.1:{listener.getsockname()[1]}/v2/models/net", timeout=0.2
        ).describe()
    thread.join()


def test_an_answer_that_is_too_long_is_refused():
    with serve(lambda *_: (200, {}, b" " * 5000)) as address:
        client = HttpClient(address, most_bytes=4000)
        with pytest.raises(ModelError, match="more than 4000 bytes"):
            client.exchange("/")


def test_an_answer_that_is_compressed_is_refused():
    with (
        serve(lambda *_: (200, {"Content-Encoding": "gzip"}, b"x")) as address,
        pytest.raises(ModelError, match="compresses"),
    ):
        HttpClient(address).exchange("/")


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again():
    def route(path, headers, body):
        status, more, content = v2_server(binary=False)(path, headers, body)
        return status, {**more, "Connection": "close"}, content

    with serve(route) as address, HttpReference(f"{address}/v2/models/net") as runner:
        assert len(runner.run([X])[0]) == 5


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"",
        b"[" * 100_000,
        b"[]",
        b"3",
        b'{"inputs": 3}',
        b'{"inputs": [{"name": "x"}]}',
        b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": "abc"}]}',
    ],
)
def test_rubbish_for_a_description_is_refused_in_our_words(content):
    with serve(lambda *_: (200, {}, content)) as address:
        for path in ("/v2/models/net", "/v1/models/net"):
            with pytest.raises(EdgekitError):
                HttpReference(address + path).describe()


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        None,
        [3],
        [{"name": "y"}],
        [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1, 2]}],
        [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": ["a", 1, 2]}],
        [{"name": "z", "datatype": "FP32", "shape": [1, 3], "data": [0, 1, 2]}],
        [
            {
                "name": "y",
                "datatype": "FP32",
                "shape": [10**9, 10**9],
                "parameters": {"binary_data_size": 4 * 10**18},
            }
        ],
    ],
)
def test_rubbish_for_outputs_is_refused_in_our_words(outputs):
    def route(path, headers, body):
        if path.endswith("/infer"):
            return as_json({"outputs": outputs})
        return v2_server(binary=False)(path, headers, body)

    with serve(route) as address, pytest.raises(ModelError, match=r"127\.0\.0\.1"):
        HttpReference(f"{address}/v2/models/net").run([X[:1]])


@pytest.mark.parametrize("length", ["-1", "1000000", "x"])
def test_a_binary_answer_with_a_wrong_length_is_refused(length):
    def route(path, headers, body):
        status, more, content = v2_server(binary=True)(path, headers, body)
        if path.endswith("/infer"):
            more = {"Inference-Header-Content-Length": length}
        return status, more, content

    with serve(route) as address, pytest.raises(ModelError):
        HttpReference(f"{address}/v2/models/net").run([X[:1]])


@pytest.mark.parametrize("outputs", [{"y": [[1, 2]], "best": "x"}, {"y": [1]}, 3, None])
def test_rubbish_for_tensorflow_outputs_is_refused_in_our_words(outputs):
    def route(path, headers, body):
        if path.endswith(":predict"):
            return as_json({"outputs": outputs})
        return tf_serving(path, headers, body)

    with serve(route) as address, pytest.raises(ModelError, match="not tensors"):
        HttpReference(f"{address}/v1/models/net").run([X[:1]])


def test_outputs_whose_shape_changes_are_refused():
    calls = []

    def route(path, headers, body):
        if path.endswith("/infer"):
            calls.append(path)
            best = np.zeros(len(calls), np.int64)
            return v2_answer({"y": np.ones((1, 3), np.float32), "best": best}, binary=False)
        return v2_server(binary=False)(path, headers, body)

    with serve(route) as address, pytest.raises(ModelError, match="another shape"):
        HttpReference(f"{address}/v2/models/net").run([X[:2]])


def answer_best_as(best: np.ndarray) -> Route:
    def route(path, headers, body):
        if path.endswith("/infer"):
            return v2_answer({"y": np.ones((1, 3), np.float32), "best": best}, binary=False)
        return v2_server(binary=False)(path, headers, body)

    return route


def test_axes_of_size_one_that_were_not_described_are_taken_away():
    """MLServer answers a vector (N,) as (N, 1)."""
    with serve(answer_best_as(np.array([[2]]))) as address:
        _, best = HttpReference(f"{address}/v2/models/net").run([X])
    np.testing.assert_array_equal(best, [2] * 5)


def test_outputs_of_another_shape_than_described_are_refused():
    with (
        serve(answer_best_as(np.array([[2, 3]]))) as address,
        pytest.raises(ModelError, match=r"best of shape \(1, 2\); it describes"),
    ):
        HttpReference(f"{address}/v2/models/net").run([X])


@pytest.mark.parametrize(
    "url",
    [
        "http://host/",
        "http://host/v3/models/net",
        "http://host/v2/models/",
        "http://host/v2/models/net/metadata",
        "http:///v2/models/net",
        "http://host:0/v2/models/net",
        "http://host:99999/v2/models/net",
        "http://host/v2/models/net?x=1",
        "http://host/v2/models/n et",
        "http://user:secret@host/v2/models/net",
        "ftp://host/v2/models/net",
        "http://[::1/v2/models/net",
    ],
)
def test_other_urls_are_refused_and_no_password_is_repeated(url):
    with pytest.raises(UsageError) as caught:
        HttpReference(url)
    assert "secret" not in caught.value.cause + caught.value.cure


def test_what_is_a_url():
    assert is_url("http://x/v2/models/y")
    assert is_url("https://x/v2/models/y")
    assert not is_url("net.onnx")
    assert not is_url("package.http:build")
