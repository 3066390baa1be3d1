"""TensorFlow Lite Micro's interpreter, as its own Python package has it."""

from pathlib import Path

from tflite_micro.python.tflite_micro import runtime

from edgekit_worker import WorkerError, answer_samples

ARENAS = [1 << 20, 1 << 24, 1 << 28, 1 << 30]
loaded = None


def load(request, progress):
    """Open the file with an arena that is large enough."""
    global loaded
    model = Path(request["artifact"]).read_bytes()
    for size in ARENAS:
        try:
            loaded = runtime.Interpreter.from_bytes(model, arena_size=size)
        except (RuntimeError, ValueError) as error:
            why = error
        else:
            return {"facts": {"arena_bytes": smallest(model, size)}}
    raise WorkerError(str(why))


def smallest(model, enough):
    """The smallest arena with which the file opens, in bytes: found by halving."""
    short = 0
    while enough - short > 1:
        middle = (short + enough) // 2
        try:
            runtime.Interpreter.from_bytes(model, arena_size=middle)
        except RuntimeError:
            short = middle
        else:
            enough = middle
    return enough


def run(request, progress):
    """Every sample after a reset of the variables."""
    count = len(request["outputs"])

    def once(values):
        loaded.reset()
        for place, value in enumerate(values):
            loaded.set_input(value, place)
        loaded.invoke()
        return [loaded.get_output(place) for place in range(count)]

    try:
        return answer_samples(once, request, progress)
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error
