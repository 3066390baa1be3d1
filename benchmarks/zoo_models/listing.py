"""What the zoo holds: names, families, factories, and what each network is fed.

Sizes of pictures are as small as the architecture allows, so that a run takes hours and not days.
Nothing is downloaded: weights are drawn from a seed (`zoo_models.weights`).
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Literal

Kind = Literal["picture", "noise", "ids", "mask", "step"]


@dataclass(frozen=True, kw_only=True)
class Feed:
    """An input: its shape, and what it is drawn as (`zoo_models.samples`)."""

    shape: tuple[int, ...]
    kind: Kind = "picture"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An architecture. ``build`` takes no arguments and gives a module or a Keras model."""

    name: str
    family: str
    build: Callable[[], Any] = field(repr=False)
    feeds: tuple[Feed, ...]

    @property
    def size(self) -> str:
        """The shapes of its inputs, as the table shows them."""
        return ", ".join("×".join(map(str, feed.shape)) for feed in self.feeds)


def _timm(name: str, size: int = 128, **options: Any) -> Listed:
    def build() -> Any:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=100, **options)

    family = "transformers" if name.startswith(_ATTENTION) else "convolutional"
    return Listed(name=name, family=family, build=build, feeds=(Feed(shape=(1, 3, size, size)),))


_ATTENTION = (
    "vit_", "deit", "swin", "cait", "xcit", "levit", "mobilevit", "edgenext", "poolformer", "pit_",
    "pvt", "coat", "twins", "mixer", "gmlp", "resmlp", "efficientformer", "efficientvit",
    "tiny_vit", "eva02", "beit", "maxvit", "crossvit", "volo", "tnt", "davit", "mvit", "visformer",
    "halonet", "botnet", "sequencer", "convformer", "caformer", "fastvit_sa", "swiftformer",
    "nextvit", "hiera", "focalnet", "mambaout", "naflex",
)  # fmt: skip


def _torchvision(name: str, family: str, shape: tuple[int, ...], **options: Any) -> Listed:
    def build() -> Any:
        from torchvision import models

        net = models.get_model(name, weights=None, weights_backbone=None, **options)
        return _Maps(net) if family == "segmentation" else net

    if family in ("convolutional", "video"):

        def build() -> Any:
            from torchvision import models

            return models.get_model(name, weights=None, **options)

    return Listed(name=f"tv {name}", family=family, build=build, feeds=(Feed(shape=shape),))


def _Maps(net: Any) -> Any:  # noqa: N802  a class that needs torch
    """A segmentation model of torchvision without its dictionary."""
    from torch import nn

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net(x)["out"]

    return Maps()


def _smp(name: str, encoder: str = "resnet18", size: int = 128) -> Listed:
    def build() -> Any:
        import segmentation_models_pytorch as smp

        return smp.create_model(name, encoder, encoder_weights=None, classes=5)

    return Listed(
        name=f"smp {name} {encoder}",
        family="segmentation",
        build=build,
        feeds=(Feed(shape=(1, 3, size, size)),),
    )


def _keras(name: str, size: int = 96, **options: Any) -> Listed:
    def build() -> Any:
        import keras

        make = getattr(keras.applications, name)
        options.setdefault("classes", 100)
        return make(weights=None, input_shape=(size, size, 3), **options)

    feeds = (Feed(shape=(1, size, size, 3)),)
    return Listed(name=f"keras {name}", family="keras", build=build, feeds=feeds)


def _keras_layers(name: str, feed: Feed, layers: Callable[[Any, Any], Any]) -> Listed:
    def build() -> Any:
        import keras

        entry = keras.Input(feed.shape[1:], dtype="int32" if feed.kind == "ids" else "float32")
        return keras.Model(entry, layers(keras.layers, entry))

    return Listed(name=f"keras {name}", family="keras", build=build, feeds=(feed,))


def _own(name: str, family: str, cls: str, *feeds: Feed, arguments: tuple[Any, ...] = ()) -> Listed:
    def build() -> Any:
        from zoo_models import own

        return getattr(own, cls)(*arguments)

    return Listed(name=name, family=family, build=build, feeds=feeds)


def _recurrent(name: str, kind: str, layers: int, *, both: bool) -> Listed:
    def build() -> Any:
        from zoo_models.own import Recurrent

        return Recurrent(kind, layers, both=both)

    feeds = (Feed(shape=(1, 20, 12), kind="noise"),)
    return Listed(name=name, family="recurrent", build=build, feeds=feeds)


def _hugging(name: str, family: str, cls: str, output: str, *feeds: Feed, **config: Any) -> Listed:
    """A model of transformers from a configuration alone; of its outputs one is kept."""

    def build() -> Any:
        import transformers
        from torch import nn

        net = getattr(transformers, f"{cls}")
        settings = net.config_class(**config)
        settings._attn_implementation = "sdpa"  # noqa: SLF001  as from_pretrained sets it

        class Only(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                try:
                    self.net = net(settings)
                except ValueError:  # no such attention in this model
                    settings._attn_implementation = "eager"  # noqa: SLF001
                    self.net = net(settings)

            def forward(self, first: Any, second: Any = None) -> Any:
                values = dict(zip(names, (first, second), strict=False))
                return getattr(self.net(**values), output)

        named = {
            "ids": "input_ids",
            "mask": "attention_mask",
            "picture": "pixel_values",
            "noise": getattr(net, "main_input_name", "input_values"),
        }
        names = [named[feed.kind] for feed in feeds]
        return Only()

    return Listed(name=f"hf {name}", family=family, build=build, feeds=feeds)


_WORDS = (Feed(shape=(1, 16), kind="ids"), Feed(shape=(1, 16), kind="mask"))
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = {**_SMALL, "vocab_size": 200, "intermediate_size": 128}


def _picture(size: int = 128, channels: int = 3) -> Feed:
    return Feed(shape=(1, channels, size, size))


def _noise(*shape: int) -> Feed:
    return Feed(shape=(1, *shape), kind="noise")


_CONVOLUTIONAL = (
    _timm("resnet50"),
    _timm("mobilenetv3_small_100"),
    _timm("efficientnet_lite0"),
    _timm("mobilenetv2_100"),
    _timm("convnext_atto"),
    _timm("mobilenetv4_conv_small"),
    _torchvision("shufflenet_v2_x0_5", "convolutional", (1, 3, 128, 128)),
    _timm("ghostnet_100"),
    _timm("mobileone_s0"),
    _timm("regnety_002"),
    _timm("inception_v3"),
    _timm("densenet121", size=96),
    _timm("efficientnet_b0"),
    _timm("tf_efficientnetv2_b0"),
    _timm("fastvit_t8"),
    _timm("mobilenetv1_100"),
    _timm("mobilenetv4_hybrid_medium"),
    _torchvision("squeezenet1_1", "convolutional", (1, 3, 128, 128)),
    _timm("repvit_m0_9"),
    _timm("hrnet_w18_small", size=96),
    _timm("convnextv2_atto", size=96),
    _timm("regnetx_002"),
    _timm("mixnet_s", size=96),
    _timm("rexnet_100", size=96),
    _timm("res2net50_26w_4s", size=96),
    _timm("skresnet18", size=96),
    _timm("resnest14d", size=96),
    _timm("dla34", size=96),
    _timm("cspresnet50", size=96),
    _timm("nf_regnet_b0", size=96),
    _timm("tinynet_e", size=106),
    _timm("lcnet_050", size=96),
    _timm("hgnetv2_b0", size=96),
    _timm("starnet_s1", size=96),
    _timm("ghostnetv2_100"),
    _timm("ese_vovnet19b_dw", size=96),
    _timm("repvgg_a0", size=96),
    _timm("inception_next_atto", size=96),
    _torchvision("googlenet", "convolutional", (1, 3, 128, 128), init_weights=True),
    _torchvision("vgg11_bn", "convolutional", (1, 3, 64, 64)),
)
_TRANSFORMERS = (
    _timm("vit_tiny_patch16_224", img_size=128),
    _timm("mobilevit_xxs"),
    _timm("swin_tiny_patch4_window7_224", size=112, img_size=112),
    _timm("edgenext_xx_small"),
    _timm("mobilevitv2_050"),
    _timm("levit_128s", size=224),
    _timm("vit_small_patch14_dinov2", size=112, img_size=112),
    _timm("poolformer_s12"),
    _timm("xcit_nano_12_p16_224", img_size=128),
    _timm("cait_xxs24_224", img_size=128),
    _timm("deit_tiny_distilled_patch16_224", img_size=128),
    _timm("efficientformer_l1", size=224),
    _timm("efficientvit_b0"),
    _timm("efficientvit_m0", size=224),
    _timm("tiny_vit_5m_224", size=224),
    _timm("mixer_s32_224", size=224),
    _timm("gmlp_s16_224", size=224),
    _timm("resmlp_12_224", size=224),
    _timm("pit_ti_224", size=224),
    _timm("pvt_v2_b0"),
    _timm("coat_lite_tiny", size=224),
    _timm("twins_svt_small", size=224),
    _timm("eva02_tiny_patch14_224", size=112, img_size=112),
    _timm("beit_base_patch16_224", size=64, img_size=64),
    _timm("maxvit_rmlp_pico_rw_256", size=256),
    _timm("crossvit_tiny_240", size=240),
    _timm("efficientformerv2_s0", size=224),
    _timm("swiftformer_xs", size=224),
    _timm("convformer_s18", size=96),
    _timm("botnet26t_256", size=256),
    _timm("halonet26t", size=256),
    _timm("mambaout_femto"),
    _timm("davit_tiny", size=96),
    _timm("visformer_tiny", size=224),
    _timm("focalnet_tiny_srf", size=96),
)
_DETECTION = (
    _own("YOLOv8", "detection", "YoloV8", _picture()),
    _own("YOLOv5", "detection", "YoloV5", _picture()),
    _own("CenterNet", "detection", "CenterNet", _picture()),
    _own("SSD head", "detection", "SsdHead", _picture()),
    _hugging(
        "YOLOS", "detection", "YolosForObjectDetection", "logits", _picture(96),
        **_SMALL, intermediate_size=128, image_size=[96, 96], num_detection_tokens=10,
    ),
    _torchvision("ssdlite320_mobilenet_v3_large", "detection", (1, 3, 320, 320)),
    _torchvision("fasterrcnn_mobilenet_v3_large_320_fpn", "detection", (1, 3, 160, 160)),
    _timm("resnet18", size=96, features_only=True),
)  # fmt: skip
_SEGMENTATION = (
    _own("U-Net", "segmentation", "UNet", _picture(64)),
    _torchvision("lraspp_mobilenet_v3_large", "segmentation", (1, 3, 128, 128)),
    _torchvision("deeplabv3_mobilenet_v3_large", "segmentation", (1, 3, 128, 128)),
    _smp("unet", "mobilenet_v2"),
    _smp("deeplabv3plus"),
    _smp("fpn"),
    _torchvision("fcn_resnet50", "segmentation", (1, 3, 64, 64)),
    _hugging(
        "SegFormer", "segmentation", "SegformerForSemanticSegmentation", "logits", _picture(64),
        hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 1, 1], decoder_hidden_size=64,
    ),
    _smp("pspnet"),
    _smp("manet"),
    _smp("pan"),
    _smp("linknet"),
    _smp("upernet"),
    _own("U-Net 3-D", "segmentation", "UNet3d", _noise(1, 8, 16, 16)),
)  # fmt: skip
_POSE = (
    _own("SimpleBaseline", "pose", "SimplePose", _picture(128)),
    _own("SimCC", "pose", "SimCC", _picture(128)),
    _own("Hourglass", "pose", "Hourglass", _picture(96)),
    _own("ST-GCN", "pose", "StGcn", _noise(3, 16, 17)),
)
_DEPTH = (
    _own("FastDepth", "depth", "FastDepth", _picture()),
    _own("MiDaS head", "depth", "MidasHead", _picture()),
    _hugging(
        "DPT", "depth", "DPTForDepthEstimation", "predicted_depth", _picture(64),
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 32, 32], fusion_hidden_size=32,
    ),
)  # fmt: skip
_SUPER = (
    _own("ESPCN", "super-resolution", "Espcn", _picture(32, 1)),
    _own("EDSR", "super-resolution", "Edsr", _picture(32)),
    _own("FSRCNN", "super-resolution", "Fsrcnn", _picture(32, 1)),
    _own("VDSR, bicubic", "super-resolution", "Bicubic", _picture(32)),
    _own("resize by 1.7", "super-resolution", "OddResize", _picture(30)),
    _hugging(
        "Swin2SR", "super-resolution", "Swin2SRForImageSuperResolution", "reconstruction",
        _picture(32), image_size=32, embed_dim=24, depths=[2], num_heads=[2], window_size=8,
        upscale=2,
    ),
)  # fmt: skip
_GENERATORS = (
    _own("DCGAN", "generators", "Dcgan", _noise(64)),
    _own("CycleGAN", "generators", "CycleGan", _picture(64)),
    _own("StyleGAN2", "generators", "StyleGan", _noise(32)),
    _own("diffusion U-Net", "generators", "Diffusion", _picture(32), Feed(shape=(1,), kind="step")),
)
_AUTOENCODERS = (
    _own("autoencoder", "autoencoders", "AutoEncoder", _picture(32, 1)),
    _own("VAE decoder", "autoencoders", "VaeDecoder", _noise(4, 16, 16)),
    _own("VQ-VAE", "autoencoders", "VqVae", _picture(32)),
)
_RECURRENT = (
    _recurrent("LSTM", "lstm", 1, both=False),
    _recurrent("GRU, two layers, both ways", "gru", 2, both=True),
    _own("CRNN", "recurrent", "Crnn", Feed(shape=(1, 1, 32, 64))),
    _recurrent("LSTM, two layers, both ways", "lstm", 2, both=True),
    _recurrent("GRU", "gru", 1, both=False),
    _own("GRU cell, state outside", "recurrent", "Stepwise", _noise(16), _noise(32)),
    _recurrent("RNN", "rnn", 1, both=False),
    _timm("sequencer2d_s", size=224),
)
_AUDIO = (
    _own("DS-CNN", "audio", "DsCnn", _noise(1, 49, 10)),
    _own("M5, raw audio", "audio", "RawAudio", _noise(1, 4000)),
    _own("spectrogram inside", "audio", "Spectrogram", _noise(4096)),
    _own("Conv-TasNet", "audio", "Separator", _noise(1, 800)),
    _own("TCN", "audio", "Tcn", _noise(8, 64)),
    _own("HiFi-GAN", "audio", "Vocoder", _noise(20, 16)),
    _hugging(
        "AST", "audio", "ASTForAudioClassification", "logits", _noise(128, 32),
        **_SMALL, intermediate_size=128, max_length=128, num_mel_bins=32,
    ),
    _hugging(
        "wav2vec2", "audio", "Wav2Vec2ForCTC", "logits", _noise(4000),
        **_TEXT, conv_dim=[32] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    ),
)  # fmt: skip
_TEXTS = (
    _hugging("BERT", "text", "BertForSequenceClassification", "logits", *_WORDS, **_TEXT),
    _own("TransformerEncoder, padding", "text", "Encoder", *_WORDS),
    _hugging(
        "DistilBERT", "text", "DistilBertModel", "last_hidden_state", *_WORDS,
        dim=64, n_layers=2, n_heads=4, hidden_dim=128, vocab_size=200,
    ),
    _own("decoder, causal, rotary", "text", "Decoder", _WORDS[0]),
    _hugging("RoBERTa", "text", "RobertaModel", "last_hidden_state", *_WORDS, **_TEXT),
    _hugging(
        "ALBERT", "text", "AlbertModel", "last_hidden_state", *_WORDS, **_TEXT, embedding_size=32
    ),
    _hugging(
        "T5 encoder", "text", "T5EncoderModel", "last_hidden_state", *_WORDS,
        d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=200,
    ),
    _hugging("ELECTRA", "text", "ElectraModel", "last_hidden_state", *_WORDS, **_TEXT),
)  # fmt: skip
_OTHERS = (
    _own("spatial transformer", "others", "Warp", _picture(64)),
    _own("FNet", "others", "FourierMixer", _picture(64)),
    _own("PointNet", "others", "PointNet", _noise(3, 64)),
    _own("table", "others", "Tabular", _noise(20)),
    _own("Siamese", "others", "Siamese", _picture(48), _picture(48)),
    _own("pools that round up", "others", "Ceiling", _picture(67)),
    _torchvision("r3d_18", "video", (1, 3, 4, 32, 32)),
)
_SEQUENCE = _noise(20, 12)
_KERAS = (
    _keras("MobileNetV2"),
    _keras("EfficientNetB0"),
    _keras_layers(
        "LSTM", _SEQUENCE, lambda layers, x: layers.Dense(5)(layers.LSTM(24)(x))
    ),
    _keras("MobileNetV3Small"),
    _keras("EfficientNetV2B0"),
    _keras("ResNet50V2"),
    _keras_layers(
        "GRU, both ways", _SEQUENCE,
        lambda layers, x: layers.Dense(5)(layers.Bidirectional(layers.GRU(16))(x)),
    ),
    _keras("DenseNet121"),
    _keras("MobileNet"),
    _keras("ConvNeXtTiny"),
    _keras("Xception"),
    _keras_layers(
        "attention", _SEQUENCE,
        lambda layers, x: layers.LayerNormalization()(layers.MultiHeadAttention(3, 8)(x, x) + x),
    ),
    _keras("InceptionV3"),
    _keras("NASNetMobile", size=224),
    _keras_layers(
        "embedding and LSTM", Feed(shape=(1, 16), kind="ids"),
        lambda layers, x: layers.Dense(3)(layers.LSTM(16)(layers.Embedding(200, 16)(x))),
    ),
    _keras_layers(
        "Conv2DTranspose", Feed(shape=(1, 32, 32, 3)),
        lambda layers, x: layers.Conv2DTranspose(3, 3, 2)(layers.Conv2D(8, 3, 2)(x)),
    ),
    _keras_layers(
        "ConvLSTM2D", _noise(4, 16, 16, 3), lambda layers, x: layers.ConvLSTM2D(8, 3)(x)
    ),
    _keras_layers(
        "Conv1DTranspose", _noise(16, 8),
        lambda layers, x: layers.Conv1DTranspose(4, 5, 3, output_padding=2)(x),
    ),
)  # fmt: skip

FAMILIES = (
    _CONVOLUTIONAL, _TRANSFORMERS, _DETECTION, _SEGMENTATION, _KERAS, _RECURRENT, _SUPER, _AUDIO,
    _TEXTS, _POSE, _DEPTH, _GENERATORS, _AUTOENCODERS, _OTHERS,
)  # fmt: skip
LISTED: tuple[Listed, ...] = tuple(
    one for one in chain.from_iterable(zip_longest(*FAMILIES)) if one is not None
)
"""One of each family in turn, so that a run that is stopped has seen something of all."""
