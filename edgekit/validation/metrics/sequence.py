"""Sequences (text recognition, speech): reads outputs as the contract says, compares texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import SequenceDecoder
from edgekit.errors import DataError, UsageError
from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    same_shape,
)
from edgekit.validation.statistics import bootstrap, paired_drop, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

CHOSEN_OFTEN = 5
"""A symbol that the reference reads so often, and the candidate never where it should, is lost."""


@dataclass(frozen=True, kw_only=True)
class SequenceMetric:
    """Same texts and character error rate, against the reference and against labels.

    Attributes:
        decoder: how an output is read.
        symbols: the character set, see `symbol_table`; without it only the reference is compared.
        place: of the output.
    """

    decoder: SequenceDecoder
    symbols: tuple[str, ...] = ()
    place: int = 0

    def measure(self, batch: Batch) -> Rows:
        """Per sample: what both read, as symbols' numbers, and the edits between the texts.

        Raises:
            DataError: an output that is not a score for each step and symbol, or a label that is no
                text.
        """
        import numpy as np

        stacks = batch.reference[self.place], batch.candidate[self.place]
        same_shape(*stacks)
        mine, theirs = (read(stack, self.decoder, len(self.symbols)) for stack in stacks)
        rows: dict[str, Array] = {
            "labelled": np.array([label is not None for label in batch.labels], bool),
            "edits": np.array([edit_distance(a, b) for a, b in zip(mine, theirs, strict=True)]),
        }
        for role, texts in (("reference", mine), ("candidate", theirs)):
            rows[f"{role}_length"] = np.array([len(text) for text in texts])
            rows[f"{role}_symbols"] = np.array([one for text in texts for one in text], np.int64)
            errors = [
                self._errors(text, label) for text, label in zip(texts, batch.labels, strict=True)
            ]
            rows[f"{role}_errors"] = np.array(errors, np.int64)
        rows["truth_length"] = np.array([len(label or "") for label in batch.labels])
        return rows

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Agreement over all samples, accuracy and error rate over those with a text."""
        mine, theirs = (_texts(rows, role) for role in ("reference", "candidate"))
        scores = [
            _share("text_agreement", rows["edits"] == 0, settings),
            _rate("cer_to_reference", rows["edits"], rows["reference_length"], settings),
            Score(
                name="symbols_lost",
                value=float(len(lost_symbols(mine, theirs))),
                interval=None,
                samples=len(mine),
            ),
        ]
        known = rows["labelled"].astype(bool)
        if known.any():
            scores += _against_labels({name: rows[name][known] for name in _LABELLED}, settings)
        details = {"lost": [self._name(one) for one in lost_symbols(mine, theirs)]}
        return MetricSummary(scores=tuple(scores), details=details, missing=tuple(_silent(mine)))

    def _errors(self, text: Sequence[int], label: Any) -> int:
        if label is None:
            return 0
        if not isinstance(label, str):
            raise DataError(
                f"A label is {str(label)[:40]!r}, which is not text.",
                cure="The labels of sequences are texts.",
            )
        return edit_distance("".join(self._name(one) for one in text), label)

    def _name(self, number: int) -> str:
        return self.symbols[number] if number < len(self.symbols) else f"<{number}>"


_LABELLED = ("reference_errors", "candidate_errors", "truth_length")


def read(stack: Array, decoder: SequenceDecoder, symbols: int = 0) -> list[list[int]]:
    """What outputs say, as the numbers of symbols.

    CTC after A. Graves et al., "Connectionist Temporal Classification", 2006: the best path.

    Args:
        stack: (B, …), for each sample a score for each step and symbol in either order (axes of 1
            anywhere), or the best symbols' numbers.
        decoder: how.
        symbols: how many there are, which tells their axis; otherwise it is the last one.

    Raises:
        DataError: the output has another form.
    """
    import numpy as np

    sizes = [size for size in stack.shape[1:] if size != 1]
    if len(sizes) > 2 or not sizes:
        raise DataError(
            f"An output of the shape {stack.shape[1:]} has no score for each step and symbol.",
            cure="State the right --task, or the output that is read in edgekit.toml.",
        )
    if len(sizes) == 1:
        best, count = np.rint(stack.reshape(len(stack), -1)).astype(np.int64), symbols
    else:
        axis = symbol_axis(sizes, symbols)
        best = stack.reshape(len(stack), *sizes).argmax(axis=1 + axis)
        count = sizes[axis]
    stop = decoder.blank if decoder.format == "ctc" else decoder.end
    assert stop is not None
    special = count - 1 if stop == -1 else stop
    return [_best_path(row, special, ctc=decoder.format == "ctc") for row in best]


def _best_path(row: Array, special: int, *, ctc: bool) -> list[int]:
    import numpy as np

    if ctc:
        changed = np.append(True, row[1:] != row[:-1])
        return [int(one) for one in row[changed] if one != special]
    ends = np.flatnonzero(row == special)
    return [int(one) for one in (row[: ends[0]] if len(ends) else row)]


def symbol_axis(sizes: Sequence[int], symbols: int) -> int:
    """Which of two axes has the scores: the one as long as the character set, else the last one."""
    fits = [axis for axis in (0, 1) if symbols and 0 <= sizes[axis] - symbols <= 2]
    return fits[0] if len(fits) == 1 else 1


def symbol_table(labels: Sequence[str], decoder: SequenceDecoder, classes: int) -> tuple[str, ...]:
    """The text of each of the output's symbols.

    A character set may leave out the blank, and a space at its end as PaddleOCR's do; an empty
    name is a space.

    Args:
        labels: the character set, nothing where it is not known.
        decoder: how the output is read.
        classes: how many symbols the output has scores for.

    Raises:
        UsageError: there are too many or too few names.
    """
    if not labels:
        return ()
    names = [label or " " for label in labels]
    stop = decoder.blank if decoder.format == "ctc" else decoder.end
    assert stop is not None
    special = classes - 1 if stop == -1 else stop
    if len(names) == classes - 2 and decoder.format == "ctc":
        names.append(" ")
    if len(names) == classes - 1:
        names.insert(special, "")
    if len(names) != classes:
        raise UsageError(
            f"The output has scores for {classes} symbols, and the character set has "
            f"{len(labels)} of them.",
            cure="Give one symbol a line (--labels), in the order of the scores; the blank may be "
            "left out.",
        )
    names[special] = ""
    return tuple(names)


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many insertions, deletions and substitutions make one sequence the other.

    By bit vectors. Source: H. Hyyrö, "A Bit-Vector Algorithm for Computing Levenshtein and Damerau
    Edit Distances", 2003.
    """
    if not len(one) or not len(other):
        return len(one) + len(other)
    places: dict[Any, int] = {}
    for place, symbol in enumerate(one):
        places[symbol] = places.get(symbol, 0) | 1 << place
    full = (1 << len(one)) - 1
    last = 1 << (len(one) - 1)
    up, down, distance = full, 0, len(one)
    for symbol in other:
        equal = places.get(symbol, 0)
        vertical = equal | down
        diagonal = (((equal & up) + up) ^ up) | equal
        more, fewer = (down | ~(diagonal | up)) & full, up & diagonal
        distance += bool(more & last) - bool(fewer & last)
        more, fewer = (more << 1 | 1) & full, (fewer << 1) & full
        up, down = (fewer | ~(vertical | more)) & full, more & vertical
    return distance


def lost_symbols(
    reference: Sequence[Sequence[int]], candidate: Sequence[Sequence[int]]
) -> list[int]:
    """Symbols that the reference reads often, and the candidate in none of the same samples."""
    given: Counter[int] = Counter()
    met: Counter[int] = Counter()
    for mine, theirs in zip(reference, candidate, strict=True):
        counts = Counter(mine)
        given += counts
        met += counts & Counter(theirs)
    return sorted(one for one, often in given.items() if often >= CHOSEN_OFTEN and not met[one])


def _texts(rows: Rows, role: str) -> list[list[int]]:
    import numpy as np

    ends = np.cumsum(rows[f"{role}_length"])
    return [part.tolist() for part in np.split(rows[f"{role}_symbols"], ends[:-1])]


def _silent(texts: Sequence[Sequence[int]]) -> list[str]:
    """Why the reference's texts prove nothing."""
    empty = sum(not text for text in texts)
    if 2 * empty > len(texts):
        return [f"The reference reads nothing in {empty} of {len(texts)} samples."]
    if len({tuple(text) for text in texts}) < 2 <= len(texts):
        return ["The reference reads the same text in all samples."]
    return []


def _against_labels(rows: Rows, settings: Settings) -> list[Score]:
    import numpy as np

    mine, theirs = rows["reference_errors"], rows["candidate_errors"]
    lengths = rows["truth_length"]
    drop = paired_drop(
        mine == 0,
        theirs == 0,
        draws=settings.draws,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    return [
        _share("text_accuracy", theirs == 0, settings),
        _share("reference_text_accuracy", mine == 0, settings),
        Score(
            name="text_accuracy_drop",
            value=float(np.mean(mine == 0) - np.mean(theirs == 0)),
            interval=drop,
            samples=len(mine),
        ),
        _rate("cer", theirs, lengths, settings),
        _rate("reference_cer", mine, lengths, settings),
        _rate("cer_increase", theirs - mine, lengths, settings),
    ]


def _share(name: str, hits: Array, settings: Settings) -> Score:
    found = int(hits.sum())
    interval = wilson(found, len(hits), confidence=settings.confidence)
    return Score(name=name, value=found / len(hits), interval=interval, samples=len(hits))


def _rate(name: str, edits: Array, lengths: Array, settings: Settings) -> Score:
    """Edits for each symbol of the texts, over all samples together."""
    import numpy as np

    total = int(lengths.sum())
    interval = bootstrap(
        np.stack([edits, lengths], axis=1),
        lambda means: means[:, 0] / means[:, 1].clip(1e-9),
        draws=settings.draws,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    value = float(edits.sum()) / total if total else (math.inf if edits.sum() else 0.0)
    return Score(name=name, value=value, interval=interval, samples=len(edits))
