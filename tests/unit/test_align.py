"""Which tensor of a candidate is which of the reference's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConversionError
from edgekit.types import TensorSpec
from edgekit.validation.align import (
    align_outputs,
    fitting,
    input_choices,
    layout_permutations,
    plain_name,
)

TO_NHWC, TO_NCHW, AS_IS = (0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 2, 3)


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, shape=shape)


def test_layout_permutations_are_inverse_to_each_other():
    for rank in range(7):
        for permutation in layout_permutations(rank):
            assert sorted(permutation) == list(range(rank))
            assert tuple(np.argsort(permutation)) in layout_permutations(rank)
    assert layout_permutations(4) == [AS_IS, TO_NHWC, TO_NCHW]


@given(st.lists(st.integers(1, 4), min_size=0, max_size=5), st.data())
def test_fitting_gives_exactly_what_turns_into_the_shape(shape, data):
    turned = data.draw(st.sampled_from(layout_permutations(len(shape))))
    target = [shape[axis] for axis in turned]
    found = fitting(shape, target)
    assert turned in found
    assert len(found) == len(set(found))
    for permutation in found:
        assert np.zeros(shape).transpose(permutation).shape == tuple(target)
    assert fitting(shape, [*target, 1]) == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("x", "x"),
        ("x:0", "x"),
        ("serving_default_x:0", "x"),
        ("serving_default_x", "x"),
        ("a:b", "a:b"),
        ("scope/x:12", "scope/x"),
    ],
)
def test_plain_names(name, plain):
    assert plain_name(name) == plain


# ------------------------------------------------------------------------- inputs


def chosen(reference, candidate, told=()):
    """(reference, permutations, how) of each input of the candidate."""
    return [
        (options[0].reference, [one.permutation for one in options], options[0].how)
        for options in input_choices(reference, candidate, told)
    ]


def test_inputs_by_name_whatever_the_order():
    reference = [spec("a", 1, 3, 8, 9), spec("b", 1, 5)]
    candidate = [spec("serving_default_b:0", 1, 5), spec("a", 1, 8, 9, 3)]
    assert chosen(reference, candidate) == [("b", [(0, 1)], "name"), ("a", [TO_NHWC], "name")]
    (first,), (second,) = input_choices(reference, candidate)
    assert (first.candidate, second.candidate) == ("serving_default_b:0", "a")


def test_inputs_by_the_only_order_that_fits():
    reference = [spec("a", 1, 3, 8, 9), spec("b", 1, 5)]
    candidate = [spec("x", 1, 5), spec("y", 1, 8, 9, 3)]
    assert chosen(reference, candidate) == [("b", [(0, 1)], "shape"), ("a", [TO_NHWC], "shape")]


def test_inputs_of_equal_shapes_keep_their_places():
    reference = [spec("a", 1, 3), spec("b", 1, 3), spec("c", 1, 5)]
    candidate = [spec("x", 1, 5), spec("y", 1, 3), spec("z", 1, 3)]
    assert [entry[0] for entry in chosen(reference, candidate)] == ["c", "a", "b"]
    same = chosen(reference[:2], candidate[1:])
    assert same == [("a", [(0, 1)], "position"), ("b", [(0, 1)], "position")]


def test_the_names_that_match_are_respected_where_others_do_not():
    reference = [spec("a", 1, 3), spec("b", 1, 3), spec("c", 1, 3)]
    candidate = [spec("c", 1, 3), spec("y", 1, 3), spec("z", 1, 3)]
    assert chosen(reference, candidate)[0][0] == "c"


def test_numbered_names_of_tensorflow_are_not_confused():
    """``x:0`` and ``x:1`` have the same plain name but are two tensors."""
    reference = [spec("x:0", 1, 3), spec("x:1", 1, 3)]
    candidate = [spec("x:1", 1, 3), spec("x:0", 1, 3)]
    assert [entry[0] for entry in chosen(reference, candidate)] == ["x:1", "x:0"]
    unclear = [spec("serving_default_x:0", 1, 3), spec("serving_default_x:1", 1, 3)]
    assert sorted(entry[0] for entry in chosen(reference, unclear)) == ["x:0", "x:1"]


def test_a_cubic_input_leaves_a_choice_unless_the_converter_tells():
    reference, candidate = [spec("a", 1, 3, 3, 3)], [spec("a", 1, 3, 3, 3)]
    assert chosen(reference, candidate) == [("a", [AS_IS, TO_NHWC, TO_NCHW], "measured")]
    told = [{"source": "a", "permutation": [0, 2, 3, 1]}]
    assert chosen(reference, candidate, told) == [("a", [TO_NHWC], "converter")]
    impossible = [{"source": "a", "permutation": [0, 1, 3, 2]}]
    assert chosen(reference, candidate, impossible)[0][2] == "measured"


def test_inputs_that_do_not_fit():
    with pytest.raises(ConversionError, match="has 1 inputs, the converted file has 2"):
        input_choices([spec("a", 1)], [spec("a", 1), spec("b", 1)])
    with pytest.raises(ConversionError, match=r"Input a has shape \[1, 3\].* \[1, 4\]"):
        input_choices([spec("a", 1, 3)], [spec("x", 1, 4)])


# ------------------------------------------------------------------------- outputs


def aligned(reference: dict, candidate: dict):
    """Bindings of named values, as the pipeline asks for them."""

    def specs(values):
        return [spec(name, *value.shape) for name, value in values.items()]

    return align_outputs(
        specs(reference), specs(candidate), list(reference.values()), list(candidate.values())
    )


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


shapes = st.sampled_from([(1, 4), (1, 2, 3), (1, 3, 2), (1, 2, 2, 2), (1, 3, 4, 5), (1, 4, 5, 3)])


@given(st.lists(shapes, min_size=1, max_size=4), st.integers(0, 10**6), st.data())
def test_turned_and_reordered_outputs_are_recovered(all_shapes, seed, data):
    """Converters rename, reorder, turn axes and add a little noise."""
    generator = np.random.default_rng(seed)
    reference = {f"r{n}": generator.normal(size=shape) for n, shape in enumerate(all_shapes)}
    order = data.draw(st.permutations(range(len(reference))))
    candidate, wanted = {}, {}
    for place, number in enumerate(order):
        value = reference[f"r{number}"]
        turned = data.draw(st.sampled_from(layout_permutations(value.ndim)))
        candidate[f"c{place}"] = value.transpose(turned) * (1 + 1e-5)
        wanted[f"r{number}"] = (f"c{place}", place, turned)
    for binding in aligned(reference, candidate):
        assert (binding.candidate, binding.index, binding.permutation) == wanted[binding.reference]
    assert [binding.reference for binding in aligned(reference, candidate)] == list(reference)


def test_names_decide_against_the_values():
    one, two = noise(1, 4), noise(1, 4, seed=1)
    bindings = aligned({"a": one, "b": two}, {"b": one, "StatefulPartitionedCall:0": two})
    assert [(b.candidate, b.how) for b in bindings] == [
        ("StatefulPartitionedCall:0", "shape"),
        ("b", "name"),
    ]


def test_how_it_was_decided():
    (named,) = aligned({"y": noise(1, 4)}, {"serving_default_y:0": noise(1, 4)})
    assert named.how == "name"
    (shaped,) = aligned({"y": noise(1, 4)}, {"z": noise(1, 4), "other": noise(1, 5)})
    assert (shaped.how, shaped.candidate) == ("shape", "z")
    cube = noise(1, 3, 3, 3)
    (measured,) = aligned({"y": cube}, {"y": cube.transpose(TO_NHWC)})
    assert (measured.how, measured.permutation) == ("measured", TO_NHWC)


def test_an_output_does_not_take_the_better_match_of_another():
    """Greedy in the reference's order, ``a`` would take the candidate that is ``b``."""
    base = noise(1, 50)
    reference = {"a": base, "b": base + 0.01}
    candidate = {"x": base + 0.0099, "y": base - 0.02}
    assert [binding.candidate for binding in aligned(reference, candidate)] == ["y", "x"]


def test_values_that_are_no_numbers_do_not_win():
    one = noise(1, 4)
    broken = np.full((1, 4), np.nan, np.float32)
    (binding,) = aligned({"a": one}, {"x": broken, "y": one})
    assert binding.candidate == "y"
    assert [b.candidate for b in aligned({"a": one, "b": one}, {"x": broken, "y": broken})] == [
        "x",
        "y",
    ]


def test_equal_values_keep_their_places():
    zero = np.zeros((1, 2, 2, 2))
    bindings = aligned({"a": zero, "b": zero}, {"x": zero, "y": zero})
    assert [(b.index, b.permutation) for b in bindings] == [(0, AS_IS), (1, AS_IS)]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [((), (1,)), ((1,), ()), ((1, 1), (1,)), ((1, 6), (1, 2, 3)), ((2, 3, 4), (6, 4))],
)
def test_another_rank_with_as_many_elements_is_bound_in_order(mine, theirs):
    value = np.arange(np.prod(mine), dtype=np.float32).reshape(mine)
    (binding,) = aligned({"a": value}, {"x": value.reshape(theirs)})
    assert binding.permutation == tuple(range(len(mine)))
    assert binding.candidate == "x"


def test_the_same_rank_goes_before_another_one():
    vector = noise(6)
    reference = {"flat": vector, "row": vector.reshape(1, 6)}
    candidate = {"x": vector.reshape(1, 6), "y": vector}
    assert [b.candidate for b in aligned(reference, candidate)] == ["y", "x"]


def test_integers_and_flags():
    values = {"i": np.arange(4), "b": np.array([True, False, True])}
    bindings = aligned(values, {"x": values["b"], "y": values["i"].astype(np.int32)})
    assert [b.candidate for b in bindings] == ["y", "x"]


def test_an_output_without_a_counterpart():
    with pytest.raises(ConversionError, match=r"Output b of shape \[1, 5\] has no counterpart"):
        aligned({"a": noise(1, 4), "b": noise(1, 5)}, {"x": noise(1, 4), "y": noise(1, 6)})
