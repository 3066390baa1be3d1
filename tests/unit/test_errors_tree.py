"""The error tree: as drawn, with exit codes that tell the branches apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit import errors
from edgekit.errors import ConversionError, EdgekitError, StepError, by_kind


def tree(root: type[EdgekitError]) -> list[type[EdgekitError]]:
    below = [entry for child in root.__subclasses__() for entry in tree(child)]
    return [root, *(entry for entry in below if entry.__module__ == errors.__name__)]


ALL = tree(EdgekitError)


def test_the_docstring_draws_the_tree():
    lines = (errors.__doc__ or "").splitlines()
    drawn = [re.match(r"\s{4}[│├└─ ]*(\w+)\s+(\d)?", line) for line in lines]
    found = {match[1]: match[2] for match in drawn if match}
    assert set(found) == {known.__name__ for known in ALL}
    for name, code in found.items():
        if code:
            assert getattr(errors, name).exit_code == int(code)


def test_each_branch_has_an_exit_code_of_its_own_and_keeps_it():
    branches = EdgekitError.__subclasses__()
    codes = [EdgekitError.exit_code, *(branch.exit_code for branch in branches)]
    assert sorted(codes) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    for branch in branches:
        assert {below.exit_code for below in tree(branch)} == {branch.exit_code}


def test_kinds_are_unique_and_found_again():
    kinds = [known.kind for known in ALL]
    assert len(set(kinds)) == len(kinds)
    for known in ALL:
        if issubclass(known, StepError):  # they need more than a cause; the parent makes them
            assert by_kind(known.kind) is ConversionError
        else:
            assert by_kind(known.kind) is known
    assert by_kind("nobody knows this") is ConversionError


@pytest.mark.parametrize("known", ALL)
def test_an_error_has_cause_cure_and_log(known):
    more = {"step": "onnx2tf convert"} if issubclass(known, StepError) else {}
    error = known("the cause", cure="the cure", log=Path("a.log"), **more)
    assert str(error) == error.cause == "the cause"
    assert (error.cure, error.log) == ("the cure", Path("a.log"))
    assert known("alone", **more).cure == ""
