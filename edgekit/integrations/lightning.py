"""For Lightning, installed as ``lightning`` or as ``pytorch_lightning``."""

from __future__ import annotations

import importlib.util
from typing import Any

if importlib.util.find_spec("lightning") is not None:
    from lightning.pytorch import Callback
else:
    from pytorch_lightning import Callback

from edgekit.api import convert
from edgekit.api.signatures import like
from edgekit.errors import UsageError
from edgekit.integrations.options import check
from edgekit.results import ConversionResult


class LightningCallback(Callback):  # type: ignore[misc]  # Lightning is not there for mypy
    """Convert the module at the end of `Trainer.fit`, and judge the files on its validation data.

    >>> proof = LightningCallback(task="classification", output="net_tflite")  # doctest: +SKIP
    >>> Trainer(callbacks=[proof]).fit(module, datamodule=photos)  # doctest: +SKIP
    >>> proof.result.passed  # doctest: +SKIP

    The module, its trainer and the random numbers are afterwards what they were. Where several
    processes train, the first one converts.

    Attributes:
        result: what `edgekit.convert` returned; `None` until the training has ended.
    """

    @like(convert)
    def __init__(self, *, calibration: object = None, **options: Any) -> None:
        """Take the options of `edgekit.convert`, which are checked now.

        Args:
            calibration: what the model will really see; the loader of ``fit``'s validation by
                default, else that of its training.
            options: as for `edgekit.convert`.

        Raises:
            edgekit.errors.UsageError: an option is not known.
        """
        super().__init__()
        check(options)
        self.result: ConversionResult | None = None
        self._calibration, self._options = calibration, options

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Convert.

        Raises:
            edgekit.errors.EdgekitError: it cannot be converted; a failed gate is no error.
        """
        if trainer.is_global_zero:
            data = _loader(trainer) if self._calibration is None else self._calibration
            self.result = convert(pl_module, calibration=data, **self._options)


def _loader(trainer: Any) -> object:
    data: Any = trainer.val_dataloaders or trainer.train_dataloader
    if isinstance(data, list | tuple) and len(data) == 1:
        data = data[0]
    if data is None or isinstance(data, list | tuple | dict):
        raise UsageError(
            f"The trainer has {len(data or ())} loaders of data, so it is not clear which to take.",
            cure="Say it: LightningCallback(calibration=loader, …)",
        )
    return data
