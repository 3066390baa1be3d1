"""Where graphs split, by hand, and what holds for every split."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from target_nets import Chain

from edgekit.targets.partitions import Partition, split


def chain(length: int) -> Chain:
    net = Chain(1, 4)
    for _ in range(length):
        net.add("RELU")
    return net


def cpu(*operators: int) -> Partition:
    return Partition(accelerated=False, operators=operators)


def gpu(*operators: int) -> Partition:
    return Partition(accelerated=True, operators=operators)


def test_cpu_gpu_cpu() -> None:
    graph = chain(4).graph
    assert split(graph, {1, 2}) == (cpu(0), gpu(1, 2), cpu(3))
    assert split(graph, {0, 1, 2, 3}) == (gpu(0, 1, 2, 3),)
    assert split(graph, set()) == (cpu(0, 1, 2, 3),)
    assert split(chain(0).graph, set()) == ()


def test_branches_that_wait_for_nobody_run_as_one() -> None:
    """The second branch does not wait for the first one's CPU operator, and so needs no new part.

    input → 0 RELU → 1 ABS; input → 2 RELU → 3 ADD of both.
    """
    net = Chain(1, 4)
    start = net.last
    net.add("RELU")
    slow = net.add("ABS")
    net.last = start
    net.add("RELU")
    net.add("ADD", slow)
    assert split(net.graph, {0, 2, 3}) == (gpu(0, 2), cpu(1), gpu(3))


@given(st.integers(0, 25), st.integers(0), st.data())
def test_every_split_runs(length: int, seed: int, data: st.DataObject) -> None:
    """Each operator is in one part, on its side, after what it reads; neighbours differ."""
    net = Chain(1, 4)
    made = [net.last]
    for _ in range(length):
        net.last = data.draw(st.sampled_from(made))
        made.append(net.add("ADD", data.draw(st.sampled_from(made))))
    taken = data.draw(st.sets(st.integers(0, 25)))
    parts = split(net.graph, taken)
    order = [index for part in parts for index in part.operators]
    assert sorted(order) == list(range(length))
    assert all(part.accelerated == (i in taken) for part in parts for i in part.operators)
    sides = [part.accelerated for part in parts]
    assert all(a != b for a, b in pairwise(sides))
    known = set(net.graph.raw.inputs)
    for index in order:
        op = net.graph.operators[index]
        assert set(op.raw.inputs) <= known
        known.update(op.raw.outputs)
