"""What options take: finite, bounded numbers, shares, sizes, paths."""

from __future__ import annotations

import math
from fractions import Fraction

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.cli import parameters
from edgekit.cli.parameters import PATH, SHARE, Number, Numbers, Size


def taken(kind: click.ParamType, text: str) -> object:
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/127.5", 1 / 127.5),
        ("1/255", 1 / 255),
        ("-0.5", -0.5),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("3.", 3),
    ],
)
def test_numbers_and_fractions(text, value):
    assert taken(Number(), text) == value
    assert taken(Numbers(), f"{text},{text}") == (value, value)


@pytest.mark.parametrize(
    "text",
    [
        "1e999",
        "nan",
        "inf",
        "-inf",
        "1/0",
        "1/2/3",
        "",
        " ",
        "1_0",
        "٣",
        "0x1",
        "9" * 400,
        "1e31",
        "a",
    ],
)
def test_what_is_no_finite_number_is_refused(text):
    for kind in (Number(), Numbers(), SHARE, parameters.SECONDS, parameters.GIGABYTES):
        with pytest.raises(click.BadParameter):
            taken(kind, text)


@given(st.floats(-1e29, 1e29))
def test_what_python_writes_is_read(value):
    assert taken(Number(), repr(value)) == value


@given(st.integers(-999, 999), st.integers(1, 999))
def test_fractions_are_quotients(above, below):
    assert math.isclose(taken(Number(), f"{above}/{below}"), float(Fraction(above, below)))


def test_shares_zero_and_bounds():
    assert taken(SHARE, "1%") == taken(SHARE, "0.01") == 0.01
    for text in ("101%", "2", "-1%", "1%%"):
        with pytest.raises(click.BadParameter):
            taken(SHARE, text)
    for text in ("0", "0/5", "-0.0"):
        with pytest.raises(click.BadParameter, match="must not be 0"):
            taken(Number(zero=False), text)
    with pytest.raises(click.BadParameter):
        taken(Numbers(), "1,2,3,4,5")


def test_sizes():
    assert taken(Size(), "224") == 224
    assert taken(Size(pair=True), "224") == (224, 224)
    assert taken(Size(), "224x320") == taken(Size(), "224,320") == (224, 320)
    for text in ("0", "-1", "99999999999", "16385", "1x", "x1", "1x2x3", "a", "1.5", ""):
        with pytest.raises(click.BadParameter):
            taken(Size(), text)


def test_paths():
    assert str(taken(PATH, "a/b")) == "a/b"
    for text in ("a" * 256, "a\0b", ""):
        with pytest.raises(click.BadParameter):
            taken(PATH, text)
