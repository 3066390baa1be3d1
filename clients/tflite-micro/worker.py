"""TensorFlow Lite Micro's interpreter, as its own Python package has it."""

import contextlib
import os
import re
from pathlib import Path

from tflite_micro.python.tflite_micro import runtime

from edgekit_worker import WorkerError, answer_samples

ARENAS = [1 << 20, 1 << 24, 1 << 28, 1 << 30]
TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
loaded = None


def load(request, progress):
    """Open the file with an arena that is large enough, and ask what of it was taken."""
    global loaded
    model = Path(request["artifact"]).read_bytes()
    said = Path(request["folder"]) / "said.txt"
    for size in ARENAS:
        try:
            with printed_to(said):
                loaded = runtime.Interpreter.from_bytes(model, arena_size=size)
        except (RuntimeError, ValueError) as error:
            why = error
        else:
            return {"facts": {"arena_bytes": taken(said)}}
    raise WorkerError(f"{why}: {first_line(said)}")


def taken(path):
    """The bytes that its recording allocator has counted: with fewer it does not open the file."""
    with printed_to(path):
        loaded.print_allocations()
    return int(TOTAL.search(path.read_text(encoding="utf-8", errors="replace"))[1])


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


def first_line(path):
    """What it printed first."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), "it did not say why")


@contextlib.contextmanager
def printed_to(path):
    """What native code prints goes into a file."""
    kept = os.dup(1), os.dup(2)
    with path.open("wb") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        try:
            yield
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
