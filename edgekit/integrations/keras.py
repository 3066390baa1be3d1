"""For Keras, on whatever back end."""

from __future__ import annotations

from typing import Any

import keras

from edgekit.api import convert
from edgekit.api.signatures import like
from edgekit.integrations.options import check
from edgekit.results import ConversionResult


class KerasCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not there for mypy
    """Convert the model at the end of `fit`, and judge the files.

    >>> proof = KerasCallback(calibration=x_test, task="classification")  # doctest: +SKIP
    >>> model.fit(x, y, callbacks=[proof])  # doctest: +SKIP
    >>> proof.result.passed  # doctest: +SKIP

    Attributes:
        result: what `edgekit.convert` returned; `None` until the training has ended.
    """

    @like(convert)
    def __init__(self, *, calibration: object, **options: Any) -> None:
        """Take the options of `edgekit.convert`, which are checked now.

        Args:
            calibration: what the model will really see.
            options: as for `edgekit.convert`.

        Raises:
            edgekit.errors.UsageError: an option is not known.
        """
        super().__init__()
        check(options)
        self.result: ConversionResult | None = None
        self._calibration, self._options = calibration, options

    def on_train_end(self, logs: Any = None) -> None:
        """Convert.

        Raises:
            edgekit.errors.EdgekitError: it cannot be converted; a failed gate is no error.
        """
        self.result = convert(self.model, calibration=self._calibration, **self._options)
