"""A folded file says of raw pixels what the original says of normalised values, borders too."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import Net, feed, photos, quiet
from tflite_builder import invoke

from edgekit.contract import InputContract, Preprocess
from edgekit.preprocess import preprocess_image
from edgekit.quantize.engine import quantize
from edgekit.raw_pixels.fold import Folded, fold
from edgekit.raw_pixels.normalization import Normalization, raw
from edgekit.tflite.model import Tensor, read, write
from edgekit.types import TensorSpec

IMAGENET = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SIZE = 9


def picture(seed: int = 0, *, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def folded_and_plain(
    net: Net, output: Tensor, preprocess: Preprocess, fed: str, folder: Path, *, layout: str
) -> tuple[Folded, np.ndarray, np.ndarray]:
    """What was done, and both files' outputs for one picture, prepared as a conversion does it."""
    plain, path = net.save(folder / "plain.tflite", output), folder / "folded.tflite"
    shape = net.image.shape
    axis = 3 if layout == "NHWC" else 1
    model = read(plain)
    normalization = Normalization.of(preprocess, shape[axis], fed)  # type: ignore[arg-type]
    done = fold(model, 0, normalization, axis)
    write(model, path)
    spec = TensorSpec(name="image", shape=shape, layout=layout)  # type: ignore[arg-type]
    photo = picture()[..., : 1 if shape[axis] == 1 else 3]
    color = preprocess.color if preprocess.color == "GRAY" else fed
    values, pixels = (
        preprocess_image(photo, InputContract(tensor=spec, preprocess=how))
        for how in (preprocess, raw(preprocess, color))  # type: ignore[arg-type]
    )
    return done, invoke(plain, values)[0], invoke(path, pixels)[0]


def close(mine: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(mine - theirs).max() <= 1e-4 * max(1.0, float(np.abs(mine).max()))


def pad(net: Net, source: Tensor, amounts: list[list[int]]) -> Tensor:
    constant = net.constant("amounts", np.array(amounts, np.int32))
    shape = [size + sum(ends) for size, ends in zip(source.shape, amounts, strict=True)]
    return net.operator("PAD", [source, constant], "padded", shape, schema.PadOptionsT())


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocess:
    number = st.floats(0.02, 0.95)
    each = draw(st.booleans())
    mean = tuple(draw(number) for _ in range(3 if each else 1))
    std = tuple(draw(st.floats(0.1, 2.0)) for _ in range(3 if each else 1))
    return Preprocess(
        color=draw(st.sampled_from(["RGB", "BGR"])), scale=1 / 255, mean=mean, std=std
    )


@settings(max_examples=60, deadline=None)
@given(
    preprocess=preprocessings(),
    fed=st.sampled_from(["RGB", "BGR"]),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    same=st.booleans(),
    padding=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    kind=st.sampled_from(["conv", "depthwise"]),
)
def test_folding_changes_nothing(
    preprocess: Preprocess,
    fed: str,
    kernel: int,
    stride: int,
    dilation: int,
    same: bool,
    padding: list[int],
    kind: str,
) -> None:
    net = Net(1, SIZE, SIZE, 3)
    source = net.image
    if any(padding):
        source = pad(net, source, [[0, 0], padding[:2], padding[2:], [0, 0]])
    if kind == "conv":
        dilation = 1 if stride > 1 else dilation  # the runtime has no kernel for both
        output = net.conv(
            source, "first", 4, kernel=kernel, stride=stride, dilation=dilation, same=same
        )
    else:
        output = net.depthwise(source, "first", kernel=kernel, stride=stride, same=same)
    with TemporaryDirectory() as folder:
        done, wanted, got = folded_and_plain(
            net, output, preprocess, fed, Path(folder), layout="NHWC"
        )
    swaps = fed != preprocess.color
    assert done.how == ("in front" if swaps and kind == "depthwise" else "convolution")
    close(wanted, got)


def multiplied(net: Net) -> Tensor:
    """Two outputs for each channel."""
    weights, bias = net.normal("w", 1, 3, 3, 6), net.normal("b", 6)
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.SAME, strideH=1, strideW=1, depthMultiplier=2,
        dilationHFactor=1, dilationWFactor=1,
    )  # fmt: skip
    return net.operator(
        "DEPTHWISE_CONV_2D", [net.image, weights, bias], "first", (1, SIZE, SIZE, 6), options
    )


def shared_weights(net: Net) -> Tensor:
    """The weights also make something else, which must not change."""
    weights = net.normal("w", 3, 1, 1, 3)
    first = net.conv(net.image, "first", 3, kernel=1, weights=weights)
    second = net.conv(first, "second", 3, kernel=1, weights=weights)
    return net.add(first, second, "sum")


@pytest.mark.parametrize("build", [multiplied, shared_weights])
def test_kinds_of_first_convolutions(build: Any, tmp_path: Path) -> None:
    net = Net(1, SIZE, SIZE, 3)
    done, wanted, got = folded_and_plain(net, build(net), IMAGENET, "RGB", tmp_path, layout="NHWC")
    assert done.how == "convolution"
    close(wanted, got)


def test_a_convolution_without_a_bias_gets_one(tmp_path: Path) -> None:
    net = Net(1, SIZE, SIZE, 3)
    zeros = net.constant("zeros", np.zeros(4, np.float32))
    plain = net.save(tmp_path / "plain.tflite", net.conv(net.image, "first", 4, bias=zeros))
    model, path = read(plain), tmp_path / "folded.tflite"
    model.main.operators[0].raw.inputs.pop()
    fold(model, 0, Normalization.of(IMAGENET, 3), 3)
    write(model, path)
    pixels = picture()[None].astype(np.float32)
    values = (pixels / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    close(invoke(plain, values.astype(np.float32))[0], invoke(path, pixels)[0])


def two_readers(net: Net) -> Tensor:
    one, other = net.conv(net.image, "one", 3), net.conv(net.image, "other", 3)
    return net.add(one, other, "sum")


def activation(net: Net) -> Tensor:
    return net.conv(net.relu(net.image, "positive"), "first", 4)


def dense(net: Net) -> Tensor:
    return net.dense(net.image, "scores", 5)


def grouped(net: Net) -> Tensor:
    weights = net.normal("w", 6, 3, 3, 1)
    return net.conv(net.image, "first", 6, weights=weights)


def channel_padding(net: Net) -> Tensor:
    return net.conv(pad(net, net.image, [[0, 0], [1, 1], [1, 1], [0, 1]]), "first", 4, same=False)


@pytest.mark.parametrize("fed", ["RGB", "BGR"])
@pytest.mark.parametrize("build", [two_readers, activation, dense, grouped, channel_padding])
def test_what_cannot_be_folded_gets_one_operator_in_front(
    build: Any, fed: str, tmp_path: Path
) -> None:
    net = Net(1, SIZE, SIZE, 3)
    done, wanted, got = folded_and_plain(net, build(net), IMAGENET, fed, tmp_path, layout="NHWC")
    assert done.how == "in front"
    assert done.added == (("CONV_2D",) if fed == "BGR" else ("DEPTHWISE_CONV_2D",))
    assert done.why in str(done)
    close(wanted, got)


@pytest.mark.parametrize("fed", ["RGB", "BGR"])
def test_channels_first(fed: str, tmp_path: Path) -> None:
    """Turned by a TRANSPOSE, a convolution takes it in; else operators that broadcast do."""
    net = Net(1, 3, SIZE, SIZE)
    order = net.constant("order", np.array([0, 2, 3, 1], np.int32))
    turned = net.operator("TRANSPOSE", [net.image, order], "turned", (1, SIZE, SIZE, 3))
    output = net.conv(turned, "first", 4)
    done, wanted, got = folded_and_plain(net, output, IMAGENET, fed, tmp_path, layout="NCHW")
    assert done.how == "convolution"
    close(wanted, got)
    net = Net(1, 3, SIZE, SIZE)
    output = net.dense(net.image, "scores", 5)
    done, wanted, got = folded_and_plain(net, output, IMAGENET, fed, tmp_path, layout="NCHW")
    assert done.added == (*(("GATHER",) if fed == "BGR" else ()), "MUL", "ADD")
    close(wanted, got)


def test_gray_pictures_and_no_padding_without_need(tmp_path: Path) -> None:
    net = Net(1, SIZE, SIZE, 1)
    gray = Preprocess(color="GRAY", scale=1 / 255)
    done, wanted, got = folded_and_plain(
        net, net.conv(net.image, "first", 4), gray, "RGB", tmp_path, layout="NHWC"
    )
    assert (done.how, done.added) == ("convolution", ())  # zero stays zero: SAME is right as it is
    close(wanted, got)


def test_a_border_that_no_pixel_can_be(tmp_path: Path) -> None:
    """Zero was not a pixel of 0…255: 8 bits could not store it beside them."""
    net = Net(1, SIZE, SIZE, 3)
    strange = Preprocess(scale=1 / 255, mean=(-0.5,), std=(1.0,))
    done, wanted, got = folded_and_plain(
        net, net.conv(net.image, "first", 4), strange, "RGB", tmp_path, layout="NHWC"
    )
    assert done.how == "in front"
    close(wanted, got)


def test_raw_pixels_stay_raw(tmp_path: Path) -> None:
    net = Net(1, SIZE, SIZE, 3)
    output = net.conv(net.image, "first", 4)
    done, wanted, got = folded_and_plain(net, output, Preprocess(), "RGB", tmp_path, layout="NHWC")
    assert done.how == "nothing"
    np.testing.assert_array_equal(wanted, got)


@settings(deadline=None)
@given(
    preprocess=preprocessings(), fed=st.sampled_from(["RGB", "BGR"]), axis=st.sampled_from([1, 3])
)
def test_pixels_come_back_from_values(preprocess: Preprocess, fed: str, axis: int) -> None:
    normalization = Normalization.of(preprocess, 3, fed)  # type: ignore[arg-type]
    shape = (1, 3, 4, 4) if axis == 1 else (1, 4, 4, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    np.testing.assert_array_equal(
        normalization.pixels(normalization.values(pixels, axis), axis), pixels
    )


@pytest.mark.parametrize("effort", ["none", "balanced"])
def test_8_bits_store_each_pixel_as_it_is(effort: Any, tmp_path: Path) -> None:
    """Whatever range the calibration samples have: these are dark, and never reach 255."""
    net = Net(1, 16, 16, 3)
    first = net.conv(net.image, "first", 8, stride=2, activation="RELU")
    plain = net.save(tmp_path / "plain.tflite", net.dense(first, "scores", 5))
    model, path = read(plain), tmp_path / "folded.tflite"
    fold(model, 0, Normalization.of(IMAGENET, 3), 3)
    write(model, path)
    pixels = np.rint(np.abs(photos(24, 16, 16, 3)) % 1 * 100).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    files = {"int8": tmp_path / "int8.tflite", "int8-uint8-io": tmp_path / "uint8.tflite"}
    quantize(
        path, files, feeds=feed(tmp_path / "pixels.npy", pixels), work=tmp_path, effort=effort,
        progress=quiet,
    )  # fmt: skip
    for (scheme, file), zero in zip(files.items(), (-128, 0), strict=True):
        found = read(file).main.inputs[0].quantization
        assert found is not None
        assert (found.scales, found.zero_points) == ((1.0,), (zero,)), scheme
    border = next(t for t in read(files["int8"]).main.tensors if t.name.endswith("rows_after"))
    grey = np.rint(np.array([0.485, 0.456, 0.406]) * 255) - 128
    np.testing.assert_array_equal(border.data()[0, 0, 0], grey)


@pytest.mark.parametrize(("shape", "axis"), [((1, 16, 16, 3), 3), ((1, 3, 16, 16), 1)])
def test_operators_in_front_compute_in_integers_too(
    shape: tuple[int, ...], axis: int, tmp_path: Path
) -> None:
    net = Net(*shape)
    plain = net.save(tmp_path / "plain.tflite", net.dense(net.image, "scores", 5))
    model, path = read(plain), tmp_path / "folded.tflite"
    normalization = Normalization.of(IMAGENET, 3, "BGR")
    assert fold(model, 0, normalization, axis).how == "in front"
    write(model, path)
    pixels = np.rint(np.abs(photos(24, *shape[1:])) % 1 * 255).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    output = tmp_path / "uint8.tflite"
    outcome = quantize(
        path, {"int8-uint8-io": output}, feeds=feed(tmp_path / "pixels.npy", pixels),
        work=tmp_path, progress=quiet,
    )  # fmt: skip
    assert not outcome.failures
    assert outcome.left["int8-uint8-io"] == ()
    wanted = invoke(plain, normalization.values(pixels[:1], axis))[0]
    scores = read(output).main.outputs[0].quantization
    assert scores is not None
    stored = invoke(output, pixels[:1].astype(np.uint8))[0].astype(float)
    got = (stored - scores.zero_points[0]) * scores.scales[0]
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 25
