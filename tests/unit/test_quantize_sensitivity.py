"""Which layer costs accuracy: planted ones are found, and figures equal emitted files'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from quantize_nets import Net, feed, operator_named, photos, quiet

from edgekit.closeness import EQUAL_DB
from edgekit.errors import ConversionError
from edgekit.quantize import ranges
from edgekit.quantize.emit import Emissions, Exceptions, emit
from edgekit.quantize.judge import Judge, Judgement
from edgekit.quantize.observe import observe
from edgekit.quantize.sensitivity import LayerSensitivity, find_layers, measure, most_damaging
from edgekit.tflite.model import read
from edgekit.types import Ranges

SAMPLES = 6


class Case:
    """A net with ranges and a judge."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.work, self.path = folder, path
        self.stack = photos(SAMPLES, 8, 8, 3)
        self.stack[..., 2] = 0
        feeds = feed(folder / "photos.npy", self.stack)
        histograms = observe(path, feeds, progress=quiet)
        self.ranges: Ranges = ranges.choose(histograms, "minmax")
        self.judge = Judge(path, feeds)

    def measure(self, mode="both") -> list[LayerSensitivity]:
        return measure(read(self.path), self.ranges, self.judge, mode=mode, progress=quiet)

    def run(self, path: Path) -> np.ndarray:
        """The real interpreter on all samples; the borders are float."""
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        outputs = []
        for image in self.stack:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        return np.stack(outputs).astype(np.float64)

    def emitted_db(self, members: frozenset[str]) -> float:
        """The oracle: a file with those operators in int8, by hand."""
        output = self.work / "oracle.tflite"
        emit(self.path, output, "int8-float-io", self.ranges, Exceptions(only=members))
        wanted = self.run(self.path)
        error, varying = wanted - self.run(output), wanted - wanted.mean(axis=0)
        return float(10 * np.log10((varying**2).sum() / (error**2).sum()))


def chain(folder: Path, plant: str = "", how: str = "weights") -> Path:
    """PAD → three convolutions → ADD → RESHAPE → dense; one of them may be made hard for int8."""
    net = Net(1, 8, 8, 3)
    pads = net.constant("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = net.operator("PAD", [net.image, pads], "padded", (1, 10, 10, 3))
    first = net.conv(padded, "first", 8, same=False, activation="RELU")
    second = net.conv(first, "second", 8, activation="RELU")
    third = net.conv(second, "third", 8)
    joined = net.add(first, third, "joined")
    size = net.constant("size", np.array([1, 512], np.int32))
    flat = net.operator("RESHAPE", [joined, size], "flat", (1, 512))
    scores = net.dense(flat, "scores", 5)
    if plant:
        _make_hard(net, plant, how)
    return net.save(folder / "net.tflite", scores)


def _scale(net: Net, name: str, place: int, factors: dict[int, float], *, inputs: bool) -> None:
    """Multiply input or output channels of a layer's weights (place 1) or bias (place 2)."""
    tensor = operator_named(net, name).inputs[place]
    assert tensor is not None
    values = np.moveaxis(tensor.data().copy(), -1 if inputs else 0, 0)
    for channel, factor in factors.items():
        values[channel] *= factor
    tensor.set_data(np.ascontiguousarray(np.moveaxis(values, 0, -1 if inputs else 0)))


def _make_hard(net: Net, name: str, how: str) -> None:
    """Plant what hurts int8 and not float."""
    if how == "weights":  # huge ones, on an input that is always zero: small ones round to zero
        for before in ("first", "second"):
            _scale(net, before, 1, {7: 0.0}, inputs=False)
            _scale(net, before, 2, {7: 0.0}, inputs=False)
        dead = {"first": 2, "second": 7, "third": 7}[name]
        _scale(net, name, 1, {dead: 1000.0}, inputs=True)
    else:  # one huge channel of results that nobody uses: the others share its coarse step
        _scale(net, name, 1, {0: 1000.0}, inputs=False)
        _scale(net, "third", 1, {0: 0.0}, inputs=True)


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_a_layer_with_planted_weights_is_found_first(tmp_path: Path, name: str) -> None:
    case = Case(tmp_path, chain(tmp_path, name))
    rows = case.measure("each")
    worst, runner_up = most_damaging(rows)[:2]
    assert worst.tensor == name
    assert worst.noise_share is not None
    assert worst.noise_share > 0.5
    assert worst.each is not None
    assert runner_up.each is not None
    assert runner_up.each.worst_db > worst.each.worst_db + 3


def test_an_activation_with_one_huge_channel_is_found(tmp_path: Path) -> None:
    """Both who make it and who read it hold that tensor in 8 bits; those after it do not."""
    case = Case(tmp_path, chain(tmp_path, "second", "activations"))
    first_two = {row.tensor for row in most_damaging(case.measure("each"))[:2]}
    assert first_two == {"second", "third"}


def test_every_figure_is_that_of_the_file_with_just_those_layers(tmp_path: Path) -> None:
    case = Case(tmp_path, chain(tmp_path))
    before: frozenset[str] = frozenset()
    for row in case.measure():
        before |= frozenset(row.members)
        assert row.each is not None
        assert row.prefix is not None
        assert row.each.worst_db == pytest.approx(case.emitted_db(frozenset(row.members)), abs=1e-3)
        assert row.prefix.worst_db == pytest.approx(case.emitted_db(before), abs=1e-3)


def test_the_longest_prefix_is_the_int8_file(tmp_path: Path) -> None:
    case = Case(tmp_path, chain(tmp_path))
    last = case.measure("prefix")[-1].prefix
    assert last is not None
    assert last.worst_db == pytest.approx(
        case.judge.int8_db(read(case.path), case.ranges), abs=1e-6
    )


def test_operators_that_only_move_values_count_with_the_layer_that_reads_them(
    tmp_path: Path,
) -> None:
    case = Case(tmp_path, chain(tmp_path))
    members = {row.tensor: set(row.members) for row in case.measure("prefix")}
    assert members == {
        "first": {"padded", "first"},
        "second": {"second"},
        "third": {"third"},
        "joined": {"joined"},
        "scores": {"flat", "scores"},
    }


def test_drops_and_shares_are_derived_from_the_figures(tmp_path: Path) -> None:
    rows = Case(tmp_path, chain(tmp_path)).measure()
    prefixes = [row.prefix.worst_db for row in rows if row.prefix]
    drops = [row.prefix_drop_db for row in rows]
    assert drops[0] is None
    assert drops[1:] == pytest.approx(-np.diff(prefixes))
    noises = np.array([10 ** (-row.each.worst_db / 10) for row in rows if row.each])
    assert [row.noise_share for row in rows] == pytest.approx(list(noises / noises.sum()))


@pytest.mark.parametrize(("mode", "each", "prefix"), [("each", 1, 0), ("prefix", 0, 1)])
def test_only_what_was_asked_for_is_measured(
    tmp_path: Path, mode: str, each: bool, prefix: bool
) -> None:
    for row in Case(tmp_path, chain(tmp_path)).measure(mode):
        assert (row.each is not None) == each
        assert (row.noise_share is not None) == each
        assert (row.prefix is not None) == prefix


def test_leaving_the_worst_layer_in_float_gains(tmp_path: Path) -> None:
    case = Case(tmp_path, chain(tmp_path, "second"))
    worst = most_damaging(case.measure("each"))[0]
    spared = Exceptions(floating=frozenset(worst.members))
    before = case.judge.int8_db(read(case.path), case.ranges)
    assert case.judge.int8_db(read(case.path), case.ranges, spared) > before + 3


def test_multiplications_are_counted_by_hand(tmp_path: Path) -> None:
    case = Case(tmp_path, chain(tmp_path))
    layers = find_layers(read(case.path), case.ranges, Emissions())
    assert {layer.tensor: layer.macs for layer in layers} == {
        "first": 8 * 8 * 8 * 3 * 3 * 3,
        "second": 8 * 8 * 8 * 3 * 3 * 8,
        "third": 8 * 8 * 8 * 3 * 3 * 8,
        "joined": 0,
        "scores": 512 * 5,
    }


def test_layers_go_by_the_name_of_their_node_where_the_weights_tell_it(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    weights = net.normal("/features/stem/Conv_conv_filter", 4, 3, 3, 3)
    first = net.conv(net.image, "next_node_input_nhwc", 4, weights=weights)
    case = Case(tmp_path, net.save(tmp_path / "net.tflite", net.conv(first, "last", 4)))
    layers = find_layers(read(case.path), case.ranges, Emissions())
    assert [layer.name for layer in layers] == ["features.stem", "last"]


def test_operators_that_int8_leaves_in_float_are_no_layers(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    first = net.conv(net.image, "first", 4)
    bent = net.operator("FLOOR", [first], "bent", first.shape)
    case = Case(tmp_path, net.save(tmp_path / "net.tflite", net.conv(bent, "last", 4)))
    assert [row.tensor for row in case.measure("each")] == ["first", "last"]


def test_a_net_that_only_moves_values_has_nothing_to_measure(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    size = net.constant("size", np.array([1, 192], np.int32))
    flat = net.operator("RESHAPE", [net.image, size], "flat", (1, 192))
    case = Case(tmp_path, net.save(tmp_path / "net.tflite", flat))
    with pytest.raises(ConversionError, match="int8 changes no operator"):
        case.measure()


def test_a_layer_that_cannot_be_measured_is_named_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, chain(tmp_path))
    real = Judge.int8

    def fails(self, model, limits, exceptions, *, scheme) -> Judgement:
        if exceptions.only == frozenset({"second"}):
            raise ConversionError("no such kernel")
        return real(self, model, limits, exceptions, scheme=scheme)

    monkeypatch.setattr(Judge, "int8", fails)
    rows = {row.tensor: row for row in case.measure("each")}
    assert rows["second"].each is None
    assert "no such kernel" in rows["second"].problem
    assert [row.problem for name, row in rows.items() if name != "second"] == [""] * 4


def test_equal_outputs_are_no_noise() -> None:
    exact = Judgement(output_db={"a": EQUAL_DB, "b": 30.0})
    assert exact.worst_db == 30.0
