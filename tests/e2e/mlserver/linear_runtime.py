"""A model for MLServer: y = x·W + b of an `.npz`, and the arg-max of y. Runs in its own Python."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Linear(MLModel):
    """``parameters.uri`` of the settings names a file with ``w`` (features, classes) and ``b``."""

    async def load(self) -> bool:
        with np.load(self.settings.parameters.uri) as file:
            self.w, self.b = file["w"], file["b"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = (x.reshape(len(x), -1) @ self.w + self.b).astype(np.float32)
        outputs = [
            NumpyCodec.encode_output("best", y.argmax(1)),
            NumpyCodec.encode_output("scores", y),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
