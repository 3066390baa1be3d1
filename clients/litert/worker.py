"""LiteRT and its predecessors: the same interface in each of them."""

from edgekit_worker import WorkerError, answer_samples

try:
    from tflite_runtime.interpreter import Interpreter, OpResolverType
except ImportError:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

KERNELS = {
    "": OpResolverType.AUTO,
    "built-in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}
loaded = None


def load(request, progress):
    """Open the file and plan its memory."""
    global loaded
    try:
        loaded = Interpreter(
            request["artifact"],
            num_threads=1,
            experimental_op_resolver_type=KERNELS[request["kernels"]],
        )
        for detail in loaded.get_input_details():
            if min(detail["shape"], default=1) < 1:
                shape = [max(size, 1) for size in detail["shape"]]
                loaded.resize_tensor_input(detail["index"], shape)
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error
    return {}


def run(request, progress):
    """Every sample from fresh variables, as a framework's model starts each time."""
    inputs = [detail["index"] for detail in loaded.get_input_details()]
    outputs = [detail["index"] for detail in loaded.get_output_details()]

    def once(values):
        loaded.reset_all_variables()
        for place, value in zip(inputs, values, strict=True):
            loaded.set_tensor(place, value)
        loaded.invoke()
        return [loaded.get_tensor(place) for place in outputs]

    try:
        return answer_samples(once, request, progress)
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error
