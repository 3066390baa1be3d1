"""From a float `.tflite` to a quantized one.

The face is one function, `edgekit.quantize.engine.quantize`: a float file, a scheme and calibration
feeds go in, a quantized file comes out with what stayed float and why. It runs in a worker process
(`edgekit/quantize/worker.py`), since the runtime that observes a broken file may crash.
"""

from edgekit.callable_module import make_callable

make_callable(__name__)
