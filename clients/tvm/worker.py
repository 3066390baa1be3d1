"""TVM: imported by its TFLite front end, compiled by LLVM, run by its virtual machine."""

from pathlib import Path

import numpy as np
import tflite
import tvm
from tvm import relax
from tvm.relax.frontend.tflite import from_tflite

from edgekit_worker import WorkerError, answer_samples

loaded = None


def load(request, progress):
    """Import and compile; what the front end does not know is a refusal."""
    global loaded
    model = tflite.Model.GetRootAsModel(Path(request["artifact"]).read_bytes(), 0)
    try:
        module = from_tflite(model)
        loaded = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    except Exception as error:
        # Importing and compiling raise whatever their own code does.
        raise WorkerError(f"{type(error).__name__}: {error}") from error
    return {}


def run(request, progress):
    """Tensors go in the file's order."""

    def once(values):
        found = loaded["main"](*(tvm.runtime.tensor(np.ascontiguousarray(v)) for v in values))
        outputs = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
        return [output.numpy() for output in outputs]

    try:
        return answer_samples(once, request, progress)
    except (ValueError, RuntimeError, TypeError) as error:
        raise WorkerError(str(error)) from error
