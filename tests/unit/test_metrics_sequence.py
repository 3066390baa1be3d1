"""Reading sequences and comparing texts, against plain implementations and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Contract, OutputContract, SequenceDecoder, sequence_from_table
from edgekit.errors import DataError, UsageError
from edgekit.measure.sequences import settle_sequence, symbols_of
from edgekit.measure.tasks import make_metric, say, say_label
from edgekit.types import TensorSpec
from edgekit.validation.metrics import Batch, SequenceMetric, Settings
from edgekit.validation.metrics.protocol import join
from edgekit.validation.metrics.sequence import edit_distance, read, symbol_table

CTC = SequenceDecoder(format="ctc", blank=0)
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


def scores(paths, symbols=27, *, steps=None):
    """(B, T, C) whose best symbols are these paths, filled up with 0."""
    steps = steps or max(map(len, paths))
    found = np.random.default_rng(0).uniform(0, 0.4, (len(paths), steps, symbols))
    for row, path in enumerate(paths):
        for step in range(steps):
            found[row, step, path[step] if step < len(path) else 0] = 1
    return found.astype(np.float32)


def path_of(word):
    """A CTC path: blanks in front, in between and behind, each letter twice."""
    return [0, *(one for letter in word for one in (*[ord(letter) - 96] * 2, 0))]


def numbers_of(word):
    return [ord(letter) - 96 for letter in word]


def contract(shape, labels=(), sequence=None):
    spec = TensorSpec(name="y", shape=(1, *shape))
    entry = OutputContract(tensor=spec, task="sequence", labels=labels, sequence=sequence)
    return Contract(outputs=(entry,))


def plain_distance(one, other):
    """Levenshtein's table, cell by cell."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    table[:, 0], table[0] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = min(
                table[i, j] + (a != b), table[i, j + 1] + 1, table[i + 1, j] + 1
            )
    return int(table[-1, -1])


@given(st.text("abc", max_size=70), st.text("abc", max_size=70))
def test_edits_are_levenshteins(one, other):
    assert edit_distance(one, other) == plain_distance(one, other)


def test_ctc_reads_repeated_letters_once_and_doubled_ones_twice():
    stack = scores([path_of("hello"), [8, 8, 5, 12, 12, 15]])
    assert read(stack, CTC) == [numbers_of("hello"), numbers_of("helo")]
    last = SequenceDecoder(format="ctc", blank=-1)
    turned = np.roll(stack, -1, axis=2)
    assert read(turned, last) == [[one - 1 for one in text] for text in read(stack, CTC)]


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)])
def test_the_character_set_tells_where_the_scores_are(axes):
    stack = scores([path_of("dad"), path_of("bee")], steps=90)
    found = read(stack.transpose(axes), CTC, 26)
    assert found == [numbers_of("dad"), numbers_of("bee")]
    assert read(stack[:, :, None, :], CTC, 26) == found


def test_an_arg_max_ends_at_the_end():
    decoder = SequenceDecoder(format="argmax", end=1)
    stack = scores([[5, 5, 6, 1, 9, 9], [7, 8, 9, 10, 11, 12]])
    assert read(stack, decoder) == [[5, 5, 6], [7, 8, 9, 10, 11, 12]]
    numbers = stack.argmax(axis=2)
    assert read(numbers, decoder) == read(stack, decoder), "decided in the graph"


def test_what_is_no_sequence_is_refused():
    with pytest.raises(DataError, match="step and symbol"):
        read(np.zeros((2, 4, 5, 6)), CTC)


@pytest.mark.parametrize(
    ("labels", "classes", "blank", "wanted"),
    [
        (("a", "b"), 3, 0, ("", "a", "b")),
        (("a", "b"), 3, -1, ("a", "b", "")),
        (("a", "b"), 4, 0, ("", "a", "b", " ")),
        (("-", "a", ""), 3, 0, ("", "a", " ")),
    ],
)
def test_symbols(labels, classes, blank, wanted):
    assert symbol_table(labels, SequenceDecoder(format="ctc", blank=blank), classes) == wanted


def test_a_character_set_of_another_length_is_refused():
    with pytest.raises(UsageError, match="27 symbols"):
        settle_sequence(contract((9, 27), LETTERS[:15], CTC), [scores([path_of("dad")])])


def measured(reference, candidate, labels=None, symbols=("", *LETTERS)):
    metric = SequenceMetric(decoder=CTC, symbols=symbols)
    stacks = [
        scores([path_of(word) for word in words], steps=60) for words in (reference, candidate)
    ]
    labels = labels or [None] * len(reference)
    halves = [
        Batch(
            index=range(len(labels))[some],
            reference=[stacks[0][some]],
            candidate=[stacks[1][some]],
            labels=labels[some],
        )
        for some in (slice(0, 3), slice(3, None))
    ]
    return metric.summarize(join([metric.measure(one) for one in halves]), Settings(draws=200))


WORDS = ["hello", "world", "zebra", "pizza", "quiz", "jazz", "lazy", "dozen"]


def test_figures_against_the_reference():
    found = measured(WORDS, ["hello", "wolrd", "zebra", "piza", "quiz", "jazz", "lazy", "dozen"])
    assert found.values["text_agreement"] == 6 / 8
    assert found.values["cer_to_reference"] == pytest.approx(3 / sum(map(len, WORDS)))
    assert found.values["symbols_lost"] == 0
    assert "cer" not in found.values
    assert found.intervals["text_agreement"].method == "Wilson"
    assert found.intervals["cer_to_reference"].low < 3 / sum(map(len, WORDS))


def test_a_letter_that_is_never_read_is_lost():
    found = measured(WORDS, [word.replace("z", "s") for word in WORDS])
    assert found.values["symbols_lost"] == 1
    assert found.details["lost"] == ["z"]


def test_figures_against_the_truth():
    truth = ["hello", "word", None, "pizza", "quiz", "jazz", "lazy", "dozen"]
    found = measured(WORDS, [word[:-1] for word in WORDS], truth)
    assert found.values["text_accuracy"] == 0
    assert found.values["reference_text_accuracy"] == 6 / 7
    assert found.values["text_accuracy_drop"] == pytest.approx(6 / 7)
    letters = sum(len(word or "") for word in truth)
    assert found.values["reference_cer"] == pytest.approx(1 / letters)
    assert found.values["cer"] == pytest.approx(7 / letters), "worl is one edit away from word"


def test_a_reference_that_reads_nothing_or_always_the_same_proves_nothing():
    assert measured(WORDS, WORDS).missing == ()
    assert "nothing" in measured([""] * 8, [""] * 8).missing[0]
    assert "same text" in measured(["abc"] * 8, ["abc"] * 8).missing[0]


def test_a_label_that_is_no_text_is_refused():
    with pytest.raises(DataError, match="not text"):
        measured(WORDS, WORDS, [1] * 8)


@pytest.mark.parametrize("blank", [0, -1])
def test_the_blank_is_found_by_what_the_reference_says(blank):
    stack = scores([path_of(word) for word in WORDS], steps=30)
    stack = stack if blank == 0 else np.roll(stack, -1, axis=2)
    settled, notes = settle_sequence(contract((30, 27), LETTERS), [stack])
    assert settled.outputs[0].sequence == SequenceDecoder(format="ctc", blank=blank)
    assert ("first" if blank == 0 else "last") in notes[0]
    assert say(settled, [stack[0]]) == "hello"
    assert say_label(settled, "hello") == "hello"
    assert make_metric(settled, samples=8).symbols == symbols_of(settled)


def test_a_padding_behind_the_text_is_not_taken_for_a_blank():
    padded = scores([numbers_of(word) for word in WORDS], steps=30)
    assert (padded.argmax(2) == 0).mean() > 0.5
    with pytest.raises(UsageError, match="not known") as caught:
        settle_sequence(contract((30, 27), LETTERS), [padded])
    assert 'decoder = { format = "ctc"' in caught.value.cure


def test_the_names_of_symbols_tell_how_they_are_read():
    stack = scores([numbers_of("hello")], symbols=28)
    for name, wanted in (("<blank>", "ctc"), ("[s]", "argmax")):
        settled, _ = settle_sequence(contract((5, 28), ("-", name, *LETTERS)), [stack])
        assert settled.outputs[0].sequence.format == wanted
        assert 1 in (settled.outputs[0].sequence.blank, settled.outputs[0].sequence.end)


def test_the_contract_keeps_how_a_sequence_is_read():
    stated = contract((9, 27), LETTERS, SequenceDecoder(format="argmax", end=1))
    assert Contract.from_json(stated.to_json()) == stated
    old = json.loads(stated.to_json())
    del old["outputs"][0]["sequence"]
    assert Contract.from_json(json.dumps(old)).outputs[0].sequence is None


@pytest.mark.parametrize(
    "table",
    [
        {"format": "ctc"},
        {"format": "ctc", "end": 1},
        {"format": "argmax", "blank": "first"},
        {"format": "ctc", "blank": "middle"},
        {"format": "ctc", "blank": True},
        {"format": "ctc", "blank": -2},
        {"format": "ctc", "blank": 0, "scores": "y"},
    ],
)
def test_a_decoder_that_makes_no_sense_is_refused(table):
    with pytest.raises(UsageError):
        sequence_from_table(table)


def test_a_decoder_that_does():
    assert sequence_from_table({"format": "ctc", "blank": "last"}).blank == -1
    assert sequence_from_table({"format": "argmax", "end": 3}).end == 3
