"""An ONNX model quantized by NNCF and run by ONNX Runtime; a program for NNCF's own environment.

    python nncf_row.py MODEL.onnx CALIBRATION.npy EVALUATION.npy OUTPUTS.npy

It imports nothing of edgekit's. The stacks hold samples as the model reads them, (N, …).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def main(model: str, calibration: str, evaluation: str, outputs: str) -> None:
    """Quantize with full bias correction, which is NNCF's most careful post-training setting."""
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import onnx
    import onnxruntime

    loaded = onnx.load(model)
    name = loaded.graph.input[0].name

    def feed(sample: np.ndarray[Any, np.dtype[Any]]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        return {name: sample[None]}

    stack = np.load(calibration)
    quantized = nncf.quantize(
        loaded, nncf.Dataset(stack, feed), subset_size=len(stack), fast_bias_correction=False
    )
    session = onnxruntime.InferenceSession(
        quantized.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    given = [session.run(None, feed(sample))[0][0] for sample in np.load(evaluation)]
    np.save(outputs, np.stack(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
