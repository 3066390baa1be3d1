"""Objects of the caller's process, all the way to a verdict; each case is a script of a user's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

TORCH = """
# %%
import numpy as np, torch, edgekit
from torch import nn

data = np.load("digits.npz")
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])

# %%
class Net(nn.Module):
    "Defined in the notebook's __main__."
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                                  nn.Dropout(0.2), nn.Linear(288, 10))
    def forward(self, picture):
        return self.body(picture)

# %%
found = []

def train(stop):
    torch.manual_seed(0)
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=64, shuffle=True)
    for number, (a, b) in enumerate(loader):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        if number == stop:
            result = edgekit.convert(net, calibration=loader, task="classification",
                                     schemes=["fp32"], output="out", latency_runs=0)
            found.append(result)
            print(result.states, result.source.location, result.data.path, *result.notes, sep="\\n")
        optimiser.step()
    return net

alone, disturbed = train(None), train(10)
same = all(map(torch.equal, alone.state_dict().values(), disturbed.state_dict().values()))
print("same training:", same, disturbed.training)
# %%
found[0]
# %%
checked = edgekit.validate("out/Net_fp32.tflite", reference=alone, data=(x, y), limit=40,
                           task="classification", explain="never", latency=False)
print("validated:", checked.states[0], checked.data.labelled)
""".replace(", latency_runs=0", "")


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def in_a_notebook(code: str, folder: Path) -> tuple[str, str]:
    """Run the cells of ``code``, which begin with ``# %%``: what they print, what they show."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(cell) for cell in code.split("# %%") if cell.strip()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    printed = "".join(one.text for one in outputs if one.get("name") == "stdout")
    shown = "".join(one.data.get("text/html", "") for one in outputs if "data" in one)
    return printed, shown


def test_a_module_of_a_notebook_in_the_middle_of_its_training(digits, tmp_path):
    x, y = digits.images[digits.train], digits.labels[digits.train]
    np.savez(tmp_path / "digits.npz", x=x[:, None], y=y)
    said, shown = in_a_notebook(TORCH, tmp_path)
    assert "<table" in shown
    assert "fp32" in shown
    assert "same training: True True" in said
    assert "Net (torch.nn.Module)" in said
    assert "its own answers to 64 samples are equal" in said
    assert "DataLoader (Python)" in said
    # The file is of the tenth step, the reference of the last one: it must not pass.
    assert "validated: fail 40" in said
    report = json.loads((tmp_path / "out/edgekit-report.json").read_text())
    assert report["source"]["location"] == "Net (torch.nn.Module)"
    lock = (tmp_path / "out/edgekit.lock").read_text()
    assert "edgekit-objects" not in lock + json.dumps(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.npz", "out"]


KERAS = """
import numpy as np, keras
from edgekit.integrations.keras import KerasCallback
x = np.random.default_rng(0).random((80, 6), "f")

class Mine(keras.layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 4))
    def call(self, x):
        return x @ self.w

inputs = keras.Input((6,), name="row")
model = keras.Model(inputs, Mine()(inputs))
model.compile("sgd", "mse")
proof = KerasCallback(calibration={"row": x}, schemes=["fp32"], task="regression", output="out")
model.fit(x, x[:, :4], epochs=1, verbose=0, callbacks=[proof])
print(proof.result.states, *proof.result.notes)
"""


def test_a_keras_model_with_a_layer_of_main_when_its_training_ends(tmp_path):
    said = run(KERAS, tmp_path)
    assert "('pass',)" in said
    assert "its own answers to" in said
