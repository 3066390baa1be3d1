"""`edgekit embed` without a compiler: contracts, names, golden vectors, the folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from embed_nets import PREPROCESS, SIZE, net_with
from quantize_nets import Net
from target_nets import Chain
from validate_nets import pictures

import edgekit
from edgekit.contract import Decoder, Preprocess, SequenceDecoder
from edgekit.embed.describe import step
from edgekit.embed.golden import read_golden
from edgekit.embed.micro import resolver_method
from edgekit.embed.names import safe_names
from edgekit.embed.raw_pixels import require_equal
from edgekit.embed.render import load_target, quoted, target_names
from edgekit.embed.resize_cost import antialiased, float_bilinear
from edgekit.errors import ConversionError, ModelError, UsageError
from edgekit.text import is_unsafe
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read, write
from edgekit.tflite.summary import summarize

LABELS = ("Katze", "Straßenbahn", "猫", 'quote " and \\')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures(tmp_path / "photos", 5, size=40)
    return tmp_path / "photos"


def classifier(tmp_path: Path, **changes) -> Path:
    return net_with(tmp_path / "net.tflite", {"scores": (1, 4)}, task="classification", **changes)


def embed(file: Path, photos: Path, output: str = "module", **options):
    options = {"target": "cpp", **options}
    return edgekit.embed(file, output=file.parent / output, samples=photos, **options)


def test_golden_vectors_are_what_opencv_and_the_interpreter_make(tmp_path, photos):
    file = classifier(tmp_path, labels=LABELS)
    result = embed(file, photos)
    golden = read_golden(result.output / "test/golden")
    assert {sample for _, sample in golden} == {0, 1, 2}
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    for number, name in enumerate(result.samples):
        picture = cv2.cvtColor(cv2.imread(str(photos / name)), cv2.COLOR_BGR2RGB)
        assert np.array_equal(golden["picture", number].values, picture)
        small = cv2.resize(picture, (20, 20 * picture.shape[0] // picture.shape[1]))
        top, left = (round((side - SIZE) / 2) for side in small.shape[:2])
        pixels = small[top : top + SIZE, left : left + SIZE]
        assert np.array_equal(golden["resized", number].values, pixels)
        tensor = ((pixels / 255 - PREPROCESS.mean) / PREPROCESS.std)[None].astype(np.float32)
        assert np.allclose(golden["tensor", number].values, tensor, atol=1e-5)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
        scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert np.allclose(golden["output0", number].values, scores, atol=1e-4)
        powers = np.exp(scores[0] - scores[0].max())
        best = golden["result", number].values
        assert best[0, 0] == scores.argmax()
        assert best[:, 1] == pytest.approx(np.sort(powers / powers.sum())[::-1], abs=1e-5)


def test_a_second_run_writes_the_same_bytes(tmp_path, photos):
    file = classifier(tmp_path)
    first, second = embed(file, photos, "one"), embed(file, photos, "two")
    assert first.files == second.files
    for path in (*first.files, "edgekit-embed.json"):
        assert (first.output / path).read_bytes() == (second.output / path).read_bytes(), path


@pytest.mark.parametrize("target", target_names())
def test_wrappers_are_short(tmp_path, photos, target):
    assert load_target(target).summary
    file = classifier(tmp_path, labels=LABELS)
    assert embed(file, photos, target=target).wrapper_lines < 300
    boxes = net_with(
        tmp_path / "boxes.tflite",
        {"o": (1, 7, 12)},
        task="detection",
        decoder=Decoder(format="yolov8"),
        labels=LABELS[:3],
    )
    assert embed(boxes, photos, "boxes", target=target).wrapper_lines < 300


@pytest.mark.parametrize("target", target_names())
def test_all_code_counts_as_the_wrapper(tmp_path, photos, target):
    file = classifier(tmp_path, labels=LABELS)
    result = embed(file, photos, target=target)
    counted, code = load_target(target).wrapper, (".hpp", ".cpp", ".kt", ".swift", ".ts", ".h")
    apart = ("test", "demo", "Tests", "tables", "labels", "anchors", "golden", "Package")
    for template, path in load_target(target).files.items():
        if path.endswith(code) and not any(word in f"{template} {path}" for word in apart):
            assert template in counted, template
    assert result.wrapper_lines > 20


def outputs_of(file: Path, tensor: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("fed", ["RGB", "BGR"])
def test_a_normalisation_is_folded_in(tmp_path, photos, fed):
    file = classifier(tmp_path)
    before = file.read_bytes()
    result = embed(file, photos, fold_preprocess=True, feed_color=fed)
    assert file.read_bytes() == before
    assert not result.spec.input.normalises
    assert "folded into features" in result.notes[-2]
    assert int(re.search(r"(\d+) dB", result.notes[-1])[1]) >= 60
    golden = read_golden(result.output / "test/golden")
    pixels = golden["resized", 0].values
    fed_pixels = (pixels if fed == "RGB" else pixels[..., ::-1]).astype(np.float32)
    assert np.array_equal(golden["tensor", 0].values[0], fed_pixels)
    tensor = ((pixels / 255 - PREPROCESS.mean) / PREPROCESS.std)[None].astype(np.float32)
    wanted = outputs_of(file, tensor)
    assert np.allclose(golden["output0", 0].values, wanted, atol=1e-4)
    copy = result.output / "model/net.tflite"
    entry = read_contract(copy).inputs[0]
    assert (entry.preprocess.color, entry.preprocess.scale) == (fed, 1)
    assert entry.folded == PREPROCESS
    assert "TFLITE_METADATA" in read(copy).metadata


def test_what_cannot_be_folded_is_refused(tmp_path, photos):
    net = Net(1, SIZE, SIZE, 3)
    file = net.save(tmp_path / "net.tflite", net.dense(net.image, "scores", 4))
    model = read(file)
    model.main.inputs[0].raw.type = schema.TensorType.INT32
    write(model, file)
    told = {"preprocess": {"scale": 1 / 255}, "task": "classification"}
    with pytest.raises(UsageError, match="takes int32") as error:
        embed(file, photos, fold_preprocess=True, **told)
    assert "--fold-preprocess" in error.value.cure
    assert not (tmp_path / "module").exists()


def test_a_copy_that_computes_something_else_is_refused(tmp_path):
    right = [(np.array([1.0, 2.0], np.float32),), (np.array([3.0, 4.0], np.float32),)]
    wrong = [right[0], (np.array([3.0, 4.1], np.float32),)]
    assert require_equal(Path("net.tflite"), right, right).endswith("200 dB in the worst output.")
    with pytest.raises(ConversionError, match=r"dB in the worst output, over 2 samples"):
        require_equal(Path("net.tflite"), right, wrong)


def test_a_file_without_contract_says_what_is_missing_and_takes_it(tmp_path, photos):
    file = classifier(tmp_path, contract=False)
    with pytest.raises(UsageError) as error:
        embed(file, photos)
    assert "scale, mean, std" in error.value.cause
    assert "task" in error.value.cause
    for word in ("--task", "--mean", "--config"):
        assert word in error.value.cure
    with pytest.raises(UsageError, match="missing is what its first output means"):
        embed(file, photos, preprocess={"scale": 1 / 255})
    result = embed(file, photos, preprocess={"scale": 1 / 255}, task="classification")
    assert result.spec.input.mean == (0, 0, 0)
    (tmp_path / "edgekit.toml").write_text(
        "[inputs.image]\npreprocess = { scale = 0.5 }\n"
        '[outputs.scores]\ntask = "classification"\nlabels = ["a", "b", "c", "d"]\n'
    )
    result = embed(file, photos, "other", config=tmp_path / "edgekit.toml")
    assert result.spec.decode.labels == ("a", "b", "c", "d")


def test_labels_that_do_not_match_are_refused(tmp_path, photos):
    file = classifier(tmp_path)
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"scores has 4 scores, and there are 2 class names"):
        embed(file, photos, labels=tmp_path / "labels.txt")


def test_a_detector_without_decoder_is_refused(tmp_path, photos):
    file = net_with(tmp_path / "net.tflite", {"boxes": (1, 7, 9)}, task="detection")
    with pytest.raises(UsageError, match="decoder"):
        embed(file, photos)


def test_outputs_that_the_decoder_names_must_be_there(tmp_path, photos):
    decoder = Decoder(format="ssd", scores="nobody")
    file = net_with(
        tmp_path / "net.tflite", {"boxes": (1, 9, 4)}, task="detection", decoder=decoder
    )
    with pytest.raises(UsageError, match="nobody"):
        embed(file, photos)


@pytest.mark.parametrize(
    ("last", "activation"), [(None, "softmax"), ("SOFTMAX", "none"), ("LOGISTIC", "none")]
)
def test_the_activation_is_read_from_the_graph(tmp_path, photos, last, activation):
    assert embed(classifier(tmp_path, last=last), photos).spec.decode.activation == activation


def test_pixels_go_in_as_they_are_where_nothing_is_normalised(tmp_path, photos):
    file = classifier(tmp_path, preprocess=Preprocess(resize=(SIZE, SIZE)))
    result = embed(file, photos)
    golden = read_golden(result.output / "test/golden")
    assert not result.spec.input.normalises
    assert np.array_equal(golden["tensor", 0].values[0], golden["resized", 0].values)
    assert "mean" not in (result.output / "src/net.cpp").read_text()


def test_a_folder_with_something_in_it_needs_force_and_keeps_foreign_files(tmp_path, photos):
    file = classifier(tmp_path)
    result = embed(file, photos, name="old name")
    assert (result.output / "src/old_name.cpp").exists()
    mine = result.output / "src" / "mine.cpp"
    mine.write_text("// mine")
    with pytest.raises(UsageError, match="exists already"):
        embed(file, photos)
    embed(file, photos, force=True)
    assert mine.read_text() == "// mine"
    assert not (result.output / "src/old_name.cpp").exists()
    (result.output / "src/net.cpp").write_text("// changed by hand")
    with pytest.raises(UsageError, match="in the way"):
        embed(file, photos, force=True)
    assert (result.output / "src/net.cpp").read_text() == "// changed by hand"


def test_a_manifest_that_leads_outside_deletes_nothing(tmp_path, photos):
    file = classifier(tmp_path)
    result = embed(file, photos)
    outside = tmp_path / "outside.txt"
    outside.write_text("keep")
    listed = json.loads(result.manifest.read_text())
    digest = "6ca7ea2feefc88ecb5ed6356ed963f47dc9137f82526fdd25d618ea626d0803f"
    listed["files"]["../outside.txt"] = digest
    result.manifest.write_text(json.dumps(listed))
    embed(file, photos, force=True)
    assert outside.read_text() == "keep"


def test_a_failed_run_leaves_nothing(tmp_path, photos):
    file = net_with(tmp_path / "net.tflite", {"boxes": (1, 7, 9)}, task="detection")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError):
        embed(file, photos)
    (tmp_path / "broken.tflite").write_bytes(b"no flatbuffer")
    with pytest.raises(ModelError):
        embed(tmp_path / "broken.tflite", photos)
    (tmp_path / "broken.tflite").unlink()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("title", "snake", "pascal"),
    [
        ("net", "net", "Net"),
        ("EfficientNet-Lite0 (int8)", "efficientnet_lite0_int8", "EfficientnetLite0Int8"),
        ("2fast", "model_2fast", "Model2fast"),
        ("class", "model_class", "ModelClass"),
        ("Tür_öffner", "tur_offner", "TurOffner"),
    ],
)
def test_names_are_identifiers(title, snake, pascal):
    names, notes = safe_names(title)
    assert (names.snake, names.pascal) == (snake, pascal)
    assert bool(notes) == (snake != title)
    for name in (names.snake, names.camel, names.pascal, names.upper):
        assert re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)


def test_a_name_without_any_letter_is_refused():
    with pytest.raises(UsageError, match="has no letter or digit"):
        safe_names("猫")


def test_a_name_in_the_file_cannot_become_code(tmp_path, photos):
    evil = "scores\nint main() { return 7; } //\\"
    file = net_with(tmp_path / "net.tflite", {evil: (1, 4)}, task="classification")
    result = embed(file, photos)
    for path in result.files:
        if path.endswith((".cpp", ".hpp")):
            assert "\nint main() { return 7; }" not in (result.output / path).read_text()


def test_the_operators_for_micro_are_those_that_inspect_shows(tmp_path, photos):
    file = classifier(tmp_path)
    result = embed(file, photos, target="micro")
    header = (result.output / "net_operators.h").read_text()
    named = re.findall(r"resolver\.(\w+)\(\)", header)
    assert sorted(named) == sorted({resolver_method(op.op) for op in summarize(file).ops})
    assert f"OPERATOR_COUNT {len(named)}" in header
    array = re.search(r"\{\n(.*)\n\};", (result.output / "net_model.cc").read_text(), re.DOTALL)
    values = bytes(int(word, 16) for word in re.findall(r"0x\w\w", array[1]))
    assert values == file.read_bytes()


def test_operators_that_micro_does_not_have_are_named(tmp_path, photos):
    file = classifier(tmp_path, last="SIGN")
    with pytest.raises(UsageError, match="no kernel for SIGN"):
        embed(file, photos, target="micro")


def test_resolver_methods_as_the_library_spells_them():
    spelled = {
        "CONV_2D": "AddConv2D",
        "MAX_POOL_2D": "AddMaxPool2D",
        "L2_POOL_2D": "AddL2Pool2D",
        "RELU6": "AddRelu6",
        "BATCH_MATMUL": "AddBatchMatMul",
        "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    }
    assert {name: resolver_method(name) for name in spelled} == spelled


def test_no_target_of_that_name(tmp_path, photos):
    with pytest.raises(UsageError, match="fortran"):
        embed(classifier(tmp_path), photos, target="fortran")


def test_the_cost_of_other_resizes_is_measured(tmp_path, photos):
    costs = {cost.way: cost for cost in embed(classifier(tmp_path), photos).costs}
    assert costs["bilinear"].worst_level <= 1
    assert costs["nearest"].levels > costs["bilinear"].levels
    assert costs["nearest"].sqnr_db < costs["bilinear"].sqnr_db
    assert costs["nearest"].samples == 5


def test_antialiased_is_pillows_bilinear():
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    from PIL import Image

    wanted = np.asarray(Image.fromarray(image).resize((50, 40), Image.Resampling.BILINEAR))
    assert abs(antialiased(image, (40, 50)).astype(int) - wanted).max() <= 1
    assert abs(float_bilinear(image, (40, 50)).astype(int) - wanted).max() > 10


def test_real_outputs_that_were_integers_may_be_off_by_steps():
    net = Chain(1, 8, dtype="int8")
    net.add("DEQUANTIZE", dtype="float32")
    net.add("RESHAPE", shape=(8, 1))
    assert step(net.graph, net.last) == pytest.approx(0.1)
    plain = Chain(1, 8)
    plain.add("RELU")
    assert step(plain.graph, plain.last) == 0


TRICKS = 'a\x1b[2J\u202e\u2066b\u2028"\\\n\t\x85猫 é'


def test_tricks_in_labels_are_escaped_as_each_language_has_it():
    unicode, braces, octal = (quoted(TRICKS, form) for form in ("unicode", "braces", "octal"))
    for text in (unicode, braces, octal):
        assert not any(map(is_unsafe, text))
        assert "猫 é" in text
    assert json.loads(unicode) == TRICKS  # as TypeScript and Kotlin read it
    plain = re.sub(r"\\u\{(\w+)\}", lambda found: f"\\u{int(found[1], 16):04x}", braces)
    assert json.loads(plain) == TRICKS
    data = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), octal.encode())
    for sign, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        assert written in octal
        data = data.replace(written.encode(), sign.encode())
    assert data.decode() == f'"{TRICKS}"'


@pytest.mark.parametrize("name", target_names())
def test_each_target_writes_its_own_language(name):
    form = load_target(name).escapes
    other = {"cpp": "octal", "micro": "octal", "ios": "braces", "flutter": "braces"}
    assert form == other.get(name, "unicode")
    assert "\ud800" not in quoted("\ud800", form)


def test_a_letterbox_in_golden_vectors(tmp_path):
    """A picture of 30x40 in a net of 16x16: 12x16 pixels of it between two rows and two."""
    (photo,) = pictures(tmp_path / "photos", 1, size=40)
    cv2.imwrite(str(photo), cv2.imread(str(photo))[:30])
    boxed = {"resize": SIZE, "letterbox": True, "color": "BGR", "pad_value": (7, 0, 255)}
    result = embed(classifier(tmp_path), photo, preprocess=boxed, golden=1)
    golden = read_golden(result.output / "test/golden")
    picture, resized = golden["picture", 0].values, golden["resized", 0].values
    assert np.array_equal(resized[2:14], cv2.resize(picture, (16, 12)))
    assert (resized[[0, 1, 14, 15]] == (255, 0, 7)).all()
    bgr = resized[..., ::-1] / np.float32(255)
    wanted = (bgr - np.float32(PREPROCESS.mean)) / np.float32(PREPROCESS.std)
    assert np.allclose(golden["tensor", 0].values[0], wanted, atol=1e-5)
    assert [cost.levels < 30 for cost in result.costs] == [True] * 3


def test_a_gray_letterbox_has_one_level_of_padding(tmp_path, photos):
    boxed = {"letterbox": True, "color": "GRAY", "pad_value": (7, 0, 255), "scale": 1.0}
    net = Net(1, 12, 10, 1)
    file = net.save(tmp_path / "net.tflite", net.dense(net.image, "scores", 3))
    with pytest.raises(UsageError, match="pad_value has 3 values"):
        embed(file, photos, preprocess=boxed, task="classification")


@pytest.mark.parametrize(("shape", "blank"), [((1, 20, 5), 0), ((1, 5, 20), -1), ((20, 1, 5), 2)])
def test_a_sequence_is_read_as_its_contract_says(tmp_path, photos, shape, blank):
    decoder = SequenceDecoder(format="ctc", blank=blank)
    file = net_with(
        tmp_path / "net.tflite", {"o": shape}, task="sequence", decoder=decoder, labels=LABELS
    )
    result = embed(file, photos)
    decode = result.spec.decode
    special = blank if blank >= 0 else 4
    assert (decode.kind, decode.steps, decode.symbols, decode.special) == (
        "sequence",
        20,
        5,
        special,
    )
    assert decode.labels == (*LABELS[:special], "", *LABELS[special:])
    golden = read_golden(result.output / "test/golden")
    for number in range(3):
        scores = golden["output0", number].values.reshape(shape[0] * shape[1], shape[2])
        best = scores.argmax(0 if shape[1] == 5 else 1).tolist()
        wanted = [
            one for place, one in enumerate(best) if one != special and best[:place][-1:] != [one]
        ]
        assert golden["result", number].values.tolist() == wanted
    assert "best symbol of each step" in (result.output / "README.md").read_text()


def test_a_sequence_without_a_decoder_is_refused(tmp_path, photos):
    file = net_with(tmp_path / "net.tflite", {"o": (1, 20, 5)}, task="sequence")
    with pytest.raises(UsageError, match="becomes a text") as caught:
        embed(file, photos)
    assert "--task sequence" in caught.value.cure


@pytest.mark.parametrize(("task", "shape"), [("keypoints", (1, 17, 3)), ("depth", (1, 8, 8, 1))])
def test_tasks_without_a_decoder_of_their_own_give_plain_values(tmp_path, photos, task, shape):
    result = embed(net_with(tmp_path / "net.tflite", {"o": shape}, task=task), photos)
    assert result.spec.decode.kind == "values"


def test_a_detector_without_a_decoder_is_told_the_lines(tmp_path, photos):
    file = net_with(tmp_path / "net.tflite", {"o": (1, 84, 300)}, task="detection")
    with pytest.raises(UsageError, match="become boxes") as caught:
        embed(file, photos)
    assert 'format = "yolov8"' in caught.value.cure
    assert "--config" in caught.value.cure


def test_a_table_of_boxes_is_refused_with_what_works(tmp_path, photos):
    decoder = Decoder(format="table")
    file = net_with(tmp_path / "net.tflite", {"o": (1, 30, 6)}, task="detection", decoder=decoder)
    with pytest.raises(UsageError, match="one table") as caught:
        embed(file, photos)
    assert 'format = "boxes"' in caught.value.cure
