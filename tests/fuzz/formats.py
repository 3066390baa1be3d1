"""What is fuzzed: for each format a sound input, its mutations, and who reads it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from edgekit import calibration
from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.config import Config
from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.errors import EdgekitError
from edgekit.jobs.protocol import Ending, Job, Outcome, Resources
from edgekit.jobs.store import STATE_NAME
from edgekit.pipeline.validation.data import open_samples
from edgekit.presets import Preset
from edgekit.presets.huggingface import from_folder
from edgekit.presets.onnx_metadata import from_properties
from edgekit.resolve import resolve
from edgekit.runners.http_reference import HttpReference
from edgekit.sweep.file import read_sweep
from edgekit.sweep.planning import plan_sweep
from edgekit.sweep.run import carry_out
from edgekit.tflite.metadata import CONTRACT_ENTRY
from edgekit.tflite.model import read, write
from edgekit.types import SilentProgress, TensorSpec

from .mutate import NUMBERS, WORDS, mutate_bytes, mutate_text, mutate_tree

PICTURE = TensorSpec(name="image", shape=(1, 8, 8, 3), layout="NHWC")
CONTRACT = Contract(
    inputs=(InputContract(tensor=PICTURE, preprocess=Preprocess(resize=(8, 8), scale=1 / 255)),),
    outputs=(
        OutputContract(
            tensor=TensorSpec(name="scores", shape=(1, 3)),
            task="classification",
            labels=("ant", "bee", "cat"),
        ),
    ),
)
VECTOR = Contract(inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 4))),))


@dataclass(frozen=True)
class Format:
    """A kind of input.

    Attributes:
        name: of the row in the table.
        make: lays a sound input into an empty folder; returns the file to mutate.
        change: its bytes, mutated.
        read: has edgekit read it; the exit code.
        sound: the codes that a sound input may end with.
        worker: a worker reads it, which has its own limits.
    """

    name: str
    make: Callable[[Path], Path]
    change: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path, Path, random.Random], int]
    sound: tuple[int, ...] = (0,)
    worker: bool = False


def command(*words: Any) -> int:
    """Run a command as a user does, output thrown away; what it prints is looked at."""
    before = sys.stdout, sys.stderr
    shown = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    sys.stdout = sys.stderr = shown
    try:
        # A model that is looked at is its worker's, which has cases of its own.
        with patch("edgekit.pipeline.reference.check_model", return_value=Contract()):
            code = run(group, list(map(str, words)))
    finally:
        sys.stdout, sys.stderr = before
    shown.flush()
    text = shown.buffer.getvalue().decode()  # type: ignore[attr-defined]
    if "Traceback (most recent call last)" in text:
        raise AssertionError(f"a traceback was shown:\n{text}")
    if "\x1b[2J" in text or "\u202e" in text:
        raise AssertionError(f"a control sequence of a name was shown: {text!r}")
    return code


def function(reader: Callable[[], Any]) -> int:
    """The exit code that a reader's error would end a command with."""
    try:
        reader()
    except EdgekitError as error:
        return error.exit_code if error.cause else EdgekitError.exit_code
    return 0


# ------------------------------------------------------------------------- data


def _picture(path: Path, size: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(path.name.encode())).integers(
        0, 255, (size, size, 3), np.uint8
    )
    cv2.imwrite(str(path), pixels)
    return path


def _pictures(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in ("ant/1", "bee/1", "cat/1"):
            _picture(folder / f"data/{name}.png")
        return _picture(folder / f"data/ant/2{suffix}")

    return make


def _calibrate(contract: Contract) -> Callable[[Path, Path, random.Random], int]:
    def reader(folder: Path, file: Path, _draw: random.Random) -> int:
        place = folder / "data" if (folder / "data").is_dir() else file
        work = folder / "work"

        def load() -> None:
            calibration.load(place, contract, folder=work, progress=SilentProgress())

        try:
            return function(load)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return reader


def _validate(task: Any, classes: Sequence[str] = ("ant", "bee", "cat")) -> Callable[..., int]:
    def reader(folder: Path, file: Path, draw: random.Random) -> int:
        place = file if file.suffix in (".csv", ".npz") else folder / "data"

        def everything() -> None:
            found = open_samples(
                place, task=task, classes=classes, outputs=draw.choice((3, 3, None))
            )
            for index in range(len(found.ids)):
                sample = found.get(index)
                sample.read()
                if hasattr(sample.label, "read"):
                    sample.label.read()

        return function(everything)

    return reader


def _npy(folder: Path) -> Path:
    np.save(folder / "x.npy", np.random.default_rng(0).random((10, 4), np.float32))
    return folder / "x.npy"


def _change_npy(data: bytes, draw: random.Random) -> bytes:
    """The header as text, half of the time; its length stays right."""
    if draw.random() < 0.5:
        return mutate_bytes(data, draw)
    end = 10 + int.from_bytes(data[8:10], "little")
    header = mutate_text(data[10:end].decode("latin1").strip(), draw)[:60_000]
    return data[:8] + len(header).to_bytes(2, "little") + header + data[end:]


def _npz(folder: Path) -> Path:
    x = np.random.default_rng(0).random((6, 4), np.float32)
    np.savez(folder / "x.npz", x=x, labels=np.arange(6) % 3)
    return folder / "x.npz"


def _change_npz(data: bytes, draw: random.Random) -> bytes:
    """Bytes, or other labels: all types and forms that people save."""
    if draw.random() < 0.5:
        return mutate_bytes(data, draw)
    count = draw.choice((6, 6, 6, 5, 0))
    numbers = np.arange(count) % 3
    labels: Any = draw.choice(
        (
            numbers.astype(draw.choice(("u1", "i8", "f2", "f8", "c16", "?", "M8[s]", "U3", "S2"))),
            numbers + draw.choice((0.5, np.nan, np.inf, -5, 1e300)),
            np.eye(3)[numbers],
            np.eye(4)[numbers] * draw.choice((1, 2, np.nan)),
            np.array(draw.choices(WORDS, k=count), dtype="U300"),
            np.array(draw.choices(NUMBERS, k=count), dtype="U300"),
            np.array(None),
            np.zeros((count, 2, 2, 2)),
            np.zeros((count, 0)),
            np.zeros(count, [("a", "i4"), ("b", "f4")]),
            np.array([None] * count, object),
        )
    )
    stream = io.BytesIO()
    names = {draw.choice(("labels", "label", "y")): labels, "x": np.zeros((6, 4), np.float32)}
    np.savez(stream, **names)
    return stream.getvalue()


def _csv(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in ("a", "b", "c"):
            _picture(folder / f"{name}.png")
        (folder / "list.csv").write_text(text)
        return folder / "list.csv"

    return make


CLASSES = "path,label\na.png,ant\nb.png,1\nc.png,cat\n"
VALUES = "path,x,y\na.png,0.5,1\nb.png,-1,2\nc.png,3,4e2\n"


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 12}],
    "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
}


def _coco(folder: Path) -> Path:
    _picture(folder / "data/a.png")
    (folder / "data/all.json").write_text(json.dumps(COCO))
    return folder / "data/all.json"


VOC = """<annotation><filename>a.png</filename><size><width>12</width></size>
<object><name>ant</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax>
<ymax>6</ymax></bndbox></object></annotation>"""


def _voc(folder: Path) -> Path:
    _picture(folder / "data/JPEGImages/a.png")
    file = folder / "data/Annotations/a.xml"
    file.parent.mkdir()
    file.write_text(VOC)
    return file


def _mask(folder: Path) -> Path:
    _picture(folder / "data/JPEGImages/a.png")
    file = folder / "data/SegmentationClass/a.png"
    file.parent.mkdir()
    cv2.imwrite(str(file), np.zeros((12, 12), np.uint8))
    return file


def _yolo(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        _picture(folder / "data/images/a.png")
        (folder / "data/labels").mkdir()
        (folder / "data/labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n")
        (folder / "data" / name).write_text(text)
        return folder / "data" / name

    return make


def _manifest(folder: Path) -> Path:
    for name in ("a", "b"):
        _picture(folder / f"data/{name}.png")
    file = folder / "data/manifest.toml"
    file.write_text('[[images]]\nfile = "a.png"\nsplit = "parity"\n[[images]]\nfile = "b.png"\n')
    return file


def _video(folder: Path) -> Path:
    file = folder / "x.avi"
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(file), code, 5, (16, 16))
    for frame in range(6):
        writer.write(np.full((16, 16, 3), frame * 20, np.uint8))
    writer.release()
    return file


# ------------------------------------------------------------------------- text and models

CONFIG = """[model]
source = "m.onnx"
[inputs.image]
shape = [1, 8, 8, 3]
layout = "NHWC"
[inputs.image.preprocess]
resize = 8
crop = [8, 8]
scale = 0.0039
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[outputs.scores]
task = "classification"
labels = ["ant", "bee", "cat"]
[outputs.boxes]
decoder = { format = "ssd", scores = "s", anchors = "a.npy", variances = [0.1, 0.1, 0.2, 0.2] }
[calibration]
samples = 8
[gates]
sqnr_db = ">= 10"
[target]
profiles = ["ethos-u55"]
"""
PROFILE = """summary = "A small device"
extends = "tflite-runtime-2.14.0"
[limits]
file_bytes = 4000000
arena_bytes = 500000
"""

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "resample": 2,
    "size": {"height": 8, "width": 8},
    "do_center_crop": False,
    "crop_size": {"height": 8, "width": 8},
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
HUB = {
    "architectures": ["MobileNetForImageClassification"],
    "id2label": {"0": "ant", "1": "bee", "2": "cat"},
    "num_channels": 3,
    "image_size": 8,
}
TIMM = {
    "architecture": "mobilenetv3_small_100",
    "pretrained_cfg": {
        "input_size": [3, 8, 8],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 3,
    },
}
PROPERTIES = {
    "description": "Ultralytics YOLOv8n model trained on x.yaml",
    "author": "Ultralytics",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": "[8, 8]",
    "names": "{0: 'ant', 1: 'bee', 2: 'cat'}",
    "Image.BitmapPixelFormat": "Bgr8",
    "Image.NominalPixelRange": "Normalized_0_1",
}


def _hub(name: str, table: Mapping[str, Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "hub").mkdir()
        for file, content in (("config.json", HUB), (name, table)):
            (folder / "hub" / file).write_text(json.dumps(content), encoding="utf-8")
        return folder / "hub" / name

    return make


def _contract_of(preset: Preset | None) -> None:
    scores = TensorSpec(name="scores", shape=(1, 3))
    resolve((PICTURE,), (scores,), config=Config(), preset=preset)


def _read_hub(folder: Path, _file: Path, _draw: random.Random) -> int:
    return function(lambda: _contract_of(from_folder(folder / "hub")))


def _properties(folder: Path) -> Path:
    (folder / "properties.json").write_text(json.dumps(PROPERTIES), encoding="utf-8")
    return folder / "properties.json"


def _read_properties(_folder: Path, file: Path, _draw: random.Random) -> int:
    # An ONNX file's properties are texts, whatever they hold.
    try:
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return 0
    texts = {str(key): str(one) for key, one in table.items()} if isinstance(table, dict) else {}
    return function(lambda: _contract_of(from_properties(texts)))


SWEEP = """[sweep]
schemes = ["fp32", "int8"]
efforts = ["fast"]
sizes = [8, 16]
runtimes = ["local", "tflite-runtime==2.14.0"]
[[sweep.exclude]]
scheme = "fp32"
on = "tflite-runtime==2.14.0"
[search]
samples = [8]
keep = 0.5
[settings]
preprocess = { scale = 0.0039, mean = [0.5, 0.5, 0.5] }
calibration = "data"
data = "data"
task = "classification"
gates = ["sqnr_db >= 10"]
[[models]]
name = "first"
model = "m.onnx"
[[models]]
model = "m.onnx"
inputs = ["x:1x3x8x8"]
"""


def _sweep(folder: Path) -> Path:
    _picture(folder / "data/ant/1.png")
    return _text("sweep.toml", SWEEP)(folder)


def _plan_sweep(folder: Path, file: Path, _draw: random.Random) -> int:
    return command("sweep", "run", file, "--dry-run", "-o", folder / "sweep")


class _Answering:
    """Ends each job at once, as the jobs of a sweep do."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    def free(self) -> Resources:
        return Resources()

    def fits(self, resources: Resources) -> bool:
        return not self._jobs

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        self._jobs.append(job)

    def outcomes(self, timeout: float) -> list[Outcome]:
        jobs, self._jobs = self._jobs, []
        return [
            Outcome(
                key=one.key, ending=Ending.DONE, value=_ANSWER, seconds=1.0, machine={"cpu": "A"}
            )
            for one in jobs
        ]

    def cancel(self, key: str) -> None: ...

    def close(self) -> None: ...


_ANSWER = {
    "state": "pass",
    "why": [],
    "file": "m.tflite",
    "report": "report.json",
    "sha256": "0" * 64,
    "samples": 20,
    "machine": {"cpu": "A"},
    "metrics": {"sqnr_db": 30.0, "latency_p50_ms": 1.0, "size_mb": 0.1},
}


def _sweep_state(folder: Path) -> Path:
    plan = plan_sweep(read_sweep(_sweep(folder)), cores=2)
    carry_out(plan, folder / "sweep", executor=lambda _: _Answering())
    return folder / "sweep" / STATE_NAME


def _change_state(data: bytes, draw: random.Random) -> bytes:
    """Bytes anywhere, or what rows hold, by SQLite itself."""
    if draw.random() < 0.5:
        return mutate_bytes(data, draw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        path.write_bytes(data)
        with contextlib.closing(sqlite3.connect(path)) as base:
            base.execute("PRAGMA journal_mode = DELETE")
            columns = ("key", "ending", "tries", "value", "files", "seconds", "machine", "reason")
            wrong = (-1, "", "[", "{}", "[[]]", "../../../etc", "done", b"\xff", 1e999)
            if draw.random() < 0.7:
                base.execute(
                    f"UPDATE OR IGNORE jobs SET {draw.choice(columns)} = ?", (draw.choice(wrong),)
                )
            else:
                base.execute("UPDATE OR IGNORE meta SET value = ?", (draw.choice(wrong),))
            base.commit()
        return path.read_bytes()


def _look_at_sweep(folder: Path, _file: Path, draw: random.Random) -> int:
    what = draw.choice((["status"], ["results"], ["show", "convert"], ["results", "--json"]))
    return command("sweep", what[0], folder / "sweep", *what[1:])


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(b"\x08\x07")
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def _dry(*options: str) -> Callable[[Path, Path, random.Random], int]:
    def reader(folder: Path, file: Path, _draw: random.Random) -> int:
        words = [word.format(file=file) for word in options]
        return command("convert", folder / "m.onnx", "--synthetic", "--dry-run", *words)

    return reader


OPTIONS = (
    "--scale", "--mean", "--std", "--resize", "--crop", "--samples", "--parity-samples", "--seed",
    "--max-drop", "--min-sqnr", "--min-agreement", "--ranges", "--gate", "--threads",
    "--step-timeout", "--step-memory", "--input", "--labels", "--config", "--output", "--target",
    "--task", "--route", "--keep-float", "--weights",
)  # fmt: skip


def _options(folder: Path, _file: Path, draw: random.Random) -> int:
    words: list[str] = []
    for _ in range(draw.randint(1, 3)):
        words += [
            draw.choice(OPTIONS),
            draw.choice((*NUMBERS, *WORDS, "a:1x3x8x8", "size_mb <= 1")),
        ]
    extra = draw.choice((["--json"], [], []))
    return command("convert", folder / "m.onnx", "--synthetic", "--dry-run", *words, *extra)


sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # the nets of the unit tests


def model_file(folder: Path) -> Path:
    """A quantized classifier with a contract."""
    import validate_nets as nets

    return Path(nets.classifier(folder / "m.tflite", said=CONTRACT))


def _inspect(folder: Path, file: Path, draw: random.Random) -> int:
    match draw.randrange(4):
        case 0:
            return command("inspect", file)
        case 1:
            return command("inspect", file, "--json")
        case 2:
            return command("inspect", file, "--target", "ethos-u55")
        case _:
            sound = folder / "sound.tflite"
            if not sound.exists():
                (folder / "more").mkdir()
                model_file(folder / "more")
                (folder / "more/m.tflite").rename(sound)
            return command("diff", sound, file)


def _contract(folder: Path) -> Path:
    model_file(folder)
    file = folder / "contract.json"
    file.write_text(CONTRACT.to_json())
    return file


def _inspect_contract(folder: Path, file: Path, draw: random.Random) -> int:
    net = read(folder / "m.tflite")
    net.set_metadata(CONTRACT_ENTRY, file.read_bytes())
    changed = folder / "c.tflite"
    write(net, changed)
    try:
        return command("inspect", changed, *draw.choice(([], ["--json"])))
    finally:
        changed.unlink()


def _lock(folder: Path) -> Path:
    from test_lock_text import make_lock

    from edgekit.provenance.text import to_text

    model_file(folder)
    (folder / "edgekit.lock").write_text(to_text(make_lock()), encoding="utf-8")
    return folder / "edgekit.lock"


def _change_lock(data: bytes, draw: random.Random) -> bytes:
    """Mostly with a right last line, as somebody would write who knows the format."""
    body = data.rpartition(b"# sha256")[0]
    changed = mutate_text(body.decode(), draw)
    if draw.random() < 0.2:
        return changed
    return (
        changed + f"# sha256 of all lines above: {hashlib.sha256(changed).hexdigest()}\n".encode()
    )


def _verify(folder: Path, file: Path, _draw: random.Random) -> int:
    return command("verify", folder / "m.tflite", "--lock", file)


def _answers(folder: Path) -> Path:
    file = folder / "answer.json"
    file.write_text(
        json.dumps(
            {
                "name": "m",
                "versions": ["1"],
                "platform": "p",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [
                    {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.2, 0.3]}
                ],
            }
        )
    )
    return file


def _ask(_folder: Path, file: Path, _draw: random.Random) -> int:
    reference = HttpReference(
        "http://127.0.0.1:9/v2/models/m",
        inputs=(TensorSpec(name="x", shape=(1, 4)),),
    )
    import http.client

    client = reference._client
    message = http.client.HTTPMessage()
    client.exchange = lambda *_args, **_kw: (message, file.read_bytes())  # type: ignore[method-assign]

    def everything() -> None:
        reference.describe()
        reference.run([np.zeros((2, 4), np.float32)])

    return function(everything)


def _bytes_of(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _zip() -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/archive_format", b"pt2")
    return stream.getvalue()


def _recognise(folder: Path, file: Path, _draw: random.Random) -> int:
    return command("convert", file, "--synthetic", "--dry-run", "--output", folder / "out")


def _tree(data: bytes, draw: random.Random) -> bytes:
    return mutate_tree(json.loads(data), draw)


def _plain(data: bytes, draw: random.Random) -> bytes:
    return mutate_text(data.decode(), draw)


FORMATS = (
    Format("npy", _npy, _change_npy, _calibrate(VECTOR)),
    Format("npz, calibration", _npz, _change_npz, _calibrate(VECTOR)),
    Format("npz, labels", _npz, _change_npz, _validate("classification")),
    Format("npz, values", _npz, _change_npz, _validate("regression")),
    Format("png", _pictures(".png"), mutate_bytes, _calibrate(CONTRACT)),
    Format("jpeg", _pictures(".jpg"), mutate_bytes, _calibrate(CONTRACT)),
    Format("webp", _pictures(".webp"), mutate_bytes, _calibrate(CONTRACT)),
    Format("bmp", _pictures(".bmp"), mutate_bytes, _calibrate(CONTRACT)),
    Format("video", _video, mutate_bytes, _calibrate(CONTRACT)),
    Format("csv, classes", _csv(CLASSES), _plain, _validate("classification")),
    Format("csv, values", _csv(VALUES), _plain, _validate("regression")),
    Format("COCO", _coco, _tree, _validate("detection")),
    Format("VOC", _voc, _plain, _validate("detection")),
    Format("VOC masks", _mask, mutate_bytes, _validate("segmentation")),
    Format(
        "YOLO labels", _yolo("labels/a.txt", "0 0.5 0.5 0.2 0.2\n"), _plain, _validate("detection")
    ),
    Format(
        "YOLO names",
        _yolo("data.yaml", "names:\n  0: ant\n  1: bee\n"),
        _plain,
        _validate("detection"),
    ),
    Format("manifest.toml", _manifest, _plain, _calibrate(CONTRACT)),
    Format("edgekit.toml", _text("edgekit.toml", CONFIG), _plain, _dry("--config", "{file}")),
    Format("labels", _text("labels.txt", "ant\nbee\ncat\n"), _plain, _dry("--labels", "{file}")),
    Format("profile", _text("p.toml", PROFILE), _plain, _dry("--target", "{file}")),
    Format(
        "preprocessor_config.json", _hub("preprocessor_config.json", PROCESSOR), _tree, _read_hub
    ),
    Format("config.json, bytes", _hub("config.json", HUB), mutate_bytes, _read_hub),
    Format("config.json, timm", _hub("config.json", TIMM), _tree, _read_hub),
    Format("ONNX properties", _properties, _tree, _read_properties),
    Format("sweep.toml", _sweep, _plain, _plan_sweep),
    Format("sweep, state", _sweep_state, _change_state, _look_at_sweep, sound=(0, 2, 5)),
    Format("options", _text("none.txt", "-"), lambda data, _draw: data, _options, sound=(0, 2)),
    Format("tflite", model_file, mutate_bytes, _inspect),
    Format("contract", _contract, _tree, _inspect_contract),
    Format("edgekit.lock", _lock, _change_lock, _verify, sound=(4,)),
    Format("server", _answers, _tree, _ask),
    Format("pt2, pt", _bytes_of("m.pt", _zip()), mutate_bytes, _recognise),
)
