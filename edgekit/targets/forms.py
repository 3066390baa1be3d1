"""What an accelerator asks of an operator's form: factors, axes, kernels, permutations.

Each check looks at one key of a `Rule` and says why an operator is not taken, or nothing. The
checks of resizes, slices, permutations and transposed convolutions are those of Arm's compiler for
the Ethos-U; benchmarks/vela.py holds them against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from edgekit.targets.profile import Rule
from edgekit.tflite.graph import Operator, Tensor

_INNER = 3
"""Height, width and depth; a tensor of fewer dimensions has ones in front."""
_SAME = 0
"""The schema's padding that keeps the size."""
_WIDE = ("int32", "int64")


def wrong_forms(op: Operator, rule: Rule, name: str) -> Iterator[tuple[str, str]]:
    """Why the accelerator does not take an operator's form, and the cure.

    Args:
        op: the operator.
        rule: what is asked of it.
        name: the accelerator's.
    """
    for check in _CHECKS:
        if (found := check(op, rule, name)) is not None:
            yield found


_Found = tuple[str, str] | None


def _reduction(op: Operator, rule: Rule, name: str) -> _Found:
    first = _first(op)
    if first is None:
        return None
    shape = first.shape
    if rule.max_batch is not None and prod(shape[:-_INNER]) > rule.max_batch:
        return f"a batch that {name} does not take there", "Use batch 1."
    if rule.max_reduced is None and not rule.lone_depth and not rule.last_axis:
        return None
    axes = op.inputs[1] if len(op.inputs) > 1 else None
    if axes is None or not axes.is_constant:
        return f"axes that are not constant, as {name} asks there", _REPLACE
    reduced = {int(axis) % len(shape) for axis in axes.data().ravel()} if shape else set()
    if rule.last_axis and reduced != {len(shape) - 1}:
        return f"another axis than the last, the only one that {name} takes there", _REPLACE
    longest = max((shape[axis] for axis in reduced), default=0)
    if rule.max_reduced is not None and longest > rule.max_reduced:
        return (
            f"an axis of {longest}, of which {name} takes {rule.max_reduced} at most there",
            "Reduce in two steps in the model.",
        )
    inner = (1, 1, 1, *shape)[-_INNER:]
    if rule.lone_depth and len(shape) - 1 in reduced and 1 not in inner:
        return (
            f"a reduction over the last axis; {name} asks that height, width or depth is 1",
            "Reduce over height and width of a tensor in NHWC.",
        )
    return None


def _resize(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.resize_factors:
        return None
    (height, width), (high, wide) = op.inputs[0].shape[1:3], op.outputs[0].shape[1:3]  # type: ignore[union-attr]
    corners = bool(getattr(op.options, "alignCorners", False))
    half = bool(getattr(op.options, "halfPixelCenters", False)) and bool(rule.half_pixel_factors)
    if height == width == 1 or ((height, width) == (high, wide) and not half):
        return None
    factors = [_factor(*pair, corners=corners) for pair in ((height, high), (width, wide))]
    allowed = rule.half_pixel_factors if half else rule.resize_factors
    if rule.one_factor and factors[0] != factors[1]:
        lone = [
            factor == 1 and size == 1 for factor, size in zip(factors, (high, wide), strict=True)
        ]
        if half or not any(lone):
            return f"height and width enlarged by different factors, unlike {name} asks", _FACTORS
        factors = [factor for factor, alone in zip(factors, lone, strict=True) if not alone]
    wrong = [factor for factor in factors if factor not in allowed]
    if wrong:
        shown = ", ".join(map(str, sorted(allowed)[:4])) + (", …" if len(allowed) > 4 else "")
        return f"a factor of {wrong[0]:.4g}, of which {name} takes {shown}", _FACTORS
    return None


def _factor(before: int, after: int, *, corners: bool) -> float:
    if corners and before > 1:
        return (after - 1) / (before - 1)
    return after / before


def _pool(op: Operator, rule: Rule, name: str) -> _Found:
    if rule.max_padded_kernel is None or getattr(op.options, "padding", None) != _SAME:
        return None
    side = max(op.options.filterHeight, op.options.filterWidth)
    if side <= rule.max_padded_kernel:
        return None
    return (
        f"a kernel of {side} with padding, of which {name} takes {rule.max_padded_kernel} at most",
        "Pool without padding, or by smaller kernels.",
    )


def _quantization(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.one_quantization:
        return None
    scales = {_scale_of(tensor) for tensor in (*op.inputs, *op.outputs) if tensor}
    if len(scales) == 1:
        return None
    return f"inputs with another scale than the output, which {name} does not take there", _REPLACE


def _scale_of(tensor: Tensor) -> tuple[tuple[float, ...], tuple[int, ...]]:
    found = tensor.quantization
    return ((), ()) if found is None else (tuple(found.scales), tuple(found.zero_points))


def _area(op: Operator, rule: Rule, name: str) -> _Found:
    first = _first(op)
    if rule.max_area is None or first is None:
        return None
    area = prod((1, 1, 1, *first.shape)[-_INNER:-1])
    if area < rule.max_area:
        return None
    return f"{area} positions, of which {name} takes fewer than {rule.max_area}", "A smaller input."


def _slice(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.plane_strides:
        return None
    strides = _constant(op, 3)
    if strides is None:
        return f"strides that are not constant, as {name} asks there", _REPLACE
    wrong = min(strides) < 0 or any(
        step > 1 and place not in (len(strides) - 3, len(strides) - 2)
        for place, step in enumerate(strides)
    )
    if not wrong:
        return None
    return f"steps backwards or over the depth, which {name} does not take", _REPLACE


def _transpose(op: Operator, rule: Rule, name: str) -> _Found:
    first = _first(op)
    if rule.wide_permutations is None or first is None or first.dtype not in _WIDE:
        return None
    order = _constant(op, 1) or ()
    missing = 4 - len(order)
    whole = (*range(missing), *(missing + axis for axis in order))
    if missing >= 0 and "".join(map(str, whole)) in rule.wide_permutations:
        return None
    return f"an order of axes that {name} does not take of {first.dtype}", _REPLACE


def _transposed(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.whole_steps or len(op.inputs) < 3 or op.inputs[2] is None or op.inputs[1] is None:
        return None
    strides = op.options.strideH, op.options.strideW
    given, kernel, got = (one.shape[1:3] for one in (op.inputs[2], op.inputs[1], op.outputs[0]))
    padded = op.options.padding == _SAME
    wanted = tuple(
        size * step + (0 if padded else max(side - step, 0))
        for size, step, side in zip(given, strides, kernel, strict=True)
    )
    if tuple(got) == wanted:
        return None
    return (
        f"a result of {got[0]}×{got[1]}, where {name} takes {wanted[0]}×{wanted[1]} only",
        "Choose an output padding with which the size is the input's times the stride.",
    )


def _gather(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.axis_is_batch or op.options is None:
        return None
    first = _first(op)
    axis = op.options.axis % len(first.shape) if first and first.shape else op.options.axis
    if axis == op.options.batchDims:
        return None
    return f"an axis that is not the first one, which {name} asks for", _REPLACE


def _parameters(op: Operator, rule: Rule, name: str) -> _Found:
    if not rule.constant_parameters or all(one.is_constant for one in op.inputs[1:] if one):
        return None
    return f"parameters that are not constant, as {name} asks there", _REPLACE


_REPLACE = "Replace it in the model by operators that are taken."
_FACTORS = "Enlarge in steps that are taken."
_CHECKS: tuple[Callable[[Operator, Rule, str], _Found], ...] = (
    _parameters,
    _reduction,
    _resize,
    _pool,
    _quantization,
    _area,
    _slice,
    _transpose,
    _transposed,
    _gather,
)


def _first(op: Operator) -> Tensor | None:
    return next((one for one in op.inputs if one), None)


def _constant(op: Operator, place: int) -> tuple[int, ...] | None:
    tensor = op.inputs[place] if len(op.inputs) > place else None
    if tensor is None or not tensor.is_constant:
        return None
    return tuple(map(int, tensor.data().ravel()))
