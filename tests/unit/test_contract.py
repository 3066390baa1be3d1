"""The model contract: TOML, JSON, flags, and who wins."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.config import DTYPES, Config, load_config, parse_input_flag, read_labels
from edgekit.contract import (
    Contract,
    InputContract,
    OutputContract,
    OutputPart,
    Preprocess,
    image_axes,
    preprocess_from_table,
)
from edgekit.errors import UsageError
from edgekit.resolve import resolve
from edgekit.types import TensorSpec

PICTURE = TensorSpec(name="image", shape=(1, 3, 224, 224))
VECTOR = TensorSpec(name="tokens", shape=(1, 128), dtype="int64")
LOGITS = TensorSpec(name="logits", shape=(1, 1000))

# ------------------------------------------------------------------------- strategies

sizes = st.integers(1, 4096)
finite = st.floats(-1e30, 1e30)
means = st.one_of(finite.map(lambda v: (v,)), st.tuples(finite, finite, finite))
nonzero = finite.filter(lambda value: abs(value) >= 1e-30)
stds = st.one_of(nonzero.map(lambda v: (v,)), st.tuples(nonzero, nonzero, nonzero))
preprocesses = st.builds(
    Preprocess,
    resize=st.none() | sizes | st.tuples(sizes, sizes),
    crop=st.none() | st.tuples(sizes, sizes),
    color=st.sampled_from(["RGB", "BGR", "GRAY"]),
    scale=finite,
    mean=means,
    std=stds,
    interpolation=st.sampled_from(["bilinear", "bicubic", "area", "nearest"]),
)
layouts = st.sampled_from([None, "NCHW", "NHWC"])
tensors = st.builds(
    TensorSpec,
    name=st.text(max_size=12),
    shape=st.lists(st.none() | sizes, max_size=5).map(tuple),
    dtype=st.sampled_from(DTYPES),
    layout=layouts,
)
contracts = st.builds(
    Contract,
    inputs=st.lists(
        st.builds(
            InputContract,
            tensor=tensors,
            preprocess=st.none() | preprocesses,
            assumed=st.lists(st.text(max_size=5), max_size=2).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    outputs=st.lists(
        st.builds(
            OutputContract,
            tensor=tensors,
            task=st.sampled_from([None, "classification", "embedding"]),
            labels=st.lists(st.text(max_size=5), max_size=3).map(tuple),
            part=st.none()
            | st.builds(
                OutputPart,
                of=st.text(max_size=5),
                axis=st.integers(0, 4),
                start=sizes,
                size=sizes,
            ),
        ),
        max_size=3,
    ).map(tuple),
)


# ------------------------------------------------------------------------- embedded JSON


@given(contracts)
def test_json_round_trip(contract):
    text = contract.to_json()
    assert Contract.from_json(text) == contract
    assert Contract.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", "nonsense", '{"version": 1}', '{"version": 1, "inputs": 5}'),
        '{"version": 1, "inputs": [{"tensor": 3}], "outputs": []}',
    ],
)
def test_what_is_no_contract_is_refused(text):
    with pytest.raises(UsageError, match="Not an edgekit contract"):
        Contract.from_json(text)


def test_a_newer_contract_says_so():
    with pytest.raises(UsageError, match="version 99") as caught:
        Contract.from_json(json.dumps({"version": 99}))
    assert "newer edgekit" in caught.value.cure


@given(preprocesses, st.integers(0, 255))
def test_the_value_range_holds_every_pixel(preprocess, pixel):
    low, high = preprocess.value_range
    channels = max(len(preprocess.mean), len(preprocess.std))
    mean, std = (np.broadcast_to(v, channels) for v in (preprocess.mean, preprocess.std))
    with np.errstate(all="ignore"):
        values = (pixel * preprocess.scale - mean) / std
    if np.isfinite([low, high, *values]).all():
        slack = 1e-9 * max(abs(low), abs(high))
        assert low - slack <= values.min() <= values.max() <= high + slack


# ------------------------------------------------------------------------- TOML


def write(folder: Path, text: str) -> Path:
    path = folder / "edgekit.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_whole_configuration(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\n dog \nHündin\n", encoding="utf-8")
    config = load_config(
        write(
            tmp_path,
            """
[model]
source  = "my_package.nets:build"
weights = "weights.pt"
[inputs.image]
shape  = [1, 3, 224, 224]
layout = "NCHW"
preprocess = { resize = 256, crop = 224, color = "BGR", scale = 0.5, mean = 3, std = [1, 2, 4] }
[outputs.logits]
task   = "classification"
labels = "labels.txt"
[calibration]
data = "photos/"
parity = "/absolute/parity"
samples = 12
[gates]
top1_agreement = ">= 0.95"
"int8:latency_p90_ms" = "<= 12"
""",
        )
    )
    assert config.source == "my_package.nets:build"
    assert config.weights == tmp_path / "weights.pt"
    assert config.calibration == tmp_path / "photos"
    assert config.parity == Path("/absolute/parity")
    assert config.samples == 12
    assert config.gates == ("top1_agreement >= 0.95", "int8:latency_p90_ms <= 12")
    contract = resolve((TensorSpec(name="image", shape=(None, 3, None, None)),),
                       (replace(LOGITS, shape=(1, 3)),),
                       config=config)  # fmt: skip
    (image,), (logits,) = contract.inputs, contract.outputs
    assert image.tensor == replace(PICTURE, layout="NCHW")
    assert image.preprocess == Preprocess(
        resize=256, crop=(224, 224), color="BGR", scale=0.5, mean=(3.0,), std=(1.0, 2.0, 4.0)
    )
    assert image.assumed == ()
    assert logits.labels == ("cat", "dog", "Hündin")
    assert contract.task == "classification"


@given(preprocesses)
def test_a_preprocess_written_as_toml_comes_back(tmp_path_factory, preprocess):
    folder = tmp_path_factory.mktemp("toml")
    table = {key: value for key, value in asdict(preprocess).items() if value is not None}
    written = ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    config = load_config(write(folder, f"[inputs.image]\npreprocess = {{ {written} }}\n"))
    assert preprocess_from_table(config.inputs["image"]["preprocess"]) == preprocess


def test_an_empty_configuration_says_nothing(tmp_path):
    assert load_config(write(tmp_path, "")) == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model", "TOML"),
        ("[modle]", "modle"),
        ("model = 5", "table"),
        ("[model]\nwieghts = 'a'", "wieghts"),
        ("[model]\nweights = 5", "a path"),
        ("inputs = 3", "table"),
        ("[inputs]\nimage = 5", "table"),
        ("[inputs.image]\nshpae = [1]", "shpae"),
        ("[inputs.image]\nshape = '1x3'", "list of numbers"),
        ("[inputs.image]\nshape = []", "list of numbers"),
        ("[inputs.image]\nshape = [1, 0]", "list of numbers"),
        ("[inputs.image]\nshape = [1, 2.5]", "list of numbers"),
        ("[inputs.image]\nlayout = 'CHW'", "NCHW, NHWC"),
        ("[inputs.image]\ndtype = 'float'", "float32"),
        ("[inputs.image]\npreprocess = 3", "table"),
        ("[inputs.image]\npreprocess = { means = 3 }", "means"),
        ("[inputs.image]\npreprocess = { mean = ['a'] }", "finite number"),
        ("[inputs.image]\npreprocess = { scale = nan }", "finite number"),
        ("[inputs.image]\npreprocess = { scale = 'x' }", "finite number"),
        ("[inputs.image]\npreprocess = { resize = 0 }", "pixels"),
        ("[inputs.image]\npreprocess = { resize = -3 }", "pixels"),
        ("[inputs.image]\npreprocess = { resize = true }", "pixels"),
        ("[inputs.image]\npreprocess = { resize = [1, 2, 3] }", "height, width"),
        ("[inputs.image]\npreprocess = { crop = 'x' }", "height, width"),
        ("[inputs.image]\npreprocess = { crop = [1, 'x'] }", "pixels"),
        ("[inputs.image]\npreprocess = { color = 'rgb' }", "RGB"),
        ("[inputs.image]\npreprocess = { interpolation = 'cubic' }", "bilinear"),
        ("[inputs.image]\npreprocess = { antialias = 1 }", "true or false"),
        ("[inputs.image]\npreprocess = { letterbox = 'yes' }", "true or false"),
        ("[inputs.image]\npreprocess = { letterbox = true, pad_value = 256 }", "from 0 to 255"),
        ("[inputs.image]\npreprocess = { letterbox = true, pad_value = [] }", "from 0 to 255"),
        ("[inputs.image]\npreprocess = { letterbox = true, pad_place = 'top' }", "centre"),
        ("[inputs.image]\npreprocess = { std = [1, 0, 1] }", "no std may be 0"),
        ("[inputs.image]\npreprocess = { mean = [] }", "at least one"),
        ("[inputs.image]\npreprocess = { mean = [1, 2, 3], std = [1, 2] }", "3 values"),
        ("[outputs.y]\ntask = 'clasification'", "classification"),
        ("[outputs.y]\nlabels = 7", "list of names"),
        ("[calibration]\nsamples = 'many'", "number from 1"),
        ("[calibration]\nsamples = 0", "number from 1"),
        ("gates = 3", "table"),
    ],
)
def test_mistakes_in_the_configuration_are_named(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, text))
    assert words in caught.value.cause


def test_a_configuration_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(UsageError, match="no configuration"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        load_config(tmp_path / "x.toml")


def test_labels_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="labels"):
        read_labels(tmp_path / "gone.txt")


def test_numpy_numbers_are_numbers():
    """The Python API is called with NumPy values."""
    table = {"mean": tuple(np.float32([1, 2])), "crop": np.int64(5), "scale": np.float32(2)}
    assert preprocess_from_table(table) == Preprocess(mean=(1.0, 2.0), crop=(5, 5), scale=2.0)


# ------------------------------------------------------------------------- --input

names = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=10)
dimensions = st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=6)


@given(
    st.lists(names, min_size=1, max_size=2).map(":".join),
    dimensions,
    st.sampled_from("x,"),
    st.none() | st.sampled_from(DTYPES),
    layouts,
    st.booleans(),
)
def test_input_flags_round_trip(name, shape, separator, dtype, layout, swapped):
    parts = [part for part in (dtype, layout) if part]
    text = separator.join(f"{size}{'?' * is_open}" for size, is_open in shape)
    flag = ":".join([name, text, *(parts[::-1] if swapped else parts)])
    assert parse_input_flag(flag) == TensorSpec(
        name=name,
        shape=tuple(size for size, _ in shape),
        dtype=dtype or "float32",
        layout=layout,
        resizable=tuple(axis for axis, (_, is_open) in enumerate(shape) if is_open),
    )


@pytest.mark.parametrize(
    ("text", "shape", "axes"),
    [
        ("image:1x3x?x?", (1, 3, 224, 224), (2, 3)),
        ("image:?x640?x480?x3", (1, 640, 480, 3), (0, 1, 2)),
        ("tokens:1x?:int64", (1, 32), (1,)),
    ],
)
def test_open_dimensions_start_at_a_usual_size(text, shape, axes):
    spec = parse_input_flag(text)
    assert (spec.shape, spec.resizable) == (shape, axes)


def test_what_the_model_fixes_cannot_be_resized():
    fixed = TensorSpec(name="image", shape=(None, 3, 224, None))
    with pytest.raises(UsageError, match="fixes dimension 2 at 224"):
        resolve((fixed,), (), config=Config(), inputs=(parse_input_flag("image:?x3x?x?"),))
    contract = resolve(
        (fixed,), (), config=Config(), inputs=(parse_input_flag("image:?x3x224x96?"),)
    )
    tensor = contract.inputs[0].tensor
    assert (tensor.shape, tensor.resizable) == ((1, 3, 224, 96), (0, 3))
    assert Contract.from_json(contract.to_json()).inputs[0].tensor == tensor


def test_names_with_a_colon_as_tensorflow_makes_them():
    assert parse_input_flag("input:0:1x224x224x3") == TensorSpec(
        name="input:0", shape=(1, 224, 224, 3)
    )
    assert parse_input_flag("x:5") == TensorSpec(name="x", shape=(5,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "NAME:SHAPE"),
        ("image", "NAME:SHAPE"),
        ("1x3x224x224", "NAME:SHAPE"),
        (":1x3", "NAME:SHAPE"),
        ("float32", "NAME:SHAPE"),
        ("image:", "neither a shape"),
        ("image:float32", "NAME:SHAPE"),
        ("image:axb", "'axb' is neither a shape"),
        ("image:1x", "neither a shape"),
        ("image:-1x3", "neither a shape"),
        ("image:1.5", "neither a shape"),
        ("image:1_0", "neither a shape"),
        ("image:0x3", "at least 1"),
        ("image:1x3:float", "'float' is neither"),
        ("image:1x3:float32:NCWH", "'NCWH' is neither"),
        ("image:1x3:int8:int32", "twice"),
        ("image:1x3:NCHW:NHWC", "twice"),
    ],
)
def test_input_flags_that_make_no_sense(text, words):
    with pytest.raises(UsageError) as caught:
        parse_input_flag(text)
    assert words in caught.value.cause


@given(st.text(max_size=30))
def test_any_text_is_a_flag_or_a_usage_error(text):
    try:
        spec = parse_input_flag(text)
    except UsageError:
        return
    assert spec.name
    assert all(d is None or d > 0 for d in spec.shape)


# ------------------------------------------------------------------------- resolve: shapes


def one(described: TensorSpec, *flags: str, config: Config | None = None, **options):
    outputs = (replace(LOGITS, shape=(1, 2)),)
    return resolve(
        (described,),
        outputs,
        config=config or Config(),
        inputs=tuple(map(parse_input_flag, flags)),
        **options,
    ).inputs[0]


def test_an_open_batch_is_one_sample():
    assert one(replace(VECTOR, shape=(None, 128))).tensor.shape == (1, 128)
    assert one(replace(VECTOR, shape=(None, 128)), "tokens:?x128").tensor.shape == (1, 128)


def test_open_dimensions_need_a_size():
    with pytest.raises(UsageError, match="dynamic dimensions: 1x3x") as caught:
        one(replace(PICTURE, shape=(1, 3, None, None)))
    assert "--input image:1x3x224x224" in caught.value.cure
    assert one(replace(PICTURE, shape=(None, 3, None, None)), "image:1x3x64x96").tensor.shape == (
        1,
        3,
        64,
        96,
    )


def test_a_shape_that_contradicts_the_model():
    for flag in ("image:1x3x225x224", "image:3x224x224"):
        with pytest.raises(UsageError, match="the model wants 1x3x224x224"):
            one(PICTURE, flag)


def test_a_flag_for_an_input_that_the_model_does_not_have_is_refused():
    with pytest.raises(UsageError, match="no input named photo") as caught:
        one(replace(PICTURE, shape=(1, 3, None, None)), "photo:1x3x32x32")
    assert caught.value.cure == "Its inputs are: image"


def test_the_models_name_is_kept_where_the_configuration_has_another():
    config = Config(inputs={"photo": {"shape": [1, 3, 32, 32]}})
    entry = one(replace(PICTURE, shape=(1, 3, None, None)), config=config)
    assert (entry.tensor.name, entry.tensor.shape) == ("image", (1, 3, 32, 32))


def test_inputs_match_by_name_in_any_order_and_never_by_halves():
    described = (replace(VECTOR, name="a", shape=(1, None)), replace(VECTOR, name="b"))

    def shapes(*flags: str):
        contract = resolve(
            described, (), config=Config(), inputs=tuple(map(parse_input_flag, flags))
        )
        return [entry.tensor.shape for entry in contract.inputs]

    assert shapes("b:1x128", "a:1x7") == [(1, 7), (1, 128)]
    assert shapes("a:1x7") == [(1, 7), (1, 128)]
    for flags in (("a:1x7", "y:1x128"), ("x:1x7",), ("x:1x7", "y:1x128")):
        with pytest.raises(UsageError, match="no input named") as caught:
            shapes(*flags)
        assert "a, b" in caught.value.cure


def test_a_flag_wins_over_the_configuration_but_keeps_what_it_does_not_state():
    config = Config(inputs={"image": {"shape": [1, 32, 32, 3], "layout": "NHWC"}})
    open_picture = replace(PICTURE, shape=(1, None, None, 3))
    assert one(open_picture, config=config).tensor.shape == (1, 32, 32, 3)
    entry = one(open_picture, "image:1x64x64x3", config=config)
    assert entry.tensor.shape == (1, 64, 64, 3)
    assert entry.tensor.layout == "NHWC"


# ------------------------------------------------------------------------- resolve: pictures


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"interpolation": "lanczos"}, "goes with antialias"),
        ({"interpolation": "area", "antialias": True}, "has no antialias"),
        ({"letterbox": True, "crop": 8}, "both are stated"),
        ({"pad_value": 0}, "none is stated"),
        ({"enlarge": False}, "none is stated"),
    ],
)
def test_keys_that_contradict_each_other(table, words):
    with pytest.raises(UsageError, match=words) as caught:
        one(PICTURE, preprocess=table)
    assert caught.value.cure


def test_a_key_in_the_configuration_goes_with_one_in_a_flag():
    config = Config(inputs={"image": {"preprocess": {"antialias": True}}})
    seen = one(PICTURE, config=config, preprocess={"interpolation": "lanczos"}).preprocess
    assert (seen.interpolation, seen.antialias) == ("lanczos", True)


def embedded(**preprocess):
    entry = InputContract(tensor=PICTURE, preprocess=Preprocess(scale=0.5, **preprocess))
    return Contract(inputs=(entry,))


def test_a_crop_and_a_letterbox_take_each_others_place():
    cropped = embedded(resize=256, crop=(224, 224))
    flags = {"letterbox": True, "resize": (224, 224), "pad_value": (0,)}
    seen = one(PICTURE, embedded=cropped, preprocess=flags).preprocess
    assert seen == Preprocess(scale=0.5, resize=(224, 224), letterbox=True, pad_value=(0,))
    boxed = embedded(resize=(224, 224), letterbox=True, pad_value=(0,), enlarge=False)
    for flags in ({"letterbox": False}, {"crop": 224, "resize": 256}):
        seen = one(PICTURE, embedded=boxed, preprocess=flags).preprocess
        assert not seen.letterbox
        assert (seen.pad_value, seen.enlarge) == ((114,), True)
    assert one(PICTURE, embedded=boxed, preprocess={"pad_value": (9,)}).preprocess == replace(
        boxed.inputs[0].preprocess, pad_value=(9,)
    )


def test_a_letterbox_fits_into_the_input_where_no_size_is_stated():
    seen = one(PICTURE, preprocess={"letterbox": True}).preprocess
    assert (seen.resize, seen.letterbox) == ((224, 224), True)


def test_a_letterbox_is_in_the_metadata_and_comes_back():
    contract = embedded(
        resize=224,
        letterbox=True,
        pad_value=(1, 2, 3),
        pad_place="end",
        enlarge=False,
        interpolation="lanczos",
        antialias=True,
    )
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((1, 3, 8, 9), None, (2, 3, 1)),
        ((1, 8, 9, 3), None, (1, 2, 3)),
        ((1, 3, 8, 3), None, (2, 3, 1)),
        ((1, 3, 8, 3), "NHWC", (1, 2, 3)),
        ((1, 8, 9, 10), None, None),
        ((1, 8, 9, 10), "NHWC", (1, 2, 3)),
        ((1, 8, 9), None, None),
    ],
)
def test_image_axes(shape, layout, axes):
    assert image_axes(TensorSpec(name="x", shape=shape, layout=layout)) == axes


def test_what_is_assumed_is_said_and_only_for_float_pictures():
    entry = one(PICTURE)
    assert entry.preprocess == Preprocess(resize=(224, 224), scale=1 / 255)
    assert len(entry.assumed) == 1
    assert "0…1" in entry.assumed[0]
    integer = one(replace(PICTURE, dtype="uint8"))
    assert integer.preprocess == Preprocess(resize=(224, 224))
    assert integer.assumed == ()
    for stated in ({"scale": 1.0}, {"mean": [1]}, {"std": [2]}):
        assert one(PICTURE, preprocess=stated).assumed == ()
        assert one(PICTURE, preprocess=stated).preprocess.scale == 1.0
    assert one(VECTOR) == InputContract(tensor=VECTOR)
    silent = Contract(inputs=(InputContract(tensor=PICTURE),), outputs=())
    assert one(PICTURE, embedded=silent).assumed  # a file that does not say how it is fed
    gray = one(replace(PICTURE, shape=(1, 28, 28, 1)))
    assert gray.preprocess is not None
    assert gray.preprocess.color == "GRAY"
    assert gray.tensor.layout == "NHWC"


def test_flags_win_over_the_configuration_and_that_over_what_is_embedded():
    two = replace(LOGITS, shape=(1, 2))
    embedded = Contract(
        inputs=(
            InputContract(
                tensor=replace(PICTURE, layout="NCHW"),
                preprocess=Preprocess(resize=256, crop=(224, 224), mean=(5.0,), std=(9.0,)),
            ),
        ),
        outputs=(OutputContract(tensor=two, task="classification", labels=("a", "b")),),
    )
    config = Config(
        inputs={"image": {"preprocess": {"mean": [6.0], "color": "BGR"}}},
        outputs={"logits": {"labels": ["c", "d"]}},
    )
    entry = one(PICTURE, config=config, embedded=embedded, preprocess={"color": "RGB"})
    assert entry.preprocess == Preprocess(
        resize=256, crop=(224, 224), mean=(6.0,), std=(9.0,), color="RGB"
    )
    assert entry.assumed == ()

    def output(**options):
        return resolve((PICTURE,), (two,), embedded=embedded, **options).outputs[0]

    assert output(config=Config()) == embedded.outputs[0]
    assert output(config=config).labels == ("c", "d")
    assert output(config=config).task == "classification"
    flags = output(config=config, task="embedding", labels=("d", "e"))
    assert (flags.task, flags.labels) == ("embedding", ("d", "e"))


def test_an_embedded_contract_is_found_under_the_names_that_the_file_tells():
    """TFLite files tell names like serving_default_image:0; the contract has the framework's."""
    embedded = Contract(
        inputs=(InputContract(tensor=PICTURE, preprocess=Preprocess(mean=(5.0,))),),
        outputs=(OutputContract(tensor=LOGITS, task="classification"),),
    )
    contract = resolve(
        (replace(PICTURE, name="serving_default_image:0"),),
        (replace(LOGITS, name="StatefulPartitionedCall:0"),),
        config=Config(),
        embedded=embedded,
    )
    assert contract.inputs[0].preprocess == Preprocess(mean=(5.0,))
    assert contract.task == "classification"


def test_preprocessing_of_what_is_no_picture():
    config = Config(inputs={"tokens": {"preprocess": {"scale": 2.0}}})
    with pytest.raises(UsageError, match="tokens of shape 1x128 is not a picture"):
        one(VECTOR, config=config)


# ------------------------------------------------------------------------- resolve: outputs


def tasks(outputs: dict[str, str], *described: str):
    config = Config(outputs={name: {"task": task} for name, task in outputs.items()})
    specs = tuple(TensorSpec(name=name, shape=(1, 5)) for name in described)
    return [output.task for output in resolve((), specs, config=config).outputs]


def test_outputs_match_by_name_and_else_by_place():
    assert tasks({"b": "segmentation"}, "a", "b") == [None, "segmentation"]
    assert tasks({"logits": "classification"}, "output_0") == ["classification"]
    assert tasks({"logits": "classification"}, "output_0", "output_1") == ["classification", None]
    assert tasks({"x": "detection", "y": "embedding"}, "a", "b") == ["detection", "embedding"]


def test_an_output_that_the_model_does_not_have():
    for stated in ({"a": "detection", "bb": "embedding"}, dict.fromkeys("xyz", "embedding")):
        with pytest.raises(UsageError, match="no output named") as caught:
            tasks(stated, "a", "b")
        assert "a, b" in caught.value.cure
