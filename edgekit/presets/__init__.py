"""What the makers of a model wrote down about feeding it, as a contract says it.

Each module reads one form of such notes, given as plain values: nothing here imports a framework.
What a note says that the contract has no words for is named in ``Preset.unknown`` and not guessed.

``timm``           ``pretrained_cfg``
``torchvision``    ``weights.transforms()`` and ``weights.meta``
``huggingface``    ``preprocessor_config.json`` and ``config.json``
``keras_layers``   preprocessing layers at the start of a Keras graph, ``keras.applications``
``onnx_metadata``  the properties of ONNX's image models
``ultralytics``    the properties that its exporter writes into files
``objects``        which of them a model object carries
"""

from edgekit.presets.preset import Preset

__all__ = ["Preset"]
