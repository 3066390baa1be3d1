"""OpenVINO's TFLite front end and its CPU plugin."""

from pathlib import Path

import openvino

from edgekit_worker import WorkerError, answer_samples

NO_VNNI = (
    "This processor has no VNNI instructions: without them OpenVINO's 8-bit kernels add pairs of "
    "products in 16 bits, which saturates."
)
WIDER = "LP_TRANSFORMS_MODE = NO"
loaded = None


def load(request, progress):
    """Read and compile; computed as the file says, in float32 where it is float."""
    global loaded
    try:
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        if request["kernels"] == WIDER:
            options["LP_TRANSFORMS_MODE"] = False
        loaded = core.compile_model(core.read_model(request["artifact"]), "CPU", options)
    except RuntimeError as error:
        raise WorkerError(str(error)) from error
    return {"hint": NO_VNNI, "other_kernels": WIDER} if lacks_vnni() else {}


def lacks_vnni():
    """Whether this is a processor of the x86 family without them."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx2" in said and "vnni" not in said


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
