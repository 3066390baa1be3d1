"""Which questions the probe asks a reference, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgekit.contract import Contract, InputContract, OutputContract, Preprocess, Task
from edgekit.errors import ModelError
from edgekit.pipeline.probe import look
from edgekit.types import TensorSpec
from edgekit.validation.probe import Probe

CLASSES, SIZE, N = 8, 16, 40
UNIT = Preprocess(scale=1 / 255)
INCEPTION = Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,))
RNG = np.random.default_rng(0)
PROTOTYPES = RNG.uniform(-1, 1, (CLASSES, 3, 1, 1)) * np.ones((1, 1, SIZE, SIZE))


def pictures(*, gray: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """8-bit pictures (N, 3, SIZE, SIZE) of a class's colour with noise, and their classes."""
    labels = np.arange(N) % CLASSES
    noise = np.random.default_rng(1).normal(0, 0.25, (N, 3, SIZE, SIZE))
    values = 127.5 * (np.clip(PROTOTYPES[labels] + noise, -1, 1) + 1)
    return np.rint(values.mean(axis=1, keepdims=True).repeat(3, 1) if gray else values), labels


def model(stacks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The nearest prototype; it was "trained" on RGB with values −1…1."""
    away = stacks[0][:, None] - PROTOTYPES[None]
    return [-(away**2).mean(axis=(2, 3, 4)) * 10]


def contract_of(preprocess: Preprocess | None, task: Task | None = "classification") -> Contract:
    image = TensorSpec(name="image", shape=(1, 3, SIZE, SIZE), layout="NCHW")
    scores = TensorSpec(name="scores", shape=(1, CLASSES))
    return Contract(
        inputs=(InputContract(tensor=image, preprocess=preprocess),),
        outputs=(OutputContract(tensor=scores, task=task),),
    )


def fed(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    shown = pixels[:, ::-1] if preprocess.color == "BGR" else pixels
    return ((shown * preprocess.scale - preprocess.mean[0]) / preprocess.std[0]).astype(np.float32)


def probed(
    preprocess: Preprocess,
    *,
    gray: bool = False,
    labelled: bool = True,
    ready: bool = False,
    ask: Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None = model,
) -> Probe:
    pixels, labels = pictures(gray=gray)
    inputs = [fed(pixels, preprocess)]
    return look(
        contract_of(None if ready else preprocess),
        inputs,
        model(inputs),
        labels.tolist() if labelled else (),
        ask,
        pictures=frozenset() if ready else frozenset({"image"}),
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_a_model_that_is_fed_right_raises_no_alarm(labelled):
    found = probed(INCEPTION, labelled=labelled)
    assert found.found is None
    assert found.slips == ()
    assert len(found.tried) == 4
    if labelled:
        assert found.accuracy is not None
        assert found.accuracy.value == 1.0


@pytest.mark.parametrize(
    ("stated", "option"),
    [
        (UNIT, "--scale 1/255 --mean 0.5 --std 0.5"),
        (Preprocess(), "--scale 1/255 --mean 0.5 --std 0.5"),
        (Preprocess(scale=1 / 255, mean=(0.9,), std=(0.1,)), "--scale 1/255 --mean 0.5 --std 0.5"),
        (Preprocess(color="BGR", scale=1 / 255, mean=(0.5,), std=(0.5,)), "--color RGB"),
    ],
)
def test_labels_tell_what_the_model_is_to_be_fed(stated, option):
    found = probed(stated)
    assert found.found is not None
    assert found.found.alternative.option == option
    assert found.found.accuracy == 1.0
    assert option in found.wrong[0]
    assert "instead of" in found.wrong[0]


def test_arrays_are_told_how_to_be_saved():
    found = probed(Preprocess(), ready=True)
    assert found.found is not None
    assert "save the arrays with values −1…1" in found.wrong[0]


def test_gray_pictures_have_no_order_of_colours():
    tried = probed(INCEPTION, gray=True).tried
    assert not any("BGR" in one.alternative.words for one in tried)


def test_only_what_looks_better_on_a_few_is_asked_about_more():
    asked: list[int] = []

    def counting(stacks: Sequence[np.ndarray]) -> list[np.ndarray]:
        asked.append(len(stacks[0]))
        return model(stacks)

    probed(INCEPTION, ask=counting)
    assert asked == [40]  # four alternatives, ten samples each
    asked.clear()
    probed(Preprocess(color="BGR", scale=1 / 255, mean=(0.5,), std=(0.5,)), ask=counting)
    assert asked == [40, 30]


def test_what_cannot_be_told_is_said_and_not_guessed():
    assert "cannot be asked" in probed(INCEPTION, ask=None).why
    contract = contract_of(INCEPTION)
    pixels, _ = pictures()
    inputs = [fed(pixels, INCEPTION)]
    told = frozenset({"image"})
    few = [inputs[0][:8]]
    assert "only 8 samples" in look(contract, few, model(few), (), model, pictures=told).why
    two = [model(inputs)[0][:, :2]]
    assert "2 classes" in look(contract, inputs, two, (), model, pictures=told).why
    maps = [np.zeros((N, 5, 6))]
    assert "not scores" in look(contract, inputs, maps, (), model, pictures=told).why
    labels = [0] * 5 + [None] * (N - 5)
    assert "5 samples" in look(contract, inputs, model(inputs), labels, model, pictures=told).why
    sound = Contract(inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 400))),))
    flat = [np.zeros((N, 400), np.float32)]
    assert (
        "no input is a picture"
        in look(sound, flat, model(inputs), (), model, pictures=frozenset()).why
    )


def test_only_what_classifies_is_called_no_better_than_chance():
    """A vector with labels may be an embedding, whose largest element says nothing."""
    pixels, labels = pictures()
    inputs, told = [fed(pixels, INCEPTION)], frozenset({"image"})
    vectors = [np.random.default_rng(5).normal(size=(N, CLASSES))]
    tasks: tuple[Task | None, ...] = ("classification", None, "embedding")
    found = [
        look(contract_of(INCEPTION, task), inputs, vectors, labels.tolist(), None, pictures=told)
        for task in tasks
    ]
    assert [len(one.wrong) for one in found] == [1, 0, 0]


def test_a_model_that_refuses_other_values_is_left_alone():
    def strict(stacks: Sequence[np.ndarray]) -> list[np.ndarray]:
        raise ModelError("values must be within -1…1")

    found = probed(INCEPTION, ask=strict)
    assert "values must be within" in found.why
    assert found.accuracy is not None
    assert found.wrong == ()
