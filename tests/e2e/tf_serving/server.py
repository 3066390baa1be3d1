"""SavedModels behind the REST API of TensorFlow Serving, as its documentation has it.

    python server.py FOLDER

Writes three SavedModels into FOLDER and answers for them from what TensorFlow loads of them: their
metadata, and ``:predict`` in columns (``inputs``) and rows (``instances``). Prints the port.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

PATH = re.compile(r"/v1/models/(\w+)(?:/versions/1)?(/metadata|:predict)")


class Net(tf.Module):
    """Two outputs of pictures, and one of vectors."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(7)
        self.kernel = tf.Variable(draw.normal(size=(3, 3, 3, 4)).astype(np.float32))
        self.weight = tf.Variable(draw.normal(size=(4, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")])
    def classify(self, image):
        features = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 2, "SAME"))
        scores = tf.nn.softmax(tf.reduce_mean(features, [1, 2]) @ self.weight)
        return {"features": features, "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "vector")])
    def score(self, vector):
        return {"value": vector @ self.weight}


def saved(folder):
    """Models by name: the default signature and another, one other, two others."""
    net = Net()
    for name, signatures in {
        "net": {"serving_default": net.classify, "score": net.score},
        "single": {"score": net.score},
        "several": {"classify": net.classify, "score": net.score},
    }.items():
        tf.saved_model.save(net, str(folder / name), signatures=signatures)
        table = SavedModel.FromString((folder / name / "saved_model.pb").read_bytes())
        told = MessageToDict(
            table.meta_graphs[0],
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )["signature_def"]
        yield name, (tf.saved_model.load(str(folder / name)).signatures, told)


def answer(model, request):
    """What ``:predict`` says: in columns where it was asked in columns, and else in rows."""
    function = model[0][request.get("signature_name", "serving_default")]
    _, specs = function.structured_input_signature
    rows = "instances" in request
    given = request["instances" if rows else "inputs"]
    if rows and isinstance(given[0], dict):
        given = {name: [one[name] for one in given] for name in given[0]}
    if not isinstance(given, dict):
        (name,) = specs
        given = {name: given}
    found = function(**{name: tf.constant(given[name], specs[name].dtype) for name in specs})
    outputs = {name: value.numpy().tolist() for name, value in found.items()}
    if rows:
        listed = [
            dict(zip(outputs, one, strict=True)) for one in zip(*outputs.values(), strict=True)
        ]
        return {"predictions": listed if len(outputs) > 1 else next(iter(outputs.values()))}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


class Handler(BaseHTTPRequestHandler):
    """Every error is JSON with the one key ``error``."""

    models: ClassVar[dict] = {}

    def do_GET(self):
        self.reply(None)

    def do_POST(self):
        self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def reply(self, request):
        match = PATH.fullmatch(self.path)
        if match is None:
            return self.send(400, {"error": f"Malformed request: {self.command} {self.path}"})
        name, verb = match.groups()
        if name not in self.models:
            return self.send(404, {"error": f"Servable not found for request: Latest({name})"})
        if verb == "/metadata":
            told = {"signature_def": {"signature_def": self.models[name][1]}}
            spec = {"name": name, "signature_name": "", "version": "1"}
            return self.send(200, {"model_spec": spec, "metadata": told})
        try:
            return self.send(200, answer(self.models[name], request))
        except (KeyError, ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            return self.send(400, {"error": str(error)})

    def send(self, status, table):
        body = json.dumps(table).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    folder = Path(sys.argv[1])
    Handler.models = dict(saved(folder))
    pictures = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    net = Net()
    direct = net.classify(tf.constant(pictures))
    np.savez(folder / "direct.npz", image=pictures, **{k: v.numpy() for k, v in direct.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
