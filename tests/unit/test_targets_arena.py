"""The arena against a graph computed by hand, and what holds for every graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from target_nets import Chain

from edgekit.targets.arena import Arena, Block, estimate, peak_of, plan
from edgekit.tflite.model import Model


def residual() -> Model:
    """``input (64) → a (128) → b (64) → b + input (64)``; sizes in bytes, all int8."""
    net = Chain(1, 64, dtype="int8")
    start = net.last
    net.add("RELU", shape=(1, 128))
    net.add("RELU", shape=(1, 64))
    net.add("ADD", start)
    return net.model


def test_a_residual_by_hand() -> None:
    # While `b` is made, input, `a` and `b` are alive: 64 + 128 + 64.
    assert estimate(residual(), alignment=1, keeps_inputs=False) == Arena(peak=256, planned=256)
    # The sum is made beside input and b, where `a` was: nothing is added.
    assert estimate(residual(), alignment=1) == Arena(peak=256, planned=256)
    assert estimate(residual(), alignment=100) == Arena(peak=400, planned=400)


def test_inputs_keep_their_place_only_where_the_runtime_keeps_them() -> None:
    net = Chain(1, 64, dtype="int8")
    net.add("RELU", shape=(1, 32))
    net.add("RELU", shape=(1, 64))
    assert estimate(net.model, alignment=1, keeps_inputs=False) == Arena(peak=96, planned=96)
    assert estimate(net.model, alignment=1, keeps_inputs=True) == Arena(peak=160, planned=160)


def test_variables_live_all_the_time() -> None:
    net = Chain(1, 64, dtype="int8")
    state = net.tensor("state", (1, 100), "int8")
    state.raw.isVariable = True
    net.add("RELU")
    net.add("ADD", state)
    found = estimate(net.model, alignment=1, keeps_inputs=False)
    assert found == Arena(peak=228, planned=228)


def test_greedy_by_size_may_need_more_than_the_peak() -> None:
    # Both large ones go to 0, the small one beside the first to 2, and so the last one, which
    # meets the second large one and the first small one, to 3: four bytes where three are alive.
    blocks = [
        Block(size=2, first=0, last=1),
        Block(size=2, first=3, last=3),
        Block(size=1, first=0, last=2),
        Block(size=1, first=2, last=4),
    ]
    assert peak_of(blocks) == 3
    assert plan(blocks) == 4


blocks = st.lists(
    st.builds(
        lambda size, first, length: Block(size=size, first=first, last=first + length),
        st.integers(1, 1000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=20,
)


@given(blocks)
def test_bounds_of_the_plan(those: list[Block]) -> None:
    peak, planned = peak_of(those), plan(those)
    pairs = [
        one.size + other.size
        for i, one in enumerate(those)
        for other in those[:i]
        if one.overlaps(other)
    ]
    assert peak >= max([block.size for block in those] + pairs)
    # By brute force: what is alive at each time.
    alive = [sum(b.size for b in those if b.first <= t <= b.last) for t in range(30)]
    assert peak == max(alive)
    assert peak <= planned <= sum(block.size for block in those)
