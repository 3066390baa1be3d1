"""What Python passes, as the requests have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from edgekit.arguments import AnyPath, is_path, path
from edgekit.config import Config, load_config, parse_input_flag
from edgekit.errors import UsageError
from edgekit.presets import Preset
from edgekit.presets.objects import preset_of_model, preset_of_notes
from edgekit.types import TensorSpec

Model: TypeAlias = AnyPath | object
"""A path, a name, or a model of PyTorch, Keras, TensorFlow or ONNX."""
Data: TypeAlias = AnyPath | object
"""A path, or whatever gives samples."""
MOST_SAMPLES = 10_000
"""So many samples are taken of an object unless ``limit`` says more."""


def specs(inputs: Sequence[str | TensorSpec]) -> tuple[TensorSpec, ...]:
    """Stated inputs, as ``NAME:SHAPE[:DTYPE][:LAYOUT]`` or specs; one alone is a list of one."""
    given = [inputs] if isinstance(inputs, str) else inputs
    return tuple(one if isinstance(one, TensorSpec) else parse_input_flag(one) for one in given)


def config_of(config: AnyPath | None) -> Config:
    """The stated ``edgekit.toml``, or an empty one."""
    found = path(config, "config")
    return Config() if found is None else load_config(found)


def preprocessing(model: Model, preprocess: object) -> tuple[dict[str, Any], Preset | None]:
    """What is stated about pictures, and what the model's makers wrote down about it.

    Raises:
        UsageError: ``preprocess`` is neither a dict nor somebody's notes that are known.
        ModelError: a configuration beside the model is damaged.
    """
    if (notes := preset_of_notes(preprocess)) is not None:
        return {}, notes
    if preprocess is not None and not isinstance(preprocess, Mapping):
        raise UsageError(
            f"preprocess is a {type(preprocess).__name__}, whose form is not known.",
            cure="Give a dict such as {'resize': 256, 'crop': (224, 224), 'scale': 1/255}, "
            "torchvision's weights, or an image processor of transformers.",
        )
    return dict(preprocess or {}), None if is_path(model) else preset_of_model(model)


def pictures_are_stated(preprocess: Mapping[str, Any] | None, config: Config) -> bool:
    """Whether it is said how an 8-bit picture becomes a tensor."""
    return bool(preprocess) or any("preprocess" in table for table in config.inputs.values())
