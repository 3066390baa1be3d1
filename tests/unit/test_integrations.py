"""Callbacks of training frameworks: what they pass on, and what they refuse before a training."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import edgekit
from edgekit.errors import UsageError
from edgekit.integrations.options import check


@pytest.fixture
def asked(monkeypatch):
    """What `edgekit.convert` would be called with; it takes too long here."""
    calls = []

    def convert(model, **options):
        calls.append((model, options))
        return "the result"

    def stand_in(module):
        monkeypatch.setattr(module, "convert", convert)
        return calls

    return stand_in


def test_keras(asked):
    import keras

    from edgekit.integrations import keras as ours

    calls = asked(ours)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 3), "float32")
    proof = ours.KerasCallback(calibration=x, task="regression", schemes=["int8"])
    assert proof.result is None
    model.fit(x, np.zeros((4, 2)), verbose=0, callbacks=[proof])
    ((given, options),) = calls
    assert given is model
    assert options == {"calibration": x, "task": "regression", "schemes": ["int8"]}
    assert proof.result == "the result"
    theirs = set(inspect.signature(edgekit.convert).parameters)
    assert theirs - set(inspect.signature(ours.KerasCallback).parameters) == {
        "model", "example_inputs",
    }  # fmt: skip
    with pytest.raises(UsageError):
        ours.KerasCallback(calibration=x, scheme="int8")


def test_lightning(asked, tmp_path):
    pytest.importorskip("lightning")
    from lightning import LightningModule, Trainer
    from torch.utils.data import DataLoader

    from edgekit.integrations import lightning as ours

    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.body(x)

        def training_step(self, batch):
            return self(batch).square().mean()

        def validation_step(self, batch):
            self(batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-2)

    calls = asked(ours)
    proof = ours.LightningCallback(task="regression")
    net, train, held_out = Net(), DataLoader(torch.ones(8, 3)), DataLoader(torch.zeros(4, 3))
    trainer = Trainer(
        max_epochs=1, callbacks=[proof], default_root_dir=tmp_path, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(net, train, held_out)
    assert calls == [(net, {"calibration": held_out, "task": "regression"})]
    assert proof.result == "the result"
    several = SimpleNamespace(is_global_zero=True, val_dataloaders=[held_out, held_out])
    with pytest.raises(UsageError, match="has 2 loaders"):
        proof.on_fit_end(several, net)
    proof.on_fit_end(SimpleNamespace(is_global_zero=False), net)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("options", "words", "cure"),
    [
        ({"scheme": "int8"}, "no option scheme", "'schemes'"),
        ({"task": "clasification"}, "task is 'clasification'", "'classification'"),
        ({"schemes": ["int9"]}, "schemes is 'int9'", "'int8'"),
        ({"gates": ["int8:top1_agrement >= 95%"]}, "top1_agrement", "top1_agreement"),
    ],
)
def test_a_typo_is_told_before_the_training(options, words, cure):
    with pytest.raises(UsageError, match=words) as caught:
        check(options)
    assert cure in caught.value.cure
