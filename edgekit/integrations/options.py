"""Options for the end of a training, checked at its beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.api import convert
from edgekit.arguments import check_options, listed
from edgekit.validation.gates import IN_CLIENTS, parse


def check(options: Mapping[str, Any]) -> None:
    """See to it that `edgekit.convert` will take these options, hours later.

    Raises:
        UsageError: an option, a word or a gate is not known.
    """
    check_options(convert, options)
    for gate in listed(options.get("gates", ())):
        if not gate.startswith(IN_CLIENTS):
            parse(gate)
