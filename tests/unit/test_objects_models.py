"""Model objects as files: what was exported answers as the object, which stays what it was."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import ModelError, UsageError
from edgekit.objects import ObjectOrigin, given
from edgekit.objects.torch_module import export
from edgekit.pipeline.origin import check_origin
from edgekit.types import TensorSpec

sys.path += [str(Path(__file__).parents[2] / "converters" / part) for part in ("", "torch")]
from torch_archive import load_archive


class Net(nn.Module):
    """With all that an export could move: dropout, statistics, a counter, a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.last = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.last(self.drop(self.norm(x)))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def run(path: Path, *inputs: torch.Tensor) -> list[torch.Tensor]:
    found = load_archive(path, trusted=False).module()(*inputs)
    while not isinstance(found, torch.Tensor):
        found = list(found.values()) if isinstance(found, dict) else list(found)
        if all(isinstance(one, torch.Tensor) for one in found):
            return found
        found = found[0]
    return [found]


def test_a_module_in_the_middle_of_training_stays_what_it_was(tmp_path):
    net = Net().train()
    net.norm.eval()  # some people freeze a part
    seen = []
    net.last.register_forward_hook(lambda *_: seen.append(1))
    net(X).sum().backward()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [one.grad.clone() for one in net.parameters()]
    numbers = torch.get_rng_state(), random.getstate()
    loss = net(X).square().sum()  # a graph that is still to be walked
    calls = net.calls.clone()
    torch.set_rng_state(numbers[0])
    with given(net, {}, example=X, limits={}) as files:
        assert Path(files.model).name == "Net.pt2"
        assert files.origin is not None
        own = files.origin.ask([X[:1].numpy()])[0]
        exported = run(Path(files.model), X[:1])[0]
    assert not Path(files.model).exists()
    net.eval()
    np.testing.assert_allclose(own, net(X[:1]).detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(own, exported.detach().numpy(), rtol=1e-5, atol=1e-6)
    net.calls -= 1
    net.train(), net.norm.eval()
    assert torch.equal(net.calls, calls)
    for name, value in net.state_dict().items():
        assert name == "calls" or torch.equal(value, state[name])
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert random.getstate() == numbers[1]
    for one, before in zip(net.parameters(), gradients, strict=True):
        assert one.requires_grad
        assert torch.equal(one.grad, before)
    loss.backward()
    assert net.last._forward_hooks
    assert seen


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        lambda net: torch.compile(nn.DataParallel(net)),
        lambda net: net.double(),
        lambda net: net.half(),
        lambda net: net.to(torch.bfloat16),
    ],
    ids=["DataParallel", "compile", "both", "double", "half", "bfloat16"],
)
def test_shells_and_precisions(wrap, tmp_path):
    torch.manual_seed(0)
    net = Net().eval()
    wanted = net(X[:1]).detach().numpy()
    model = wrap(net)
    kind = next(net.parameters()).dtype
    made = export(model, X[:1].to(kind), (), tmp_path)
    assert made.path.name == "Net.pt2"
    assert made.inputs == (TensorSpec(name="x", shape=(1, 4)),)
    got = run(made.path, X[:1])[0].detach().numpy()
    np.testing.assert_allclose(got, wanted, rtol=0.02, atol=0.02)
    assert next(net.parameters()).dtype == kind
    assert bool(made.origin.notes) == (kind != torch.float32)
    assert made.origin.ask([X[:1].numpy()])[0].dtype in (np.float32, np.float64)


class _Many(nn.Module):
    def forward(self, ids, mask=None, extra=None):
        found = ids * 2 if extra is None else ids * 2 + extra
        return {"sum": found.sum(-1), "hidden": (found, found - 1)}


def test_inputs_by_name_and_nested_outputs(tmp_path):
    example = {"extra": torch.ones(1, 4), "ids": torch.zeros(1, 4)}
    made = export(_Many(), example, (), tmp_path)
    assert [spec.name for spec in made.inputs] == ["ids", "extra"]
    a, b = X[:1], X[1:2]
    outputs = run(made.path, a, b)
    own = made.origin.ask([a.numpy(), b.numpy()])
    assert len(own) == len(outputs) == 3
    for mine, theirs in zip(own, outputs, strict=True):
        np.testing.assert_array_equal(mine, theirs.numpy())
    with pytest.raises(UsageError, match="no parameter idz") as caught:
        export(_Many(), {"idz": torch.zeros(1, 4)}, (), tmp_path)
    assert "ids" in caught.value.cure


def test_a_batch_is_one_sample_unless_a_shape_is_stated(tmp_path):
    made = export(Net(), X, (), tmp_path)
    assert made.inputs[0].shape == (1, 4)
    assert "5 samples" in made.origin.notes[0]
    stated = (TensorSpec(name="x", shape=(5, 4)),)
    assert export(Net(), None, stated, tmp_path).inputs[0].shape == (5, 4)


class _ByValue(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class _BySecret(nn.Module):
    """What `torch.export` cannot see: it answers otherwise every time."""

    def forward(self, x):
        return x * random.random()


class _Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.LazyLinear(3)

    def forward(self, x):
        return self.last(x)


@pytest.mark.parametrize(
    ("module", "example", "error", "words"),
    [
        (_ByValue(), X[:1], ModelError, "torch.export cannot capture _ByValue"),
        (_Lazy(), X[:1], ModelError, "no weights yet"),
        (nn.Linear(4, 3, device="meta"), X[:1], ModelError, "meta device"),
        (Net(), None, UsageError, "does not tell the shape"),
        (Net(), (1, 4), UsageError, "is the shape"),
        (Net(), torch.zeros(1, 7), UsageError, "does not run on example_inputs"),
        (Net(), "an image", UsageError, "is a str"),
    ],
)
def test_what_cannot_be_exported_is_told_with_a_cure(module, example, error, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        export(module, example, (), tmp_path)
    assert caught.value.cure
    assert module.training


def test_an_export_that_answers_otherwise_than_its_object_is_no_reference(tmp_path):
    random.seed(0)
    made = export(_BySecret(), X[:1], (), tmp_path)
    inputs = [X.numpy()]
    outputs = [torch.stack([run(made.path, one[None])[0][0] for one in X]).numpy()]
    with pytest.raises(ModelError, match="does not compute what it does here"):
        check_origin(made.origin, made.inputs, inputs, outputs, ["y"])


def test_a_branch_that_only_some_samples_take_is_found():
    spec = (TensorSpec(name="x", shape=(1, 4)),)
    own = ObjectOrigin(
        what="Net", ask=lambda inputs: [inputs[0] * (-1 if inputs[0].max() > 1.5 else 1)]
    )
    inputs = [np.random.default_rng(0).standard_normal((64, 4)).astype("f")]
    assert 0 < (inputs[0].max(axis=1) > 1.5).sum() < 32
    with pytest.raises(ModelError, match="output y agrees to"):
        check_origin(own, spec, inputs, inputs, ["y"])
    said = check_origin(ObjectOrigin(what="Net", ask=list), spec, inputs, inputs, ["y"])
    assert "64 samples are equal" in said


def test_other_outputs_and_errors_of_the_object_are_told():
    spec = (TensorSpec(name="x", shape=(1, 4)),)
    inputs = [np.ones((3, 4), "f")]
    for ask, words in (
        (lambda inputs: [inputs[0], inputs[0]], "gives 2 outputs"),
        (lambda inputs: [inputs[0][:, :2]], "has the shape"),
        (lambda inputs: inputs[1:] + inputs[7], "does not run on sample 0"),
    ):
        with pytest.raises(ModelError, match=words):
            check_origin(ObjectOrigin(what="Net", ask=ask), spec, inputs, inputs, ["y"])


def test_paths_stay_paths_and_an_example_beside_them_is_refused(tmp_path):
    with given("net.onnx", {"calibration": tmp_path}, limits={}) as files:
        assert (files.model, files.data, files.origin) == (
            "net.onnx",
            {"calibration": tmp_path},
            None,
        )
    with (
        pytest.raises(UsageError, match="goes with a model object"),
        given("net.onnx", {}, example=X, limits={}),
    ):
        pass
