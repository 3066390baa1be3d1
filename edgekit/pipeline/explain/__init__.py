"""``edgekit explain``: everything is run here; what it means says `edgekit.validation.explain`."""

from edgekit.pipeline.explain.files import require_free, write_files
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.run import explain

__all__ = ["ExplainRequest", "explain", "require_free", "write_files"]
