"""Which samples serve which role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibration import Sample, Source, split
from edgekit.errors import DataError, UsageError


def source(count, splits=()):
    stated = list(splits) + [None] * (count - len(splits))
    return Source(
        name="s",
        samples=tuple(
            Sample(id=f"{index:05}", read=dict, split=stated[index]) for index in range(count)
        ),
    )


def names(samples):
    return [sample.id for sample in samples]


@given(
    count=st.integers(1, 300),
    calibration=st.integers(1, 200),
    parity=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_the_roles_share_nothing_unless_the_set_is_too_small(count, calibration, parity, seed):
    wanted = {"calibration_samples": calibration, "parity_samples": parity, "seed": seed}
    chosen = split(source(count), **wanted)
    again = split(source(count), **wanted)
    assert (chosen.seed, names(chosen.calibration)) == (seed, names(again.calibration))
    assert names(chosen.parity) == names(again.parity)
    for picked, most in ((chosen.calibration, calibration), (chosen.parity, parity)):
        assert 0 < len(picked) <= most
        assert names(picked) == sorted(set(names(picked)))
    assert chosen.overlap == bool(chosen.notes) == (count < 8)
    if count < 8:
        assert len(chosen.calibration) == min(count, calibration)
    else:
        assert not set(names(chosen.calibration)) & set(names(chosen.parity))
        assert len(chosen.parity) == min(parity, max(count // 4, min(16, count // 2)))
        assert len(chosen.calibration) == min(calibration, count - len(chosen.parity))


def test_another_seed_chooses_others():
    first, second = (
        split(source(200), calibration_samples=50, parity_samples=20, seed=seed) for seed in (0, 1)
    )
    assert names(first.calibration) != names(second.calibration)
    assert names(first.parity) != names(second.parity)


def test_the_choice_of_seed_0_never_changes():
    """Reports quote a seed: a new version must choose the same samples."""
    chosen = split(source(20), calibration_samples=4, parity_samples=3, seed=0)
    assert names(chosen.parity) == ["00001", "00012", "00013"]
    assert len(chosen.calibration) == 4


def test_stated_splits_hold():
    stated = ["parity", "calibration", None, "parity"]
    chosen = split(source(4, stated), calibration_samples=9, parity_samples=9, seed=0)
    assert names(chosen.parity) == ["00000", "00003"]
    assert names(chosen.calibration) == ["00001", "00002"]
    assert not chosen.overlap


def test_only_parity_stated_cannot_mean_no_calibration():
    chosen = split(source(3, ["parity"] * 3), calibration_samples=9, parity_samples=9, seed=0)
    assert names(chosen.calibration) == names(chosen.parity) == ["00000", "00001", "00002"]
    assert chosen.overlap


def test_a_parity_source_leaves_everything_to_calibration():
    chosen = split(
        source(20), calibration_samples=99, parity_samples=5, seed=0, parity_source=source(30)
    )
    assert len(chosen.calibration) == 20
    assert len(chosen.parity) == 5


def test_nonsense_is_refused():
    with pytest.raises(UsageError):
        split(source(9), calibration_samples=0, parity_samples=1, seed=0)
    with pytest.raises(DataError, match="no samples"):
        split(source(0), calibration_samples=1, parity_samples=1, seed=0)
