"""The files of the tables in docs/compat.md: twelve small networks in five schemes.

    python benchmarks/client_files.py FOLDER [--models NAME …] [--epochs N]

Each network is trained (up to three minutes, kept in a cache), converted by edgekit to a float
file, and that to the other schemes; beside the files lie the samples of each network, NAME.npz.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from int8_models import CACHE, own_photos
from models.zoo import MORE, ZOO, Member, Photos, trained

import edgekit
from edgekit.tflite.summary import summarize
from edgekit.types import Scheme

SCHEMES: tuple[Scheme, ...] = ("fp32", "fp16", "int8", "int8-float-io", "int8-uint8-io")


def main() -> None:
    """Train, convert, quantize."""
    members = {member.name: member for member in (*ZOO, *MORE)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", choices=list(members), default=list(members))
    parser.add_argument("--epochs", type=int, help="at most; fewer are quicker")
    parser.add_argument("--raw", action="store_true", help="classifiers that take raw pixels")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models:
        member = members[name]
        if arguments.epochs:
            member = replace(member, epochs=min(member.epochs, arguments.epochs))
        if arguments.raw:
            write_raw(member, own_photos(), arguments.folder)
        else:
            write(member, own_photos(), arguments.folder)


def write(member: Member, photos: Photos, folder: Path) -> None:
    """All files of one network, and its samples as the float file takes them."""
    net = trained(member, photos, CACHE, calibration=64, evaluation=32)
    made = edgekit.quantize(
        net.model,
        calibration=_samples(net.model, net.calibration.image, folder / "calibration.npz"),
        schemes=[scheme for scheme in SCHEMES if scheme != "fp32"],
        output=folder / f"{member.name}_made",
        gates=["centred_sqnr_db >= 0", "lost_share <= 1", "integer_share >= 0"],
        force=True,
    )
    _samples(net.model, net.evaluation.image, folder / f"{member.name}.npz")
    (folder / f"{member.name}_fp32.tflite").write_bytes(net.model.read_bytes())
    for file in made.files:
        if file.error:
            print(f"{member.name} {file.scheme}: {file.error}")
            continue
        copy = folder / f"{member.name}_{file.scheme.replace('-', '_')}.tflite"
        copy.write_bytes(file.artifact.path.read_bytes())


def write_raw(member: Member, photos: Photos, folder: Path) -> None:
    """The same network on raw pixels, with standard metadata: what MediaPipe Tasks takes."""
    net = trained(member, photos, CACHE, calibration=64, evaluation=32)
    pictures = folder / f"{member.name}_pictures"
    pictures.mkdir(exist_ok=True)
    for number, image in enumerate((net.calibration.image, net.evaluation.image)):
        for place, one in enumerate(image):
            pixels = np.clip(np.round((one / 4 + 0.5) * 255), 0, 255).astype(np.uint8)
            cv2.imwrite(
                str(pictures / f"{number}_{place}.png"), pixels.transpose(1, 2, 0)[..., ::-1]
            )
    made = edgekit.quantize(
        net.model,
        calibration=pictures,
        preprocess={"resize": [32, 32], "scale": 4 / 255, "mean": [2, 2, 2], "std": [1, 1, 1]},
        task="classification",
        fold_preprocess=True,
        schemes=SCHEMES,
        output=folder / f"{member.name}_raw_made",
        gates=["centred_sqnr_db >= 0", "lost_share <= 1", "integer_share >= 0"],
        force=True,
    )
    for file in made.files:
        if file.error:
            print(f"{member.name} {file.scheme}: {file.error}")
            continue
        copy = folder / f"{member.name}_raw_{file.scheme.replace('-', '_')}.tflite"
        copy.write_bytes(file.artifact.path.read_bytes())


def _samples(model: Path, image: np.ndarray, path: Path) -> Path:
    """The samples in the layout of the file's input, under its name."""
    tensor = summarize(model).inputs[0].tensor
    fits = tuple(image.shape[1:]) == tuple(tensor.shape[1:])
    stacks: dict[str, Any] = {tensor.name: image if fits else np.moveaxis(image, 1, -1)}
    np.savez(path, **stacks)
    return path


if __name__ == "__main__":
    main()
