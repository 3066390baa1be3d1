"""From a `.tflite` with a contract to a module for an app, with golden vectors as its test."""

from edgekit.callable_module import make_callable
from edgekit.embed.completion import Stated
from edgekit.embed.render import target_names
from edgekit.embed.run import EmbedRequest, EmbedResult, embed
from edgekit.embed.spec import Embedding

__all__ = ["EmbedRequest", "EmbedResult", "Embedding", "Stated", "embed", "target_names"]

make_callable(__name__)
