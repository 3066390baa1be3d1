"""A metric of the user's own: a function in a module or a file, called for each sample.

::

    def brightness(reference, candidate, label):
        '''reference, candidate: lists of one array per output; label: as in the data, or None.'''
        return abs(reference[0].mean() - candidate[0].mean())

It returns a number, or several by name. Their means over samples are the figures.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.errors import UsageError
from edgekit.validation.gates import METRICS
from edgekit.validation.metrics.protocol import Batch, MetricSummary, Rows, Score, Settings
from edgekit.validation.statistics import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

SampleFunction: TypeAlias = Callable[[list[Any], list[Any], Any], "float | Mapping[str, float]"]


@dataclass(frozen=True, kw_only=True)
class UserMetric:
    """Means of what a user's function returns; a single number goes by the function's name."""

    name: str
    function: SampleFunction

    def measure(self, batch: Batch) -> Rows:
        """One column per number that the function returns.

        Raises:
            UsageError: the function raised, or returned something else than numbers.
        """
        import numpy as np

        found = [self._call(batch, place) for place in range(len(batch.labels))]
        if any(set(one) != set(found[0]) for one in found):
            raise UsageError(
                f"The metric {self.name} returned other names for some samples.",
                cure="Return the same names each time, with NaN where there is no number.",
            )
        return {key: np.array([one[key] for one in found]) for key in found[0]}

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """The mean of each column with its interval."""
        return MetricSummary(
            scores=tuple(
                Score(
                    name=name,
                    value=float(values.mean()),
                    interval=bootstrap(
                        values,
                        draws=settings.draws,
                        confidence=settings.confidence,
                        seed=settings.seed,
                    ),
                    samples=len(values),
                )
                for name, values in rows.items()
            )
        )

    def _call(self, batch: Batch, place: int) -> dict[str, float]:
        reference, candidate = (
            [output[place] for output in outputs] for outputs in (batch.reference, batch.candidate)
        )
        try:
            result = self.function(reference, candidate, batch.labels[place])
            named = result if isinstance(result, Mapping) else {self.name: result}
            numbers = {str(key): float(value) for key, value in named.items()}
        except Exception as error:
            sample = batch.names[place] if batch.names else batch.index[place]
            raise UsageError(
                f"The metric {self.name} failed on sample {sample}: {error!r}",
                cure="It is called as function(reference, candidate, label) and returns a number "
                "or numbers by name.",
            ) from error
        for key in numbers:
            if not re.fullmatch(r"\w+", key, re.ASCII) or key in METRICS:
                raise UsageError(
                    f"The metric {self.name} returned the name {key!r}, which a gate cannot use "
                    "or edgekit has already.",
                    cure="Use letters, digits and underscores, and a name of your own.",
                )
        return numbers


def load_metric(text: str) -> UserMetric:
    """Import ``package.module:function`` or ``file.py:function``. This runs the user's code.

    Raises:
        UsageError: there is no such module or function.
    """
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(
            f"The metric {text!r} is not package.module:function.",
            cure="For example --metric my_package.metrics:brightness",
        )
    try:
        module = (
            _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
    except Exception as error:
        raise UsageError(
            f"The metric's module {place} cannot be imported: {error!r}",
            cure="Check the name, and that it is on PYTHONPATH or in the current folder.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{place} has no function {name}.", cure="Check the name.")
    return UserMetric(name=name, function=function)


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
