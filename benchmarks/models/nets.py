"""The networks: plain PyTorch, one factory each, all for pictures of 32×32 unless said.

They are small, so that each learns its task in about a minute on two cores, and each stands for a
kind of network that int8 treats in its own way.
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
SIGNAL_CLASSES = 8


def _conv_norm(
    inputs: int, outputs: int, kernel: int, act: nn.Module, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), act)


class Residual(nn.Module):
    """The basic block of He et al., "Deep Residual Learning", 2016."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv_norm(inputs, outputs, 3, nn.ReLU(), stride),
            _conv_norm(outputs, outputs, 3, nn.Identity()),
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else _conv_norm(inputs, outputs, 1, nn.Identity(), stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.skip(x))


class SqueezeExcite(nn.Module):
    """Channels weighted by a gate that sees the whole picture (Hu et al., 2018)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """The inverted residual of Sandler et al., "MobileNetV2", 2018."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expand: int,
        kernel: int,
        stride: int,
        act: nn.Module,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        wide = inputs * expand
        self.body = nn.Sequential(
            _conv_norm(inputs, wide, 1, act),
            _conv_norm(wide, wide, kernel, act, stride, groups=wide),
            SqueezeExcite(wide, max(4, inputs // 4)) if squeeze else nn.Identity(),
            _conv_norm(wide, outputs, 1, nn.Identity()),
        )
        self.same = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


def _classifier(features: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(
        features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)
    )


def resnet() -> nn.Module:
    """Plain residual blocks."""
    blocks = [
        Residual(16, 16, 1), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 32, 1),
        Residual(32, 64, 2), Residual(64, 64, 1),
    ]  # fmt: skip
    return _classifier(nn.Sequential(_conv_norm(3, 16, 3, nn.ReLU(), 2), *blocks), 64)


def mobilenet() -> nn.Module:
    """Depthwise convolutions and hard-swish, as in MobileNetV3 (Howard et al., 2019)."""
    act = nn.Hardswish()

    def block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        return Inverted(inputs, outputs, expand=3, kernel=kernel, stride=stride, act=act)

    blocks = [
        block(16, 24, 3, 2), block(24, 24, 3, 1), block(24, 40, 5, 2), block(40, 40, 5, 1),
        block(40, 40, 3, 1),
    ]  # fmt: skip
    head = _conv_norm(40, 96, 1, act)
    return _classifier(nn.Sequential(_conv_norm(3, 16, 3, act, 2), *blocks, head), 96)


def efficientnet() -> nn.Module:
    """SiLU and squeeze-excite, as in EfficientNet (Tan and Le, 2019)."""
    act = nn.SiLU()

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return Inverted(inputs, outputs, expand=3, kernel=3, stride=stride, act=act, squeeze=True)

    blocks = [
        block(16, 24, 2), block(24, 24, 1), block(24, 40, 2), block(40, 40, 1), block(40, 40, 1),
    ]  # fmt: skip
    head = _conv_norm(40, 96, 1, act)
    return _classifier(nn.Sequential(_conv_norm(3, 16, 3, act, 2), *blocks, head), 96)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.into(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, tokens, width)
        return self.out(mixed)


class _Encoder(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class _VisionTransformer(nn.Module):
    def __init__(self, width: int = 48, depth: int = 3, heads: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, width, 3, 2, 1)
        )
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.layers = nn.Sequential(*(_Encoder(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(tokens)).mean(1))


def transformer() -> nn.Module:
    """A vision transformer with a convolutional stem (Xiao et al., 2021): LayerNorm, GELU."""
    return _VisionTransformer()


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = 8, 16, 24, 32
        self.down = nn.ModuleList(
            self._pair(inputs, outputs)
            for inputs, outputs in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            self._pair(low + high, high) for low, high in ((32, 24), (24, 16), (16, 8))
        )
        self.head = nn.Conv2d(8, 1, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            _conv_norm(inputs, outputs, 3, nn.ReLU()), _conv_norm(outputs, outputs, 3, nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.down[:-1]:
            x = stage(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.down[-1](x)
        for stage in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skips.pop()], 1))
        return self.head(x)


def unet() -> nn.Module:
    """Skips that are concatenated (Ronneberger et al., 2015), bilinear upsampling."""
    return _UNet()


class _Detector(nn.Module):
    """Two scales, each cell with class scores and the distances to the four sides of a box."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.SiLU()
        self.stem = nn.Sequential(
            _conv_norm(3, 16, 3, act, 2), _conv_norm(16, 32, 3, act, 2), _conv_norm(32, 32, 3, act)
        )
        self.deep = nn.Sequential(_conv_norm(32, 64, 3, act, 2), _conv_norm(64, 64, 3, act))
        self.lateral = _conv_norm(64, 32, 1, act)
        self.heads = nn.ModuleList(
            nn.Sequential(_conv_norm(width, 32, 3, act), nn.Conv2d(32, CLASSES + 4, 1))
            for width in (64, 64)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(x)
        deep = self.deep(fine)
        up = functional.interpolate(self.lateral(deep), scale_factor=2.0, mode="nearest")
        scales = [torch.cat([fine, up], 1), deep]
        raw = [
            head(scale).flatten(2).transpose(1, 2)
            for head, scale in zip(self.heads, scales, strict=True)
        ]
        joined = torch.cat(raw, 1)
        # Pixels: distances are positive, and scores are probabilities.
        return functional.softplus(joined[..., :4]) * 8, joined[..., 4:].sigmoid()


def detector() -> nn.Module:
    """Boxes (1, 80, 4) and scores (1, 80, 10) without anchors, as FCOS (Tian et al., 2019)."""
    return _Detector()


def autoencoder() -> nn.Module:
    """A picture through a code of 4×4×24 and back by transposed convolutions; output 0…1."""
    return nn.Sequential(
        _conv_norm(3, 24, 3, nn.ReLU(), 2), _conv_norm(24, 48, 3, nn.ReLU(), 2),
        nn.Conv2d(48, 24, 3, 2, 1),
        nn.ConvTranspose2d(24, 48, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(48, 24, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 3, 3, padding=1), nn.Sigmoid(),
    )  # fmt: skip


class _SuperResolution(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(2)
        )  # fmt: skip
        self.last = nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        value = self.first(x)
        for block in self.blocks:
            value = value + block(value)
        larger = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(value) + larger


def superresolution() -> nn.Module:
    """From 16×16 to 32×32, residual blocks without normalization (Lim et al., EDSR, 2017)."""
    return _SuperResolution()


def signals() -> nn.Module:
    """Convolutions in one dimension over 256 values."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv1d(inputs, outputs, 9, 2, 4, bias=False), nn.BatchNorm1d(outputs)]
        layers += [nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, SIGNAL_CLASSES)
    )


def mlp() -> nn.Module:
    """Fully connected layers over the 64 values of a digit."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((64, 128), (128, 96), (96, 64)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, CLASSES))


class _Pose(nn.Module):
    """A map for each of two points at half the size, enlarged by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _conv_norm(3, 16, 3, nn.ReLU(), 2),
            Inverted(16, 32, expand=3, kernel=3, stride=2, act=nn.ReLU6()),
            Inverted(32, 32, expand=3, kernel=5, stride=1, act=nn.ReLU6()),
        )
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.up(self.down(x))
        return torch.sigmoid(maps)


def pose() -> nn.Module:
    """Two points of a picture as maps of 16×16 (Xiao et al., "Simple Baselines", 2018)."""
    return _Pose()


class _Recurrent(nn.Module):
    """16 steps of 16 values, by a GRU that its export unrolls."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, SIGNAL_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x.reshape(-1, 16, 16))
        classes: Tensor = self.head(states[:, -1])
        return classes


def recurrent() -> nn.Module:
    """A gated recurrent unit over 256 values (Cho et al., 2014)."""
    return _Recurrent()
