"""Another contract is called better only where it clearly is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgekit.contract import InputContract, Preprocess, preprocess_from_table
from edgekit.preprocess import preprocess_image
from edgekit.types import TensorSpec
from edgekit.validation import probe
from edgekit.validation.probe import Alternative, Probe
from edgekit.validation.probe_contracts import of_arrays, slips
from edgekit.validation.probe_graph import GraphSlip

BGR = Alternative(words="with BGR channel order", option="--color BGR")
IMAGENET = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
UNIT = Preprocess(scale=1 / 255)


# ------------------------------------------------------------------------- with labels


@given(st.lists(st.integers(-1, 1), max_size=60))
def test_the_sign_test_is_scipys_binomial_test(differences):
    values = np.array(differences, int)
    n, positive = int((values != 0).sum()), int((values > 0).sum())
    wanted = stats.binomtest(positive, n, alternative="greater").pvalue if n else 1.0
    assert probe.sign_test(values) == pytest.approx(wanted)


def test_a_clear_slip_is_told_with_its_figures():
    labels = np.arange(32) % 10
    wrong = np.where(np.arange(32) < 14, labels, (labels + 1) % 10)
    right = np.where(np.arange(32) < 30, labels, (labels + 1) % 10)
    tried = probe.by_labels(BGR, wrong, right, labels, trials=5)
    assert tried.better
    assert probe.sentence(tried) == (
        "The model is probably fed wrongly: with BGR channel order its accuracy is 93.8% instead "
        "of 43.8% (32 samples)"
    )
    assert not probe.by_labels(BGR, right, wrong, labels, trials=5).better


def test_chance_does_not_alarm():
    """Two contracts that are right equally often on 48 samples, 2,000 times."""
    rng = np.random.default_rng(0)
    alarms = 0
    labels = np.zeros(48, int)
    for share in (0.3, 0.6, 0.9):
        for _ in range(667):
            stated, other = (rng.random((2, 48)) > share).astype(int)
            alarms += probe.by_labels(BGR, stated, other, labels, trials=5).better
    assert alarms <= 2 * probe.ALPHA / 5 * 2_000


def test_a_small_gain_is_no_slip_however_certain():
    labels = np.zeros(1000, int)
    stated = (np.arange(1000) < 60).astype(int)  # 94 % right
    assert not probe.by_labels(BGR, stated, np.zeros(1000, int), labels, trials=5).better


# ------------------------------------------------------------------------- chance


def test_the_accuracy_is_held_against_chance():
    labels = np.arange(40) % 10
    good = probe.accuracy(labels, labels)
    assert (good.value, good.samples) == (1.0, 40)
    assert good.chance == pytest.approx(0.1)
    assert not good.is_chance
    shifted = probe.accuracy((labels + 1) % 10, labels)
    assert shifted.is_chance
    assert "no better than chance (10.0%)" in Probe(accuracy=shifted).wrong[0]
    assert Probe(accuracy=shifted, accepted=True).wrong == ()


@pytest.mark.parametrize(
    ("decided", "labels"),
    [
        (np.zeros(40, int), np.zeros(40, int)),  # data of one class
        (np.ones(6, int), np.zeros(6, int)),  # too few to tell
        (np.arange(40) % 2, np.where(np.arange(40) < 4, 1 - np.arange(40) % 2, np.arange(40) % 2)),
    ],
)
def test_what_may_be_right_is_not_called_chance(decided, labels):
    assert not probe.accuracy(decided, labels).is_chance


def test_without_a_label_there_is_no_accuracy():
    assert probe.accuracy(np.zeros(4, int), np.full(4, -1)) is None


# ------------------------------------------------------------------------- without labels


def views(rng: np.random.Generator, n: int, *, noise: float, classes: int = 20) -> np.ndarray:
    """Scores of three views of n pictures; with little noise they decide alike, and clearly."""
    scores = rng.normal(size=(1, n, classes))
    scores[0, np.arange(n), np.arange(n) % classes] += 3
    return scores + rng.normal(0, noise, (3, n, classes))


def test_clearer_and_steadier_decisions_are_better():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(3, 48, 20))  # every view decides for itself
    sound = views(rng, 48, noise=0.2)
    tried = probe.by_sharpness(BGR, scores, sound, trials=5)
    assert tried.better
    assert tried.steadiness > 0.8 > tried.stated_steadiness
    assert "clearer" in probe.sentence(tried)
    assert not probe.by_sharpness(BGR, sound, scores, trials=5).better


@pytest.mark.parametrize("factor", [0.01, 1.0, 255.0])
def test_louder_scores_are_not_better(factor):
    sound = views(np.random.default_rng(2), 48, noise=0.5)
    assert not probe.by_sharpness(BGR, sound, factor * sound, trials=5).better


def test_one_class_for_all_is_steady_but_not_better():
    rng = np.random.default_rng(3)
    constant = np.zeros((3, 48, 20))
    constant[..., 4] = 10
    assert not probe.by_sharpness(BGR, rng.normal(size=(3, 48, 20)), constant, trials=5).better
    assert probe.steadiness(constant) == pytest.approx(np.zeros(48))


def test_equal_contracts_do_not_alarm():
    rng = np.random.default_rng(4)
    for noise in (0.3, 1.0, 3.0):
        for _ in range(30):
            pair = [views(rng, 48, noise=noise) for _ in range(2)]
            assert not probe.by_sharpness(BGR, *pair, trials=5).better


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50), st.floats(-5, 5))
def test_sharpness_does_not_see_a_factor_or_an_offset(seed, factor, offset):
    logits = np.random.default_rng(seed).normal(size=(6, 7))
    assert probe.sharpness(factor * logits + offset) == pytest.approx(probe.sharpness(logits))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probe.sharpness(shares) == pytest.approx(probe.sharpness(logits))


# ------------------------------------------------------------------------- contracts


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([UNIT, IMAGENET, Preprocess(), Preprocess(scale=1 / 127.5, mean=(1.0,))]),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from(["RGB", "BGR"]),
)
def test_an_alternatives_values_are_what_its_option_would_have_made(seed, stated, layout, color):
    """The values are computed from the stated contract's; preprocessing again is the oracle."""
    stated = replace(stated, color=color)
    picture = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    shape = (1, 3, 5, 6) if layout == "NCHW" else (1, 5, 6, 3)
    spec = TensorSpec(name="x", shape=shape, layout=layout)

    def fed(preprocess: Preprocess) -> np.ndarray:
        return preprocess_image(picture, InputContract(tensor=spec, preprocess=preprocess))

    found = slips(stated, 3)
    assert len(found) >= 4
    for slip in found:
        words = slip.alternative.option.split()
        flags = {
            name.removeprefix("--"): value
            if name == "--color"
            else [float(Fraction(part)) for part in value.split(",")]
            for name, value in zip(words[::2], words[1::2], strict=True)
        }
        if "scale" in flags:
            (flags["scale"],) = flags["scale"]
        kept = {"color": color, "scale": stated.scale, "mean": stated.mean, "std": stated.std}
        meant = preprocess_from_table({**kept, **flags})
        got = slip.of(fed(stated), 1 if layout == "NCHW" else 3)
        assert got == pytest.approx(fed(meant), rel=1e-3, abs=1e-3 * float(np.ptp(fed(meant))))


def test_the_stated_contract_is_no_alternative_to_itself():
    words = {slip.alternative.words for slip in slips(IMAGENET, 3)}
    assert words == {
        "with values 0…255",
        "with values 0…1",
        "with values −1…1",
        "with BGR channel order",
    }
    assert all("Net" not in slip.alternative.words for slip in slips(UNIT, 1))
    (only,) = slips(Preprocess(), 3, whole=True)
    assert only.reversed


@pytest.mark.parametrize(
    ("low", "high", "channels", "wanted"),
    [
        (0.0, 1.0, 1, UNIT),
        (0.0, 255.0, 3, Preprocess()),
        (-0.98, 0.99, 3, Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,))),
        (-2.1, 2.6, 3, IMAGENET),
        (-2.1, 2.6, 1, None),
        (-40.0, 900.0, 3, None),
    ],
)
def test_what_arrays_were_made_with_is_told_by_their_range_or_not_at_all(
    low, high, channels, wanted
):
    assert of_arrays(low, high, channels) == wanted


def test_a_graphs_slip_says_what_to_state():
    found = Probe(graph=GraphSlip(sentence="The graph …", option="--scale 1"))
    (said,) = found.wrong
    assert said == (
        "The model is probably fed wrongly: The graph …; state --scale 1, or --accept-contract if "
        "the contract is meant."
    )
