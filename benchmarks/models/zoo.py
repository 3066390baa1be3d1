"""The networks with their tasks: trained, converted to float `.tflite`, and kept in a folder.

What is kept goes by the digest of the code that decides it, PyTorch's version and the photographs.
Training draws from fixed seeds and uses a fixed number of steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models import nets, scenes, tasks
from models.scenes import Array, Batch
from models.tasks import Task

_FOLDER = Path(__file__).parent
_LEARNED = "nets", "scenes", "tasks"
"""The modules whose code decides the weights."""
_TRAINING, _BATCH = 8000, 64


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of the zoo.

    Attributes:
        name: of the network and of its factory in `models.nets`.
        kind: what it stands for.
        task: what it learns.
        epochs, rate: of training.
        data: scenes, flat digits or waves.
    """

    name: str
    kind: str
    task: Task
    epochs: int
    rate: float = 4e-3
    data: str = "scenes"


ZOO: tuple[Member, ...] = (
    Member(name="resnet", kind="residual", task=tasks.CLASSIFICATION, epochs=9),
    Member(name="mobilenet", kind="hard-swish", task=tasks.CLASSIFICATION, epochs=7),
    Member(name="efficientnet", kind="squeeze-excite", task=tasks.CLASSIFICATION, epochs=3),
    Member(name="transformer", kind="transformer", task=tasks.CLASSIFICATION, epochs=10, rate=2e-3),
    Member(name="unet", kind="U-Net", task=tasks.SEGMENTATION, epochs=2),
    Member(name="detector", kind="two outputs", task=tasks.DETECTION, epochs=12),
    Member(name="autoencoder", kind="transposed conv", task=tasks.RECONSTRUCTION, epochs=3),
    Member(name="superresolution", kind="no norm", task=tasks.ENLARGEMENT, epochs=2, rate=2e-3),
    Member(name="signals", kind="1-D conv", task=tasks.SIGNALS, epochs=4, data="waves"),
    Member(name="mlp", kind="fully connected", task=tasks.CLASSIFICATION, epochs=20, data="digits"),
)

MORE: tuple[Member, ...] = (
    Member(name="pose", kind="maps of points", task=tasks.POSE, epochs=5),
    Member(name="recurrent", kind="GRU", task=tasks.SIGNALS, epochs=6, data="waves"),
)
"""Kinds that are tried in clients, beside those above."""


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Photographs to train and calibrate on, and others to evaluate on."""

    seen: tuple[Path, ...]
    unseen: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A member's float file and data.

    Attributes:
        model: the float `.tflite`.
        calibration, evaluation: inputs as the network reads them, channels first, and targets.
    """

    member: Member
    model: Path
    calibration: Batch
    evaluation: Batch


def trained(
    member: Member, photos: Photos, cache: Path, *, calibration: int, evaluation: int
) -> Trained:
    """The member's float file, made if it is not in the cache.

    Args:
        member: which.
        photos: to make scenes of.
        cache: the folder to keep weights and files in.
        calibration, evaluation: how many samples of each.
    """
    folder = cache / f"{member.name}-{_digest(member, photos)}"
    model = folder / f"{member.name}_fp32.tflite"
    data = Trained(
        member=member,
        model=model,
        calibration=_batch(member, photos.seen, calibration, seed=1, seen=True),
        evaluation=_batch(member, photos.unseen, evaluation, seed=2, seen=False),
    )
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "weights.pt").exists():
            _train(member, photos, folder / "weights.pt")
        _convert(member, data.calibration, folder)
    return data


def _batch(member: Member, photos: Sequence[Path], count: int, *, seed: int, seen: bool) -> Batch:
    match member.data:
        case "digits":
            return scenes.flat_digits(count, seed=seed, seen=seen)
        case "waves":
            return scenes.waves(count, seed=seed)
        case _:
            batch = scenes.scenes(photos, count, seed=seed, seen=seen)
            return replace(batch, image=np.ascontiguousarray(member.task.inputs(batch)))


def _digest(member: Member, photos: Photos) -> str:
    told = [torch.__version__, member.name, member.epochs, member.rate, member.data]
    digest = hashlib.sha256(f"{told} {_TRAINING} {_BATCH}".encode())
    for path in (*(_FOLDER / f"{name}.py" for name in _LEARNED), *photos.seen):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _train(member: Member, photos: Photos, path: Path) -> None:
    """Train with AdamW and a one-cycle rate (Smith, 2018), and write the weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # small layers gain little from more, and lose much on a busy machine
    batch = _batch(member, photos.seen, _TRAINING, seed=0, seen=True)
    image = torch.from_numpy(batch.image)
    wanted = {name: torch.from_numpy(value) for name, value in batch.wanted.items()}
    net = factory(member)()
    optimizer = torch.optim.AdamW(net.parameters(), member.rate, weight_decay=1e-2)
    steps = member.epochs * (len(batch) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, member.rate, total_steps=steps)
    for _ in range(member.epochs):
        for chosen in torch.randperm(len(batch)).split(_BATCH)[: len(batch) // _BATCH]:
            result = net(image[chosen])
            loss = member.task.loss(result, {k: v[chosen] for k, v in wanted.items()})
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    torch.save(net.state_dict(), path)


def factory(member: Member) -> Callable[[], torch.nn.Module]:
    """What makes the network, without its weights."""
    build: Callable[[], torch.nn.Module] = getattr(nets, member.name)
    return build


def _convert(member: Member, data: Batch, folder: Path) -> None:
    """Convert by edgekit; the file lies in the folder only if its parity gate passed."""
    from edgekit import convert

    samples = folder / "samples.npz"
    np.savez(samples, image=data.image)
    shape = ",".join(map(str, (1, *data.image.shape[1:])))
    result = convert(
        f"{_FOLDER / 'nets.py'}:{member.name}",
        weights=folder / "weights.pt",
        inputs=[f"image:{shape}"],
        calibration=samples,
        schemes=["fp32"],
        output=folder / "converted",
        force=True,
    )
    if not result.passed:
        raise SystemExit(f"{member.name}: the float file is not equal to the network")
    made = next((folder / "converted").glob("*_fp32.tflite"))
    made.rename(folder / f"{member.name}_fp32.tflite")


def in_order(member: Member, outputs: Sequence[Array]) -> list[Array]:
    """The outputs of a file, (N, …) each, as the network has them: its order, channels first."""
    left = list(outputs)
    result = []
    for shape in member.task.shapes:
        for value in left:
            turned = np.moveaxis(value, -1, 1) if value.ndim == 4 else value
            fitting = [v for v in (value, turned) if v.shape[1:] == shape]
            if fitting:
                result.append(fitting[0])
                left = [other for other in left if other is not value]
                break
        else:
            raise SystemExit(f"{member.name}: no output of shape {shape}")
    return result
