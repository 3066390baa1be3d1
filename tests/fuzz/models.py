"""Models: what edgekit itself decides about them, and what the workers make of them.

A worker with its framework is started once and asked about file after file, contained as in a
conversion. The short campaign leaves those out (`LOADED`).
"""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.errors import EdgekitError, StepOutOfMemory, StepTimeout
from edgekit.routes import source_converter
from edgekit.runners.bundle import RecordedReference
from edgekit.runners.litert_runner import LitertRunner
from edgekit.runners.protocol import Runner
from edgekit.runners.reference import ConverterRunner
from edgekit.sources import recognise
from edgekit.toolchain.bounds import files_of
from edgekit.toolchain.converters import discover
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import SilentProgress, TensorSpec

from .formats import Format, command, function, model_file
from .mutate import mutate_any, mutate_bytes, mutate_message, mutate_tree, mutate_zip

SOUND = Path(__file__).with_name("sound")
VECTOR = TensorSpec(name="x", shape=(1, 4))
MOST_SECONDS, MOST_GIGABYTES = 60, 4
_MOST_VALUES = 1 << 20


def _copy(*names: str) -> Callable[[Path], Path]:
    """Lays sound files or folders out; the first is mutated."""

    def make(folder: Path) -> Path:
        for name in names:
            top = Path(name).parts[0]
            if (SOUND / top).is_dir():
                shutil.copytree(SOUND / top, folder / top, dirs_exist_ok=True)
            else:
                shutil.copyfile(SOUND / name, folder / name)
        return folder / names[0]

    return make


# ------------------------------------------------------------------- what edgekit itself decides


def _decide(folder: Path, file: Path, draw: random.Random) -> int:
    """What the plan and the bounds of the worker are made from."""
    model = folder / "saved_model" if (folder / "saved_model").is_dir() else file
    if draw.random() < 0.5:
        words = ("--synthetic", "--dry-run", "--output", folder / "out")
        return command("convert", model, *words)
    return function(lambda: files_of(recognise(str(model))))


def _weights(folder: Path, file: Path, _draw: random.Random) -> int:
    words = ("--synthetic", "--dry-run", "--input", "x:1x4", "--output", folder / "out")
    return command("convert", f"{folder / 'net.py'}:build", "--weights", file, *words)


def _recording(folder: Path) -> Path:
    from test_bundle import write

    return Path(write(folder / "r.edgeref"))


def _change_recording(data: bytes, draw: random.Random) -> bytes:
    """Mostly with right digests, as somebody would write who knows the format."""
    import hashlib
    import zipfile

    from test_bundle import seal

    if draw.random() < 0.15:
        return mutate_bytes(data, draw)
    if draw.random() < 0.3:
        return bytes(seal(mutate_zip(data, draw)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    for name in draw.sample(sorted(members), draw.randint(0, 2)):
        if name != "manifest.json":
            members[name] = mutate_any(members[name], draw)
            manifest["members"][name] = hashlib.sha256(members[name]).hexdigest()
    changed = mutate_tree(manifest, draw) if draw.random() < 0.7 else json.dumps(manifest).encode()
    members["manifest.json"] = changed
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.comment = b"0" * 64
    return bytes(seal(stream.getvalue()))


def _recall(_folder: Path, file: Path, draw: random.Random) -> int:
    if draw.random() < 0.3:
        return command("reference", "show", file, *draw.choice(([], ["--json"])))

    def everything() -> None:
        with RecordedReference(file) as recording:
            recording.describe()
            recording.recall([digest for _, digest in recording.samples][:20])
            recording.check(recording.contract)

    return function(everything)


# ----------------------------------------------------------------------- what the workers load

_shops: dict[str, Workshop] = {}


def processes() -> set[int]:
    """The numbers of the workers' processes."""
    return {one._process.pid for shop in _shops.values() for one in shop._workers.values()}


def close() -> None:
    """End the workers."""
    while _shops:
        _, shop = _shops.popitem()
        shop.__exit__(None, None, None)


def _shop(root: Path, name: str) -> Workshop:
    """A workshop whose workers may read the cases below ``root``."""
    if name not in _shops:
        work = root / "shops" / name
        work.mkdir(parents=True)
        _shops[name] = Workshop(
            name=name,
            progress=SilentProgress(),
            limits=Limits(seconds=MOST_SECONDS, memory_gb=MOST_GIGABYTES),
            work=work,
            read=(root,),
        )
    return _shops[name]


def _loaded(folder: Path, location: str, weights: Path | None = None) -> int:
    """Load a model in its worker and run it once; refusals have a cause and a cure."""

    def everything() -> None:
        source = recognise(location, weights=weights)
        shop = _shop(folder.parent, source.kind if source.kind in ("tflite", "onnx") else "heavy")
        runner: Runner
        if source.kind == "tflite":
            runner = LitertRunner(Path(location), workshop=shop, work=shop.folder)
        else:
            converter = source_converter(source.kind, discover())
            runner = ConverterRunner(
                source, converter, workshop=shop, work=shop.folder, device="cpu", inputs=(VECTOR,)
            )
        specs = runner.describe().inputs
        shapes = [[1 if size is None else size for size in one.shape] for one in specs]
        if all(0 <= np.prod(shape, dtype=float) <= _MOST_VALUES for shape in shapes):
            runner.run(
                [
                    np.zeros((1, *(shape[1:] if shape[:1] == [1] else shape)), one.dtype)
                    for shape, one in zip(shapes, specs, strict=True)
                ]
            )

    try:
        everything()
    except (StepTimeout, StepOutOfMemory) as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    except EdgekitError as error:
        if not error.cause or not error.cure:
            raise AssertionError(f"no cause or no cure: {error!r} {error.cause}") from error
        return error.exit_code
    return 0


def _load(folder: Path, file: Path, _draw: random.Random) -> int:
    saved = folder / "saved_model"
    return _loaded(folder, str(saved if saved.is_dir() else file))


def _load_weights(folder: Path, file: Path, _draw: random.Random) -> int:
    return _loaded(folder, f"{SOUND / 'net.py'}:build", file)


def _change_onnx(data: bytes, draw: random.Random) -> bytes:
    import onnx

    if draw.random() < 0.3:
        return mutate_bytes(data, draw)
    return mutate_message(onnx.load_model_from_string(data), draw)


def _change_saved_model(data: bytes, draw: random.Random) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2

    if draw.random() < 0.3:
        return mutate_bytes(data, draw)
    content = saved_model_pb2.SavedModel()
    content.ParseFromString(data)
    return mutate_message(content, draw)


def _change_h5(data: bytes, draw: random.Random) -> bytes:
    """Its bytes, or the architecture that it holds as text."""
    import h5py

    if draw.random() < 0.5:
        return mutate_bytes(data, draw)
    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        config = mutate_tree(json.loads(file.attrs["model_config"]), draw)
        file.attrs["model_config"] = np.bytes_(config[:60_000])
    return stream.getvalue()


def _change_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Its bytes, or the table before the numbers, with the right length."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    end = 8 + int.from_bytes(data[:8], "little")
    table = mutate_tree(json.loads(data[8:end]), draw)
    return len(table).to_bytes(8, "little") + table + data[end:]


DECIDED = (
    Format("onnx, plan", _copy("net.onnx"), _change_onnx, _decide),
    Format("keras, plan", _copy("net.keras"), mutate_zip, _decide),
    Format("h5, plan", _copy("net.h5"), mutate_bytes, _decide),
    Format("SavedModel, plan", _copy("saved_model/saved_model.pb"), mutate_bytes, _decide),
    Format("TorchScript, plan", _copy("script.pt"), mutate_zip, _decide),
    Format("safetensors, plan", _copy("state.safetensors", "net.py"), mutate_bytes, _weights),
    Format("edgeref", _recording, _change_recording, _recall),
)
"""What edgekit reads in its own process."""

VARIABLES = "saved_model/variables/variables.index"
LOADED = (
    Format("tflite, run", model_file, mutate_bytes, _load, worker=True),
    Format("onnx, run", _copy("net.onnx"), _change_onnx, _load, worker=True),
    Format("keras, run", _copy("net.keras"), mutate_zip, _load, worker=True),
    Format("h5, run", _copy("net.h5"), _change_h5, _load, worker=True),
    Format(
        "SavedModel, run",
        _copy("saved_model/saved_model.pb"),
        _change_saved_model,
        _load,
        worker=True,
    ),
    Format("SavedModel variables, run", _copy(VARIABLES), mutate_bytes, _load, worker=True),
    Format("TorchScript, run", _copy("script.pt"), mutate_zip, _load, worker=True),
    Format("pt2, run", _copy("net.pt2"), mutate_zip, _load, worker=True),
    Format("state dict, run", _copy("state.pt"), mutate_zip, _load_weights, worker=True),
    Format(
        "safetensors, run",
        _copy("state.safetensors"),
        _change_safetensors,
        _load_weights,
        worker=True,
    ),
)
"""What workers read: a framework each."""
