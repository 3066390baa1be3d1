"""How a sequence is read, where nobody says: by the names of its symbols, or by what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract, OutputContract, SequenceDecoder
from edgekit.errors import UsageError
from edgekit.validation.metrics.sequence import symbol_axis, symbol_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BLANKS = frozenset({"<blank>", "[blank]", "blank", "<blk>", "<pad>", "[pad]", "<ctc>"})
_ENDS = frozenset({"<eos>", "[eos]", "eos", "</s>", "[s]", "<end>", "[end]"})
_MOST = 0.3
"""A blank is best in at least so many of all steps, and four times as often as the other end."""
_INSIDE = 0.5
"""And in so many of the samples between other symbols."""


def settle_sequence(
    contract: Contract, outputs: Sequence[Array]
) -> tuple[Contract, tuple[str, ...]]:
    """The contract with how its sequence is read and a text for each symbol; what was found out.

    Args:
        contract: on the reference's tensors; nothing happens where its task is another.
        outputs: the reference's for some samples (N, …), in the contract's order.

    Raises:
        UsageError: nobody says how it is read, and nothing shows it; or the character set does not
            fit.
    """
    if contract.task != "sequence":
        return contract, ()
    place = sequence_place(contract)
    entry, stack = contract.outputs[place], outputs[place]
    notes: tuple[str, ...] = ()
    if entry.sequence is None:
        decoder, why = _found(entry, stack)
        entry = replace(entry, sequence=decoder)
        notes = (f"Output {entry.tensor.name} is read by {decoder.format}: {why}.",)
    assert entry.sequence is not None
    symbols = symbol_table(entry.labels, entry.sequence, _classes(stack, len(entry.labels)))
    entries = list(contract.outputs)
    entries[place] = replace(entry, labels=symbols)
    return replace(contract, outputs=tuple(entries)), notes


def sequence_place(contract: Contract) -> int:
    """Which output is read: the one with a decoder, else the one with the task."""
    decoded = [place for place, one in enumerate(contract.outputs) if one.sequence]
    stated = [place for place, one in enumerate(contract.outputs) if one.task == "sequence"]
    return (decoded or stated)[0]


def symbols_of(contract: Contract) -> tuple[str, ...]:
    """The text of each symbol of a settled contract; nothing where they are not known."""
    entry = contract.outputs[sequence_place(contract)]
    if entry.sequence is None:
        return ()
    return symbol_table(entry.labels, entry.sequence, len(entry.labels))


def _classes(stack: Array, labels: int) -> int:
    sizes = [size for size in stack.shape[1:] if size != 1]
    return sizes[symbol_axis(sizes, labels)] if len(sizes) == 2 else labels


def _found(entry: OutputContract, stack: Array) -> tuple[SequenceDecoder, str]:
    names = [label.lower() for label in entry.labels]
    for known, kind in ((_BLANKS, "blank"), (_ENDS, "end")):
        places = [place for place, name in enumerate(names) if name in known]
        if len(places) == 1:
            decoder = SequenceDecoder(
                format="ctc" if kind == "blank" else "argmax", **{kind: places[0]}
            )
            return decoder, f"the character set calls symbol {places[0]} {entry.labels[places[0]]}"
    sizes = [size for size in stack.shape[1:] if size != 1]
    if len(sizes) == 2:
        axis = symbol_axis(sizes, len(entry.labels))
        best = stack.reshape(len(stack), *sizes).argmax(axis=1 + axis)
        ends = {"first": best == 0, "last": best == sizes[axis] - 1}
        where = max(ends, key=lambda end: float(ends[end].mean()))
        share, total = float(ends[where].mean()), sum(float(end.mean()) for end in ends.values())
        if share >= _MOST and share >= 4 * (total - share) and _is_inside(ends[where]):
            why = f"the {where} symbol is the best of {share:.0%} of all steps, as a blank is"
            return SequenceDecoder(format="ctc", blank=0 if where == "first" else -1), why
    name = entry.tensor.name
    raise UsageError(
        f"How output {name} becomes a text is not known.",
        cure=f'Say it in edgekit.toml:\n  [outputs."{name}"]\n  task = "sequence"\n'
        '  labels = "characters.txt"\n  decoder = { format = "ctc", blank = "first" }\n'
        'blank = "last" where it is the last symbol; decoder = { format = "argmax", end = 1 } '
        "where an end symbol closes the text, as with attention.",
    )


def _is_inside(blank: Array) -> bool:
    """Whether blanks lie between other symbols, not only behind them as a padding does."""
    inside = 0
    for row in blank:
        others = (~row).nonzero()[0]
        inside += bool(len(others) and row[others[0] : others[-1]].any())
    return inside >= _INSIDE * len(blank)
