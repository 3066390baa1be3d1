"""The preprocessing probe: asks the reference about a few samples as likely slips would feed them.

What the figures mean is decided in `edgekit.validation.probe`, what a graph says by itself in
`edgekit.validation.probe_graph`; here is only which samples, which alternatives and how many
questions. All alternatives are asked about a few samples at once, and only one that looks better
there is asked about more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.closeness import is_vector_of_scores
from edgekit.contract import Contract, InputContract, image_axes
from edgekit.errors import ConversionError, ModelError, UsageError
from edgekit.tflite.model import read
from edgekit.validation import probe
from edgekit.validation.probe import Probe, Tried
from edgekit.validation.probe_contracts import Slip, of_arrays, slips
from edgekit.validation.probe_graph import GraphSlip, contradiction, graph_slip, own_normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

MOST = 48
"""So many samples are looked at, at most."""
_MOST_BYTES = 256e6
_SCREENED = 10
_CLOSER = 2
"""At most so many alternatives are asked about all samples."""
_SMALLEST = 8
_CUT = 8
"""An eighth of the picture is cut off for a view."""
_SHARPER = 1.5
"""An alternative is looked at closer where its decisions are so many times as sharp."""
_MOSTLY = 0.7
"""And sharper on such a share of the samples."""

Ask: TypeAlias = "Callable[[Sequence[Array]], Sequence[Array]]"
"""Stacks of samples, one for each input, to stacks of the reference's outputs."""


def probed_samples(count: int, first: Sequence[Array]) -> Array:
    """Which of ``count`` samples to look at, evenly spread: data is often sorted by class.

    Args:
        count: how many there are.
        first: stacks of one of them, for what fits well into memory.
    """
    fitting = max(1, int(_MOST_BYTES // max(1, sum(stack.nbytes for stack in first))))
    return _spread(count, min(MOST, fitting))


def _spread(count: int, most: int) -> Array:
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def refuse_contradictions(contract: Contract, *, accepted: bool) -> None:
    """Refuse a preprocessing that cannot be meant.

    Raises:
        UsageError: there is one, and nobody said that it is meant.
    """
    for entry in () if accepted else contract.inputs:
        if entry.preprocess is None or not entry.tensor.dtype.startswith("float"):
            continue
        if (found := contradiction(entry.preprocess)) is not None:
            raise UsageError(
                f"Input {entry.tensor.name}: the preprocessing contradicts itself: "
                f"{found.sentence}.",
                cure=f"State {found.option}, or --accept-contract if it is really meant.",
            )


def check_graph(file: Path, contract: Contract) -> GraphSlip | None:
    """What a `.tflite` file does to its pictures by itself, where the contract contradicts it.

    Args:
        file: made of the model.
        contract: of its inputs, by name, or by place where the names are others.
    """
    graph = read(file).main
    by_name = {entry.tensor.name: entry for entry in contract.inputs}
    if not set(by_name) & {tensor.name for tensor in graph.inputs}:
        by_name = {t.name: e for t, e in zip(graph.inputs, contract.inputs, strict=False)}
    for tensor in graph.inputs:
        entry = by_name.get(tensor.name)
        if entry is None or entry.preprocess is None or entry.folded is not None:
            continue
        own = own_normalization(graph, tensor)
        found = graph_slip(own, entry.preprocess.value_range) if own else None
        if found is not None:
            return found
    return None


def look(
    contract: Contract,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    labels: Sequence[int | None],
    ask: Ask | None,
    *,
    pictures: frozenset[str],
) -> Probe:
    """Whether the reference would do clearly better under another contract.

    Args:
        contract: the stated one.
        inputs: stacks of at most `MOST` samples, one for each input.
        outputs: what the reference says of these.
        labels: the class of each of them, ``None`` where unknown; empty where none is known.
        ask: asks the reference; ``None`` where it cannot be asked (a recording).
        pictures: the inputs that were made from pictures by the contract.
    """
    scores = _scores(outputs)
    if scores is None or contract.task not in (None, "classification"):
        return Probe(why="its outputs are not scores of classes")
    known = _known(labels or [None] * len(scores))
    right = reference_accuracy(contract, outputs, labels)
    probed = _probed(contract, inputs, pictures)
    if isinstance(probed, str) or ask is None:
        why = probed if isinstance(probed, str) else "the reference cannot be asked again"
        return Probe(accuracy=right, why=why)
    place, axes, alternatives = probed
    asking = _Asking(contract, inputs, scores, known, ask, place, axes)
    try:
        if (known >= 0).any():
            return asking.by_labels(alternatives, right)
        return asking.by_sharpness(alternatives)
    except (ConversionError, ModelError) as error:
        return Probe(accuracy=right, why=f"it does not take other values ({error.cause})")


def reference_accuracy(
    contract: Contract, outputs: Sequence[Array], labels: Sequence[int | None]
) -> probe.Accuracy | None:
    """How often a reference is right that is said to classify; others may be embeddings."""
    scores = _scores(outputs)
    if scores is None or contract.task != "classification" or not labels:
        return None
    return probe.accuracy(scores.argmax(axis=-1), _known(labels))


def _known(labels: Sequence[int | None]) -> Array:
    import numpy as np

    return np.array([-1 if one is None else one for one in labels], np.int64)


@dataclass(frozen=True)
class _Asking:
    """What all questions have in common."""

    contract: Contract
    inputs: Sequence[Array]
    scores: Array
    labels: Array
    ask: Ask
    place: int
    axes: tuple[int, int, int]

    def by_labels(self, alternatives: Sequence[Slip], right: probe.Accuracy | None) -> Probe:
        import numpy as np

        known = np.flatnonzero(self.labels >= 0)
        if len(known) < probe.FEWEST:
            return Probe(accuracy=right, why=f"only {len(known)} samples have labels")
        first = known[_spread(len(known), _SCREENED)]
        rest = np.setdiff1d(known, first)
        screened = self._screen(alternatives, first)
        ahead = [self._hits(answers, first) for _, answers in screened]
        leaders = [
            place
            for place in sorted(range(len(ahead)), key=lambda one: -ahead[one])[:_CLOSER]
            if ahead[place] > self._hits(self.scores[first], first) and len(rest)
        ]
        tried = []
        for place, (slip, scores) in enumerate(screened):
            some, answers = first, scores
            if place in leaders:
                more = self._answers([self._under(slip, rest)], rest)[0]
                some, answers = np.r_[first, rest], np.concatenate([scores, more])
            tried.append(
                probe.by_labels(
                    slip.alternative,
                    self.scores[some].argmax(axis=-1),
                    answers.argmax(axis=-1),
                    self.labels[some],
                    trials=len(alternatives),
                )
            )
        return Probe(accuracy=right, tried=tuple(tried), found=probe.best(tried))

    def _hits(self, scores: Array, some: Array) -> int:
        return int((scores.argmax(axis=-1) == self.labels[some]).sum())

    def by_sharpness(self, alternatives: Sequence[Slip]) -> Probe:
        import numpy as np

        n, classes = self.scores.shape
        if n < probe.FEWEST:
            return Probe(why=f"there are no labels, and only {n} samples")
        if classes < probe.FEWEST_CLASSES:
            return Probe(why=f"there are no labels, and {classes} classes are too few to tell by")
        tried: list[Tried] = []
        first, some = _spread(n, _SCREENED), np.arange(n)
        mine = probe.sharpness(self.scores[first])
        stated: Array | None = None
        for slip, answers in self._screen(alternatives, first):
            theirs = probe.sharpness(answers)
            ahead = np.median(theirs) >= _SHARPER * np.median(mine)
            if not ahead or (theirs > mine).mean() < _MOSTLY:
                tried.append(probe.unsuspicious(slip.alternative, mine, theirs))
                continue
            if stated is None:
                stated = self._views(self.inputs[self.place], some, self.scores)
            other = self._views(self._under(slip, some), some)
            tried.append(
                probe.by_sharpness(slip.alternative, stated, other, trials=len(alternatives))
            )
        return Probe(tried=tuple(tried), found=probe.best(tried))

    def _screen(self, alternatives: Sequence[Slip], some: Array) -> list[tuple[Slip, Array]]:
        """What all alternatives that change anything say about a few samples, asked at once."""
        import numpy as np

        stated = self.inputs[self.place][some]
        stacks = [(slip, self._under(slip, some)) for slip in alternatives]
        kept = [(slip, stack) for slip, stack in stacks if not np.array_equal(stack, stated)]
        answers = self._answers([stack for _, stack in kept], some)
        return [(slip, one) for (slip, _), one in zip(kept, answers, strict=True)]

    def _under(self, slip: Slip, some: Array) -> Array:
        return slip.of(self.inputs[self.place][some], self.axes[2])

    def _views(self, stack: Array, some: Array, known: Array | None = None) -> Array:
        """The scores of pictures as they are (perhaps known), flipped, and cut: (3, n, classes)."""
        import numpy as np

        flipped = np.ascontiguousarray(np.flip(stack, self.axes[1]))
        others = [flipped, _cut(stack, self.axes)]
        if known is not None:
            return np.stack([known, *self._answers(others, some)])
        return np.stack(self._answers([stack, *others], some))

    def _answers(self, stacks: Sequence[Array], some: Array) -> list[Array]:
        """The reference's scores for stacks of the same samples, asked at once."""
        import numpy as np

        if not stacks:
            return []
        asked = [np.concatenate([stack[some]] * len(stacks)) for stack in self.inputs]
        asked[self.place] = np.concatenate(stacks)
        scores = _scores(self.ask(asked))
        assert scores is not None
        return np.split(scores, len(stacks))


def _scores(outputs: Sequence[Array]) -> Array | None:
    """The first output as (n, classes), where it has one score for each class."""
    import numpy as np

    first = np.asarray(outputs[0])
    if not is_vector_of_scores(first.shape[1:]) or not np.isfinite(first).all():
        return None
    return first.reshape(len(first), -1)


def _probed(
    contract: Contract, inputs: Sequence[Array], pictures: frozenset[str]
) -> tuple[int, tuple[int, int, int], list[Slip]] | str:
    """The input to try others on, its axes in a stack, and what to try; or why there is none."""
    places = [
        (place, axes)
        for place, entry in enumerate(contract.inputs)
        if (axes := _picture_axes(entry)) is not None
    ]
    if len(places) != 1:
        return "no input is a picture" if not places else "several inputs are pictures"
    (place, axes), entry = places[0], contract.inputs[places[0][0]]
    channels = inputs[place].shape[axes[2]]
    ready = entry.tensor.name not in pictures
    stated = entry.preprocess
    if ready:
        stated = of_arrays(float(inputs[place].min()), float(inputs[place].max()), channels)
    if stated is None:
        return "nobody knows how its arrays were made of pictures"
    whole = not entry.tensor.dtype.startswith("float")
    return place, axes, slips(stated, channels, ready=ready, whole=whole)


def _picture_axes(entry: InputContract) -> tuple[int, int, int] | None:
    axes = image_axes(entry.tensor)
    if axes is None or entry.tensor.shape[0] != 1:
        return None
    height, width, channels = (entry.tensor.shape[axis] or 0 for axis in axes)
    return axes if channels in (1, 3, 4) and min(height, width) >= _SMALLEST else None


def _cut(stack: Array, axes: tuple[int, int, int]) -> Array:
    """Pictures without an eighth at the top and at the left, as large as before."""
    import cv2
    import numpy as np

    moved = np.moveaxis(stack, axes, (1, 2, 3))
    height, width, channels = moved.shape[1:]
    cut = [
        cv2.resize(
            np.ascontiguousarray(one[height // _CUT :, width // _CUT :], np.float32),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        ).reshape(height, width, channels)
        for one in moved
    ]
    back = np.moveaxis(np.stack(cut), (1, 2, 3), axes)
    return np.ascontiguousarray(back, stack.dtype)
