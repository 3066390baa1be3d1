"""Which inputs int8 files take as raw pixels without being told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net
from tflite_builder import invoke

from edgekit.calibration.samples import Dataset, SampleSet
from edgekit.config import Config
from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.pipeline.raw_pixels import own_order, raw_input, stated_pictures, write_folded
from edgekit.pipeline.reference import Reference
from edgekit.raw_pixels.normalization import Normalization
from edgekit.resolve import resolve
from edgekit.tflite.model import read
from edgekit.types import TensorSpec

PICTURE = TensorSpec(name="image", shape=(1, 4, 4, 3), layout="NHWC")
STATED = Preprocess(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), color="BGR")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3))


def reference(
    folder: Path, values: np.ndarray, *, pictures: bool = False, **changes: object
) -> Reference:
    path = folder / "image.npy"
    np.save(path, values.astype(np.float32))
    some = SampleSet(
        files={"image": path}, ids=tuple("abcdef"), labels=(None,) * 6, digest="",
        pictures=frozenset({"image"} if pictures else ()),
    )  # fmt: skip
    entry = replace(InputContract(tensor=PICTURE, preprocess=STATED), **changes)  # type: ignore[arg-type]
    data = Dataset(calibration=some, parity=some, seed=0)
    return Reference(contract=Contract(inputs=(entry,)), outputs=(), files=(), data=data)


def normalised(pixels: np.ndarray) -> np.ndarray:
    return Normalization.of(STATED, 3).values(pixels, 3)


def test_what_is_stated_and_was_pixels(tmp_path: Path) -> None:
    (found,) = stated_pictures(reference(tmp_path, normalised(PIXELS))).values()
    assert found == (Normalization.of(STATED, 3), 3)
    assert not found[0].swaps  # the app goes on feeding the model's own colours


@pytest.mark.parametrize("beyond", [0.4, 300.0, -3.0])
def test_arrays_that_never_were_pixels_stay_as_they_are(tmp_path: Path, beyond: float) -> None:
    pixels = PIXELS.astype(float)
    pixels[3, 1, 2, 0] = beyond
    assert stated_pictures(reference(tmp_path, normalised(pixels))) == {}
    assert stated_pictures(reference(tmp_path, normalised(pixels), pictures=True))


def test_a_guess_is_not_folded(tmp_path: Path) -> None:
    guessed = reference(tmp_path, normalised(PIXELS), assumed=("scaled to 0…1",))
    assert stated_pictures(guessed) == {}


def test_nor_is_what_is_no_picture_or_takes_integers(tmp_path: Path) -> None:
    for tensor in (replace(PICTURE, dtype="uint8"), replace(PICTURE, shape=(1, 48), layout=None)):
        assert stated_pictures(reference(tmp_path, PIXELS, tensor=tensor)) == {}
    assert stated_pictures(reference(tmp_path, PIXELS, preprocess=None)) == {}


def test_a_guess_in_a_files_contract_stays_one_until_somebody_states_more() -> None:
    embedded = Contract(
        inputs=(InputContract(tensor=PICTURE, preprocess=STATED, assumed=("a guess",)),)
    )

    def entry(**preprocess: float) -> InputContract:
        found = resolve((PICTURE,), (), config=Config(), embedded=embedded, preprocess=preprocess)
        return found.inputs[0]

    assert entry().assumed == ("a guess",)
    assert entry(scale=1.0).assumed == ()


def test_the_file_takes_the_models_own_colours(tmp_path: Path) -> None:
    net = Net(1, 4, 4, 3)
    plain = net.save(tmp_path / "plain.tflite", net.conv(net.image, "first", 5))
    entry = InputContract(tensor=PICTURE, preprocess=STATED)
    wanted = {"image": (Normalization.of(STATED, 3), 3)}
    path = tmp_path / "folded.tflite"
    (done,) = write_folded(plain, own_order(Contract(inputs=(entry,))), wanted, path)
    assert done.how == "convolution"
    assert raw_input(entry, None).preprocess == replace(STATED, scale=1.0, mean=(0.0,), std=(1.0,))
    assert raw_input(entry, None).folded == STATED
    for sample in PIXELS[:2]:
        given = sample.astype(np.float32)[None]
        np.testing.assert_allclose(
            invoke(path, given)[0], invoke(plain, normalised(given))[0], rtol=1e-4, atol=1e-3
        )
    assert read(path).main.inputs[0].stated_range == (0.0, 255.0)
