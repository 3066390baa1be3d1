"""OpenVINO's TFLite front end and its CPU plugin."""

import openvino

from edgekit_worker import WorkerError, answer_samples

loaded = None


def load(request, progress):
    """Read and compile; computed as the file says, in float32 where it is float."""
    global loaded
    try:
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        loaded = core.compile_model(core.read_model(request["artifact"]), "CPU", options)
    except RuntimeError as error:
        raise WorkerError(str(error)) from error
    return {}


def run(request, progress):
    """Tensors go by name, where the names are there, and else by place."""
    infer = loaded.create_infer_request()
    inputs = _ports(loaded.inputs, request["inputs"])
    outputs = _ports(loaded.outputs, request["outputs"])

    def once(values):
        found = infer.infer(dict(zip(inputs, values, strict=True)))
        return [found[port] for port in outputs]

    try:
        return answer_samples(once, request, progress)
    except RuntimeError as error:
        raise WorkerError(str(error)) from error


def _ports(ports, tensors):
    by_name = {name: port for port in ports for name in port.names}
    names = [tensor["name"] for tensor in tensors]
    return [by_name[name] for name in names] if by_name.keys() >= set(names) else list(ports)
