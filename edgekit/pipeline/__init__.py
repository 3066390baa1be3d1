"""From a request to files with a verdict: `plan` decides and touches nothing, `run` does it."""

from __future__ import annotations

from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.run import run

__all__ = ["ConversionRequest", "Plan", "plan", "run"]
