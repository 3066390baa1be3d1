"""The battery: groups of files against one reference, each file a lie or an honest twin.

Every group is one real ``edgekit validate``: all of its files are measured in one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.quantize.emit import emit
from lying.nets import (
    LETTERS,
    SIDE,
    Array,
    Digits,
    Layers,
    Net,
    Tensor,
    arg_max,
    cast,
    dense,
    hidden,
    mapped,
    planes,
    reshape,
    scores,
    start,
    text_line,
)

COUNT = 200
Build = Callable[[Path], Path]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What edgekit said about one file."""

    group: str
    name: str
    honest: bool
    state: str
    why: str

    @property
    def as_it_should(self) -> bool:
        """An honest file passes, and a lie does not."""
        return (self.state == "pass") == self.honest


@dataclass(kw_only=True)
class Group:
    """Files against one reference on one set of data."""

    name: str
    reference: Path
    data: Path
    stored: Callable[[Path], Path] = lambda path: path
    options: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[Path, bool]] = field(default_factory=dict)

    def lie(self, name: str, path: Path) -> None:
        """A file that must not pass."""
        self.files[name] = (self.stored(path), False)

    def twin(self, name: str, path: Path) -> None:
        """A file that must pass."""
        self.files[name] = (self.stored(path), True)

    def ask(self) -> Iterator[Answer]:
        """One validation of all files."""
        try:
            result = edgekit.validate(
                *(path for path, _ in self.files.values()),
                reference=self.reference,
                data=self.data,
                latency=False,
                explain="never",
                worst=0,
                jobs=1,
                **self.options,
            )
        except edgekit.errors.EdgekitError as error:
            for name, (_, honest) in self.files.items():
                yield Answer(
                    group=self.name, name=name, honest=honest, state="refused", why=error.cause
                )
            return
        from edgekit.report import words

        found = {one.path: one for one in result.candidates}
        for name, (path, honest) in self.files.items():
            one = found[path]
            yield Answer(
                group=self.name,
                name=name,
                honest=honest,
                state=one.state(),
                why=words.sentence(one),
            )


def with_8_bits(path: Path) -> Path:
    """The same file with int8 weights: it is held to what quantized files are."""
    output = path.with_suffix(".int8.tflite")
    emit(path, output, "weight-only-int8")
    return output


class Bench:
    """Writes models and data into a folder."""

    def __init__(self, folder: Path, digits: Digits, layers: Layers) -> None:
        self.folder, self.digits, self.layers = folder, digits, layers
        self._count = 0

    def path(self, suffix: str) -> Path:
        """A new name."""
        self._count += 1
        return self.folder / f"{self._count:03d}{suffix}"

    def save(self, net: Net, *outputs: Tensor) -> Path:
        """The net with these outputs, as a file."""
        path = self.path(".tflite")
        net.save(path, *outputs)
        return path

    def data(self, images: Array, labels: Array | None = None) -> Path:
        """An `.npz` of model inputs, with labels where there are some."""
        path = self.path(".npz")
        if labels is None:
            np.savez(path, image=images)
        else:
            np.savez(path, image=images, labels=labels)
        return path

    def classifier(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """Ten logits, with a linear map behind them."""
        net = start()
        out = scores(net, self.layers)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def chosen(self, matrix: Array | None = None, steps: float | None = None) -> Path:
        """The classifier's decision itself: an arg-max at the end of the graph."""
        net = start()
        out = scores(net, self.layers)
        if matrix is not None:
            out = mapped(net, out, matrix)
        if steps is not None:
            up = mapped(net, out, np.eye(10) * steps)
            whole = net.operator("ROUND", [up], "whole", (1, 10))
            out = dense(net, whole, "down", np.eye(10) / steps, np.zeros(10))
        return self.save(net, arg_max(net, out, "chosen"))

    def line(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 9, 11): four digits side by side, read with a blank between them (CTC)."""
        net = Net(1, SIDE, LETTERS * SIDE, 1)
        out = text_line(net, self.layers)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def heat_maps(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 8, 8, 4): where the ink is in each quarter of the picture."""
        net = start()
        places = np.arange(SIDE * SIDE)
        rows, columns = places // SIDE, places % SIDE
        near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns))
        blur = np.where(near == 0, 0.5, np.where(near == 1, 0.05, 0.0))
        quarter = 2 * (rows >= SIDE // 2) + (columns >= SIDE // 2)
        weights = blur[:, :, None] * (quarter[:, None] == np.arange(4))
        flat = dense(net, net.image, "flat", weights.reshape(len(places), -1), np.zeros(256))
        out = reshape(net, flat, "maps", 1, SIDE, SIDE, 4)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def coordinates(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 4, 2): a point for each quarter, moved by the ink in it."""
        net = start()
        places = np.arange(SIDE * SIDE)
        rows, columns = places // SIDE, places % SIDE
        quarter = 2 * (rows >= SIDE // 2) + (columns >= SIDE // 2)
        where = np.stack([columns - 3.5, rows - 3.5], axis=1)
        weights = where[:, None] * (quarter[:, None] == np.arange(4))[..., None] * 4
        offset = np.array([[70, 60], [190, 65], [80, 180], [200, 210]], float)
        flat = dense(net, net.image, "flat", weights.reshape(len(places), -1), offset.ravel())
        out = reshape(net, flat, "points", 1, 4, 2)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def depths(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 8, 8, 1): metres, nearer where there is ink."""
        net = start()
        size = SIDE * SIDE
        out = dense(net, net.image, "flat", -4 * np.eye(size), np.full(size, 6.0))
        if matrix is not None:
            out = mapped(net, out, matrix, bias)
        return self.save(net, reshape(net, out, "metres", 1, SIDE, SIDE, 1))

    def class_map(
        self, matrix: Array | None = None, bias: Array | float = 0.0, *, real: bool = False
    ) -> Path:
        """(1, 8, 8): the class of each pixel, as an integer or cast to a real number."""
        net = start()
        out = planes(net)
        if matrix is not None:
            out = mapped(net, out, matrix, bias)
        found = arg_max(net, out, "classes")
        return self.save(net, cast(net, found, "as_real", "float32") if real else found)

    def regressor(self, offset: float, gain: float, factor: float = 1.0, shift: float = 0) -> Path:
        """How much ink there is, in a unit whose zero is far away."""
        net = start()
        ink = np.full((SIDE * SIDE, 1), gain / SIDE**2)
        out = dense(net, net.image, "kelvin", ink, np.array([offset]))
        if (factor, shift) == (1.0, 0):
            return self.save(net, out)
        return self.save(net, mapped(net, out, np.array([[factor]]), shift))

    def planes(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 8, 8, 3): background, ink, edge; mostly background."""
        net = start()
        out = planes(net)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def picture(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 8, 8, 3) in 0…1: a digit in colour."""
        net = start()
        size = SIDE * SIDE
        weights = np.zeros((size, size * 3))
        for place in range(size):
            weights[place, place * 3 : place * 3 + 3] = [0.9, 0.5, 0.2]
        out = reshape(
            net,
            dense(net, net.image, "colour_flat", weights, np.tile([0.02, 0.1, 0.3], size)),
            "colour",
            1,
            SIDE,
            SIDE,
            3,
        )
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def embedding(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """The hidden layer as a vector of 32."""
        net = start()
        out = hidden(net, self.layers)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def boxes(self, matrix: Array | None = None, bias: Array | float = 0.0) -> Path:
        """(1, 9, 6): for each of 9 places a box up to 320 and two scores."""
        net = start()
        rng = np.random.default_rng(3)
        weights = rng.normal(size=(SIDE * SIDE, 54))
        weights = weights / np.abs(weights).sum(axis=0)
        offset = np.zeros(54)
        for place in range(9):
            row = slice(place * 6, place * 6 + 4)
            weights[:, row] *= 300
            offset[row] = [80, 90, 200, 210]
            weights[:, place * 6 + 4 : place * 6 + 6] *= 2
            offset[place * 6 + 4 : place * 6 + 6] = 0.4
        out = reshape(net, dense(net, net.image, "raw", weights, offset), "boxes", 1, 9, 6)
        return self.save(net, out if matrix is None else mapped(net, out, matrix, bias))

    def two(self, *, swapped: bool = False, same: bool = False) -> Path:
        """Two outputs of one shape."""
        net = start()
        first = hidden(net, self.layers)
        rng = np.random.default_rng(5)
        second = dense(net, first, "second", rng.normal(0, 0.2, (32, 32)), rng.normal(size=32))
        third = dense(net, first, "third", rng.normal(0, 0.2, (32, 32)), rng.normal(size=32))
        pair = (third, second) if swapped else (second, second) if same else (second, third)
        if same:
            copy = reshape(net, second, "copy", 1, 32)
            pair = (second, copy)
        return self.save(net, *pair)

    def nan_below(self, ink: float) -> Path:
        """The classifier, but NaN on a digit with hardly any ink."""
        net = start()
        out = scores(net, self.layers)
        total = dense(net, net.image, "ink", np.ones((SIDE * SIDE, 1)), np.array([-ink]))
        root = net.operator("SQRT", [total], "root", (1, 1))
        nothing = dense(net, root, "nothing", np.zeros((1, 10)), np.zeros(10))
        return self.save(net, net.add(out, nothing, "maybe"))

    def red(self) -> Path:
        """The classifier on a picture in colour, of which it reads the red."""
        net = Net(1, SIDE, SIDE, 3)
        first = np.zeros((SIDE * SIDE, 3, 32))
        first[:, 0] = self.layers.weights[0]
        flat = dense(net, net.image, "hidden", first.reshape(-1, 32), self.layers.biases[0])
        active = net.relu(flat, "hidden_relu")
        out = dense(net, active, "logits", self.layers.weights[1], self.layers.biases[1])
        return self.save(net, out)

    def remembering(self, before: float, now: float) -> Path:
        """The classifier, whose logits are weighted with those of the sample before."""
        from ai_edge_litert import schema_py_generated as schema

        net = start()
        out = scores(net, self.layers)
        state = net.graph.add_tensor("state", (1, 20), "float32")
        state.raw.isVariable = True
        inputs = [
            out,
            net.constant("feature", np.eye(10, dtype=np.float32)),
            net.constant("time", np.tile(np.array([before, now], np.float32), (10, 1))),
            None,
            state,
        ]
        options = schema.SVDFOptionsT()
        options.rank = 1
        return self.save(net, net.operator("SVDF", inputs, "weighted", (1, 10), options))

    def rescaling(self) -> Path:
        """The classifier with what makes −1…1 of pixels inside, as Keras models have it."""
        from ai_edge_litert import schema_py_generated as schema

        net = start()
        shape = (1, SIDE, SIDE, 1)
        factor = net.constant("factor", np.array([1 / 127.5], np.float32))
        offset = net.constant("offset", np.array([-1.0], np.float32))
        scaled = net.operator("MUL", [net.image, factor], "scaled", shape, schema.MulOptionsT())
        moved = net.operator("ADD", [scaled, offset], "moved", shape, schema.AddOptionsT())
        weights, bias = self.layers.weights[0] / 2, self.layers.biases[0]
        flat = dense(net, moved, "hidden", weights, bias + weights.sum(axis=0))
        active = net.relu(flat, "hidden_relu")
        out = dense(net, active, "logits", self.layers.weights[1], self.layers.biases[1])
        return self.save(net, out)

    def two_classes(self) -> Path:
        """Whether the digit is below five: two logits."""
        net = start()
        low = np.repeat(np.eye(2), 5, axis=0) / 5
        return self.save(net, dense(net, scores(net, self.layers), "two", low, np.zeros(2)))

    def rare(self) -> Path:
        """Ten probabilities up to 1e-4, as a detector of rare sounds gives without one."""
        net = start()
        far = mapped(net, scores(net, self.layers), 0.2 * np.eye(10), -12.0)
        return self.save(net, net.operator("LOGISTIC", [far], "rare", (1, 10)))

    def channels_first(self) -> Path:
        """`picture` with its axes turned, as converters turn them."""
        net = Net(1, SIDE, SIDE, 1)
        weights = np.zeros((SIDE * SIDE, SIDE * SIDE * 3))
        for place in range(SIDE * SIDE):
            weights[place, place * 3 : place * 3 + 3] = [0.9, 0.5, 0.2]
        flat = dense(net, net.image, "flat", weights, np.tile([0.02, 0.1, 0.3], SIDE * SIDE))
        whole = reshape(net, flat, "whole", 1, SIDE, SIDE, 3)
        order = net.constant("order", np.array([0, 3, 1, 2], np.int32))
        return self.save(
            net, net.operator("TRANSPOSE", [whole, order], "colour", (1, 3, SIDE, SIDE))
        )

    def coarse(self, steps: float) -> Path:
        """Logits rounded to whole multiples: what a bad step does."""
        net = start()
        out = scores(net, self.layers)
        up = mapped(net, out, np.eye(10) * steps)
        whole = net.operator("ROUND", [up], "whole", (1, 10))
        down = dense(net, whole, "down", np.eye(10) / steps, np.zeros(10))
        return self.save(net, down)


def eye_but(size: int, changes: dict[tuple[int, int], float]) -> Array:
    """The identity with some entries changed."""
    found = np.eye(size)
    for place, value in changes.items():
        found[place] = value
    return found


def channels(positions: int, small: Array) -> Array:
    """The same map of the channels at every position."""
    return np.kron(np.eye(positions), small)


def groups(bench: Bench) -> Iterator[Group]:
    """All of them."""
    yield from _classifiers(bench)
    yield from _evidence(bench)
    yield from _memories(bench)
    yield from _indices(bench)
    yield from _sequences(bench)
    yield from _poses(bench)
    yield from _regressors(bench)
    yield from _dense(bench)
    yield from _others(bench)
    yield from _unusual(bench)
    yield from _contracts(bench)


def _classifiers(bench: Bench) -> Iterator[Group]:
    images, labels = bench.digits.held_out(COUNT)
    reference = bench.classifier()
    for name, data, options in (
        ("classifier, labels", bench.data(images, labels), {"task": "classification"}),
        ("classifier, no labels", bench.data(images), {"task": "classification"}),
        ("scores, no task", bench.data(images), {}),
    ):
        group = Group(
            name=name, reference=reference, data=data, options=options, stored=with_8_bits
        )
        wanted = _answers(bench, images)
        mean = wanted.mean(axis=0)
        shuffled = np.random.default_rng(0).permutation(10)
        group.twin("the same weights again", bench.classifier(np.eye(10)))
        group.twin("rounded to 0.1", bench.coarse(10.0))
        group.twin("the last bit of float", bench.classifier(np.eye(10) * (1 + 2e-7)))
        group.lie("one constant", bench.classifier(np.zeros((10, 10)), mean))
        group.lie("nearly one constant", bench.classifier(np.eye(10) * 1e-3, mean))
        group.lie("all zero", bench.classifier(np.zeros((10, 10))))
        group.lie("negated", bench.classifier(-np.eye(10)))
        group.lie("scaled by 1.3", bench.classifier(1.3 * np.eye(10)))
        group.lie("moved by 4", bench.classifier(np.eye(10), 4.0))
        group.lie("shifted by one class", bench.classifier(np.roll(np.eye(10), 1, axis=1)))
        group.lie("classes permuted", bench.classifier(np.eye(10)[shuffled]))
        group.lie("two classes swapped", bench.classifier(np.eye(10)[[0, 3, 2, 1, *range(4, 10)]]))
        dropped = np.zeros(10)
        dropped[4] = -20
        group.lie("one class never chosen", bench.classifier(eye_but(10, {(4, 4): 0}), dropped))
        group.lie("NaN on a few samples", bench.nan_below(float(np.sort(_ink(images))[3])))
        group.lie("rounded to whole tens", bench.coarse(0.1))
        yield group


def _answers(bench: Bench, images: Array) -> Array:
    flat = images.reshape(len(images), -1)
    inner = np.maximum(flat @ bench.layers.weights[0] + bench.layers.biases[0], 0)
    logits: Array = inner @ bench.layers.weights[1] + bench.layers.biases[1]
    return logits


def _ink(images: Array) -> Array:
    total: Array = images.reshape(len(images), -1).sum(axis=1)
    return total


def _evidence(bench: Bench) -> Iterator[Group]:
    """The right file, and not enough to tell."""
    images, labels = bench.digits.held_out(COUNT)
    reference = bench.classifier()
    right = bench.classifier(np.eye(10))
    task = {"task": "classification"}
    grey = (
        np.full((40, SIDE, SIDE, 1), 0.5, np.float32) * np.linspace(0, 1, 40)[:, None, None, None]
    )
    every = bench.digits.images
    ones = every[_answers(bench, every).argmax(axis=1) == 1][:24]
    cases: list[tuple[str, Path, dict[str, Any]]] = [
        ("one sample", bench.data(images[:1], labels[:1]), task),
        ("twelve copies", bench.data(np.repeat(images[:1], 12, axis=0)), task),
        ("forty copies of three", bench.data(np.tile(images[:3], (14, 1, 1, 1))), task),
        ("one colour each", bench.data(grey.astype(np.float32)), task),
        ("fifteen samples", bench.data(images[:15]), {}),
        ("eight labels", bench.data(images[:8], labels[:8]), task),
        ("one class only", bench.data(ones), task),
        (
            "an accuracy that nobody can measure",
            bench.data(images),
            {**task, "gates": ["top1_accuracy >= 99%"]},
        ),
        ("a figure of another task", bench.data(images), {**task, "gates": ["map_50 >= 0.9"]}),
        (
            "an accuracy on twenty samples",
            bench.data(images[:20], labels[:20]),
            {**task, "gates": ["top1_accuracy >= 90%"]},
        ),
        (
            "the end of an interval of one sample",
            bench.data(images[:1], labels[:1]),
            {**task, "accept_few": True, "gates": ["top1_drop <= 1% (upper)"]},
        ),
    ]
    for name, data, options in cases:
        group = Group(name="evidence", reference=reference, data=data, options=options)
        group.lie(name, right)
        yield group
    enough = Group(
        name="evidence", reference=reference, data=bench.data(images, labels), options=task
    )
    enough.twin("two hundred labelled samples", right)
    yield enough
    few = Group(
        name="evidence",
        reference=reference,
        data=bench.data(images[:5]),
        options={**task, "accept_few": True},
    )
    few.twin("five samples, which the user accepts", right)
    yield few
    for name, matrix, bias in (
        ("a reference that is one constant", np.zeros((10, 10)), np.arange(10.0)),
        ("a reference that is all zero", np.zeros((10, 10)), 0.0),
    ):
        still = bench.classifier(matrix, bias)
        group = Group(name="evidence", reference=still, data=bench.data(images), options=task)
        group.lie(name, bench.classifier(matrix, bias))
        yield group


def _memories(bench: Bench) -> Iterator[Group]:
    """Files with variables, which are clean only right after a reset."""
    images, labels = bench.digits.held_out(COUNT)
    data, task = bench.data(images, labels), {"task": "classification"}
    plain = Group(name="state", reference=bench.classifier(), data=data, options=task)
    plain.twin("a variable that changes nothing", bench.remembering(0.0, 1.0))
    plain.lie("the answer to the sample before", bench.remembering(1.0, 0.0))
    plain.lie("right after a reset only", bench.remembering(0.3, 1.0))
    plain.lie("a little of the sample before", bench.remembering(0.02, 1.0))
    yield plain
    kept = Group(name="state", reference=bench.remembering(0.3, 1.0), data=data, options=task)
    kept.twin("the model keeps state too", bench.remembering(0.3, 1.0))
    yield kept


def _indices(bench: Bench) -> Iterator[Group]:
    """Models that end in a decision: what they say has no magnitude."""
    images, labels = bench.digits.held_out(COUNT)
    swapped = np.eye(10)[[0, 3, 2, 1, *range(4, 10)]]
    chosen = Group(
        name="an arg-max", reference=bench.chosen(), data=bench.data(images), stored=with_8_bits
    )
    chosen.twin("the same", bench.chosen(np.eye(10)))
    chosen.twin("rounded to 0.1, with ties", bench.chosen(steps=10.0))
    chosen.lie("shifted by one class", bench.chosen(np.roll(np.eye(10), 1, axis=1)))
    chosen.lie("two classes swapped", bench.chosen(swapped))
    chosen.lie("shuffled", bench.chosen(np.eye(10)[np.random.default_rng(0).permutation(10)]))
    chosen.lie("always the first", bench.chosen(np.zeros((10, 10))))
    chosen.lie("the least for the most likely", bench.chosen(-np.eye(10)))
    yield chosen
    labelled = Group(
        name="an arg-max, labels",
        reference=bench.chosen(),
        data=bench.data(images, labels),
        options={"task": "classification"},
        stored=with_8_bits,
    )
    labelled.twin("the same", bench.chosen(np.eye(10)))
    labelled.lie("two classes swapped", bench.chosen(swapped))
    labelled.lie("always the first", bench.chosen(np.zeros((10, 10))))
    yield labelled
    size = SIDE * SIDE
    background = np.tile([4.0, -2.0, -1.5], size)
    for name, real in (("a map of classes", False), ("a map of classes, cast", True)):
        group = Group(
            name=name,
            reference=bench.class_map(real=real),
            data=bench.data(images[:64]),
            stored=with_8_bits,
        )
        group.twin("the same", bench.class_map(np.eye(size * 3), real=real))
        nothing = np.zeros((size * 3, size * 3))
        group.lie("all background", bench.class_map(nothing, background, real=real))
        turned = channels(size, np.roll(np.eye(3), 1, axis=1))
        group.lie("each class one further", bench.class_map(turned, real=real))
        group.lie(
            "moved by two pixels", bench.class_map(np.roll(np.eye(size * 3), 6, 1), real=real)
        )
        group.lie("upside down", bench.class_map(_flipped(3), real=real))
        yield group


def lines(digits: Digits, count: int = 120) -> tuple[Array, Array]:
    """Pictures of four digits side by side, and what stands there."""
    images, labels = digits.held_out(LETTERS * count)
    pictures = np.concatenate([images[place::LETTERS] for place in range(LETTERS)], axis=2)
    texts = ["".join(map(str, row)) for row in labels.reshape(count, LETTERS)]
    return pictures, np.array(texts)


def _sequences(bench: Bench) -> Iterator[Group]:
    """Lines of four digits."""
    pictures, texts = lines(bench.digits)
    characters = bench.path(".txt")
    characters.write_text("".join(f"{digit}\n" for digit in range(10)))
    stated = {"task": "sequence", "labels": characters}
    steps, symbols = 2 * LETTERS + 1, 11
    size = steps * symbols
    for name, data in (
        ("lines, labels", bench.data(pictures, texts)),
        ("lines, no labels", bench.data(pictures)),
    ):
        group = Group(
            name=name, reference=bench.line(), data=data, options=stated, stored=with_8_bits
        )
        group.twin("the same", bench.line(np.eye(size)))
        group.twin("the last bit of float", bench.line(np.eye(size) * (1 + 2e-7)))
        never = np.tile(np.where(np.arange(symbols) == 5, -40.0, 0.0), steps)
        group.lie("one character never chosen", bench.line(np.eye(size), never))
        group.lie("blank shifted", bench.line(channels(steps, np.roll(np.eye(symbols), -1, 1))))
        cut = np.zeros((steps, symbols))
        cut[-2:, 0] = 80
        group.lie("texts cut off", bench.line(np.eye(size), cut.ravel()))
        group.lie("nothing read", bench.line(np.eye(size), np.tile(cut[-1], steps)))
        turned = np.kron(np.eye(steps)[::-1], np.eye(symbols))
        group.lie("from right to left", bench.line(turned))
        swapped = np.eye(symbols)[[0, 1, 3, 2, *range(4, 11)]]
        group.lie("two characters swapped", bench.line(channels(steps, swapped)))
        yield group
    silent = np.tile(np.where(np.arange(symbols) == 0, 80.0, 0.0), steps)
    nothing = Group(
        name="a reference that reads nothing",
        reference=bench.line(np.eye(size), silent),
        data=bench.data(pictures),
        options=stated,
    )
    nothing.lie("the same", bench.line(np.eye(size), silent))
    yield nothing


def _poses(bench: Bench) -> Iterator[Group]:
    """Keypoints of maps and of coordinates."""
    images, _ = bench.digits.held_out(100)
    data, size = bench.data(images), SIDE * SIDE
    stated: dict[str, Any] = {"task": "keypoints"}
    maps = Group(
        name="heat maps",
        reference=bench.heat_maps(),
        data=data,
        options=stated,
        stored=with_8_bits,
    )
    maps.twin("the same", bench.heat_maps(np.eye(size * 4)))
    maps.lie("two keypoints swapped", bench.heat_maps(channels(size, np.eye(4)[[1, 0, 2, 3]])))
    maps.lie("one keypoint lost", bench.heat_maps(channels(size, np.diag([1, 1, 1, 0.0]))))
    maps.lie("upside down", bench.heat_maps(_flipped(4)))
    maps.lie("transposed", bench.heat_maps(_transposed(4)))
    maps.lie("each map's mean", bench.heat_maps(_averaged(4)))
    yield maps
    points = Group(
        name="coordinates",
        reference=bench.coordinates(),
        data=data,
        options=stated,
        stored=with_8_bits,
    )
    swapped = np.kron(np.eye(4)[[1, 0, 2, 3]], np.eye(2))
    middle = np.array([70, 60, 190, 65, 80, 180, 200, 210], float)
    points.twin("the same", bench.coordinates(np.eye(8)))
    points.lie("y before x", bench.coordinates(channels(4, np.eye(2)[::-1])))
    points.lie("two keypoints swapped", bench.coordinates(swapped))
    points.lie("0…1 for pixels", bench.coordinates(np.eye(8) / 256))
    points.lie("one pose", bench.coordinates(np.zeros((8, 8)), middle))
    points.lie("nearly one pose", bench.coordinates(0.3 * np.eye(8), 0.7 * middle))
    yield points
    metres = Group(
        name="depth",
        reference=bench.depths(),
        data=data,
        options={"task": "depth"},
        stored=with_8_bits,
    )
    mean = 6 - 4 * images.mean(axis=0).ravel()
    metres.twin("the same", bench.depths(np.eye(size)))
    metres.lie("twice as far", bench.depths(2 * np.eye(size)))
    metres.lie("a tenth too far", bench.depths(1.1 * np.eye(size)))
    metres.lie("one plane", bench.depths(np.zeros((size, size)), 4.5))
    metres.lie("the mean map", bench.depths(np.zeros((size, size)), mean))
    metres.lie("upside down", bench.depths(_flipped(1)))
    metres.lie("far for near", bench.depths(-np.eye(size), 8.0))
    yield metres


def _regressors(bench: Bench) -> Iterator[Group]:
    images, _ = bench.digits.held_out(96)
    for name, offset, gain, options in (
        ("kelvin, float", 290.0, 0.1, {}),
        ("kelvin, no task", 290.0, 0.1, {}),
        ("kelvin", 290.0, 0.1, {"task": "regression"}),
        ("pixels", 5000.0, 30.0, {"task": "regression"}),
        ("a small unit", 0.0, 1e-3, {"task": "regression"}),
    ):
        reference = bench.regressor(offset, gain)
        group = Group(
            name=name,
            reference=reference,
            data=bench.data(images),
            options=options,
            stored=(lambda path: path) if "float" in name else with_8_bits,
        )
        mean = offset + gain * float(images.mean())
        group.twin("the same", bench.regressor(offset, gain, factor=1.0 + 1e-7))
        group.lie("the mean", bench.regressor(offset, gain, factor=0.0, shift=mean))
        group.lie("nearly the mean", bench.regressor(offset, gain, 0.05, 0.95 * mean))
        group.lie("what varies halved", bench.regressor(offset, gain, 0.5, 0.5 * mean))
        group.lie("what varies turned round", bench.regressor(offset, gain, -1.0, 2 * mean))
        group.lie("a tenth too much", bench.regressor(offset, gain * 1.1))
        group.lie("moved by what varies", bench.regressor(offset + 0.1 * gain, gain))
        yield group


def _dense(bench: Bench) -> Iterator[Group]:
    images, _ = bench.digits.held_out(64)
    size = SIDE * SIDE
    planes = Group(
        name="segmentation",
        reference=bench.planes(),
        data=bench.data(images),
        options={"task": "segmentation"},
        stored=with_8_bits,
    )
    background = np.tile([4.0, -2.0, -1.5], size)
    planes.twin("the same", bench.planes(np.eye(size * 3)))
    planes.twin("a thousandth of noise", bench.planes(np.eye(size * 3) * (1 + 1e-7)))
    planes.lie("all background", bench.planes(np.zeros((size * 3,) * 2), background))
    planes.lie("classes swapped", bench.planes(channels(size, np.eye(3)[[1, 0, 2]])))
    planes.lie("one class lost", bench.planes(channels(size, np.diag([1, 0, 1.0]))))
    planes.lie("moved by two pixels", bench.planes(np.roll(np.eye(size * 3), 6, axis=1)))
    planes.lie("transposed", bench.planes(_transposed(3)))
    planes.lie("each map's mean", bench.planes(_averaged(3)))
    yield planes
    pictures = Group(
        name="a picture",
        reference=bench.picture(),
        data=bench.data(images),
        stored=with_8_bits,
    )
    pictures.twin("the same", bench.picture(np.eye(size * 3)))
    pictures.twin("channels first", bench.channels_first())
    pictures.lie("BGR for RGB", bench.picture(channels(size, np.eye(3)[::-1])))
    pictures.lie("brightness only", bench.picture(_averaged(3)))
    pictures.lie("negative", bench.picture(-np.eye(size * 3), 1.0))
    pictures.lie("0…255 for 0…1", bench.picture(255 * np.eye(size * 3)))
    pictures.lie("one picture", bench.picture(np.zeros((size * 3,) * 2), 0.3))
    pictures.lie("upside down", bench.picture(_flipped(3)))
    yield pictures


def _transposed(count: int) -> Array:
    order = np.arange(SIDE * SIDE * count).reshape(SIDE, SIDE, count).transpose(1, 0, 2).ravel()
    return np.eye(len(order))[order]


def _flipped(count: int) -> Array:
    order = np.arange(SIDE * SIDE * count).reshape(SIDE, SIDE, count)[::-1].ravel()
    return np.eye(len(order))[order]


def _averaged(count: int) -> Array:
    size = SIDE * SIDE
    return np.kron(np.full((size, size), 1 / size), np.eye(count))


def _others(bench: Bench) -> Iterator[Group]:
    images, labels = bench.digits.held_out(128)
    vectors = Group(
        name="embedding",
        reference=bench.embedding(),
        data=bench.data(images, labels),
        options={"task": "embedding"},
        stored=with_8_bits,
    )
    rng = np.random.default_rng(1)
    half = np.diag((np.arange(32) < 16).astype(float))
    vectors.twin("the same", bench.embedding(np.eye(32)))
    vectors.lie("one vector", bench.embedding(np.zeros((32, 32)), 1.0))
    vectors.lie("permuted", bench.embedding(np.eye(32)[rng.permutation(32)]))
    vectors.lie("half of it", bench.embedding(half))
    vectors.lie("ten times as long", bench.embedding(10 * np.eye(32)))
    vectors.lie("noise in its place", bench.embedding(rng.normal(size=(32, 32)) / 6))
    yield vectors
    detector = Group(
        name="boxes and scores",
        reference=bench.boxes(),
        data=bench.data(images),
        stored=with_8_bits,
    )
    detector.twin("the same", bench.boxes(np.eye(54)))
    order = np.eye(6)[[2, 3, 0, 1, 4, 5]]
    centred = np.eye(6)
    centred[[0, 2], [2, 0]] = 0.5
    units = np.diag([1 / 320] * 4 + [1.0, 1.0])
    scored = np.diag([1.0] * 4 + [0.0, 0.0])
    detector.lie("0…1 for pixels", bench.boxes(channels(9, units)))
    detector.lie("corners in another order", bench.boxes(channels(9, order)))
    detector.lie("centres for corners", bench.boxes(channels(9, centred)))
    detector.lie("scores all zero", bench.boxes(channels(9, scored)))
    detector.lie("classes swapped", bench.boxes(channels(9, np.eye(6)[[0, 1, 2, 3, 5, 4]])))
    detector.lie(
        "boxes of one place", bench.boxes(np.kron(np.eye(9)[:1].repeat(9, 0).T, np.eye(6)))
    )
    yield detector
    pair = Group(
        name="two outputs",
        reference=bench.two(),
        data=bench.data(images),
        stored=with_8_bits,
    )
    pair.twin("the same", bench.two())
    pair.lie("the first one twice", bench.two(same=True))
    yield pair


def _unusual(bench: Bench) -> Iterator[Group]:
    """Models that honest files exist of, though their figures look odd."""
    images, labels = bench.digits.held_out(COUNT)
    halves = Group(
        name="two classes",
        reference=bench.two_classes(),
        data=bench.data(images),
        options={"task": "classification"},
        stored=with_8_bits,
    )
    halves.twin("the same", bench.two_classes())
    yield halves
    rare = Group(name="rare sounds", reference=bench.rare(), data=bench.data(images[:16]))
    rare.twin("the same", bench.rare())
    yield rare
    named = Group(
        name="a float file for an integer one",
        reference=bench.classifier(),
        data=bench.data(images, labels),
        options={"task": "classification", "gates": ["integer_share >= 1"]},
    )
    named.lie("the same", bench.classifier(np.eye(10)))
    yield named


def _contracts(bench: Bench) -> Iterator[Group]:
    """Files that equal their reference, which is fed wrongly itself."""
    images, labels = bench.digits.held_out(128)
    pixels = np.rint(255 * images).astype(np.uint8)
    right = {"scale": 1 / 255}

    def group(name: str, data: Path, preprocess: dict[str, Any], reference: Path) -> Group:
        options = {"task": "classification", "preprocess": preprocess}
        return Group(name=f"fed: {name}", reference=reference, data=data, options=options)

    plain = bench.data(pixels, labels)
    shifted, shuffled = (labels + 1) % 10, np.random.default_rng(0).permutation(labels)
    cases: list[tuple[str, Path, dict[str, Any], bool]] = [
        ("as trained", plain, right, True),
        ("as trained, no labels", bench.data(pixels), right, True),
        ("as trained, arrays", bench.data(images, labels), right, True),
        ("much too dark", plain, {"scale": 1 / 255, "mean": 0.95, "std": 0.05}, False),
        ("another mean and std", plain, {"scale": 1 / 255, "mean": 0.9, "std": 0.1}, False),
        ("mean and std of 0…1 on 0…255", plain, {"mean": 0.5, "std": 0.25}, False),
        ("pixels times 255", plain, {"scale": 255.0}, False),
        ("labels off by one", bench.data(pixels, shifted), right, False),
        ("labels shuffled", bench.data(pixels, shuffled), right, False),
    ]
    for name, data, preprocess, honest in cases:
        one = group(name, data, preprocess, bench.classifier())
        (one.twin if honest else one.lie)("the same", bench.classifier(np.eye(10)))
        yield one
    random = np.random.default_rng(1).normal(size=(10, 10))
    untrained = group("a model that guesses", plain, right, bench.classifier(random))
    untrained.lie("the same", bench.classifier(random))
    yield untrained
    other = np.random.default_rng(2).permutation(pixels)
    coloured = bench.data(np.concatenate([pixels, other // 2, other], axis=3), labels)
    for name, preprocess, honest in (
        ("red first", right, True),
        ("blue first", {**right, "color": "BGR"}, False),
    ):
        one = group(name, coloured, preprocess, bench.red())
        (one.twin if honest else one.lie)("the same", bench.red())
        yield one
    for name, preprocess, honest in (
        ("raw to a graph that rescales", {"scale": 1.0}, True),
        ("scaled twice", right, False),
        ("normalised twice", {**right, "mean": 0.5, "std": 0.5}, False),
    ):
        one = group(name, bench.data(pixels), preprocess, bench.rescaling())
        (one.twin if honest else one.lie)("the same", bench.rescaling())
        yield one
