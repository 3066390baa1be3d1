"""Networks of kinds that no package of models has in a small form, written out here."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name


def conv(inside: int, out: int, kernel: int = 3, stride: int = 1, act: type = nn.SiLU) -> nn.Module:
    """Convolution, batch normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), act()
    )


class C2f(nn.Module):
    """A split, bottlenecks one after the other, all parts joined: YOLOv8's block."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        half = out // 2
        self.first, self.last = conv(inside, out, 1), conv(3 * half, out, 1)
        self.inner = nn.Sequential(conv(half, half), conv(half, half))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, H, W) to (N, out, H, W)."""
        a, b = self.first(x).chunk(2, 1)
        return self.last(torch.cat([a, b, b + self.inner(b)], 1))


class YoloV8(nn.Module):
    """Backbone, SPPF, top-down and bottom-up path, a head with box distributions, decoded."""

    def __init__(self, size: int = 128, classes: int = 20) -> None:
        super().__init__()
        w = (16, 32, 64, 128)
        self.stem = nn.Sequential(conv(3, w[0], 3, 2), conv(w[0], w[1], 3, 2), C2f(w[1], w[1]))
        self.p3 = nn.Sequential(conv(w[1], w[2], 3, 2), C2f(w[2], w[2]))
        self.p4 = nn.Sequential(conv(w[2], w[3], 3, 2), C2f(w[3], w[3]))
        self.p5 = nn.Sequential(conv(w[3], w[3], 3, 2), C2f(w[3], w[3]))
        self.sppf = conv(4 * w[3], w[3], 1)
        self.up4, self.up3 = C2f(2 * w[3], w[3]), C2f(w[3] + w[2], w[2])
        self.down4, self.down5 = conv(w[2], w[2], 3, 2), conv(w[3], w[3], 3, 2)
        self.out4, self.out5 = C2f(w[2] + w[3], w[3]), C2f(2 * w[3], w[3])
        widths = (w[2], w[3], w[3])
        self.box = nn.ModuleList(nn.Sequential(conv(k, 64), nn.Conv2d(64, 64, 1)) for k in widths)
        self.score = nn.ModuleList(
            nn.Sequential(conv(k, 64), nn.Conv2d(64, classes, 1)) for k in widths
        )
        anchors, strides = [], []
        for stride in (8, 16, 32):
            steps = torch.arange(size // stride) + 0.5
            y, x = torch.meshgrid(steps, steps, indexing="ij")
            anchors.append(torch.stack([x, y]).flatten(1))
            strides.append(torch.full((1, anchors[-1].shape[1]), float(stride)))
        self.register_buffer("anchors", torch.cat(anchors, 1))
        self.register_buffer("strides", torch.cat(strides, 1))
        self.register_buffer("bins", torch.arange(16.0))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 4 + classes, anchors): centre, size in pixels, scores."""
        p3 = self.p3(self.stem(x))
        p4 = self.p4(p3)
        p5 = self.p5(p4)
        pools = [p5]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        p5 = self.sppf(torch.cat(pools, 1))
        t4 = self.up4(torch.cat([F.interpolate(p5, scale_factor=2.0), p4], 1))
        t3 = self.up3(torch.cat([F.interpolate(t4, scale_factor=2.0), p3], 1))
        b4 = self.out4(torch.cat([self.down4(t3), t4], 1))
        b5 = self.out5(torch.cat([self.down5(b4), p5], 1))
        levels = (t3, b4, b5)
        box = torch.cat([h(v).flatten(2) for h, v in zip(self.box, levels, strict=True)], 2)
        score = torch.cat([h(v).flatten(2) for h, v in zip(self.score, levels, strict=True)], 2)
        shares = box.unflatten(1, (4, 16)).softmax(2)
        near, far = (shares * self.bins[:, None]).sum(2).chunk(2, 1)
        low, high = self.anchors - near, self.anchors + far
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([boxes, score.sigmoid()], 1)


class YoloV5(nn.Module):
    """Three anchors a cell; sigmoid, grid and anchor sizes inside the graph."""

    def __init__(self, size: int = 128, classes: int = 20) -> None:
        super().__init__()
        self.values = classes + 5
        self.backbone = nn.Sequential(
            conv(3, 16, 6, 2, nn.Hardswish), conv(16, 32, 3, 2), conv(32, 64, 3, 2)
        )
        self.deep = conv(64, 128, 3, 2)
        self.heads = nn.ModuleList([nn.Conv2d(64, 3 * self.values, 1), nn.Conv2d(128, 75, 1)])
        self.sizes = nn.Parameter(torch.rand(2, 3, 1, 1, 2) * 40 + 8, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, boxes, 5 + classes)."""
        p3 = self.backbone(x)
        found = []
        for level, (head, features) in enumerate(zip(self.heads, (p3, self.deep(p3)), strict=True)):
            raw = head(features)
            n, _, h, w = raw.shape
            raw = raw.view(n, 3, self.values, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            y, x_ = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack([x_, y], -1).float() - 0.5
            xy = (raw[..., :2] * 2 + grid) * float(8 << level)
            wh = (raw[..., 2:4] * 2) ** 2 * self.sizes[level]
            found.append(torch.cat([xy, wh, raw[..., 4:]], -1).view(n, -1, self.values))
        return torch.cat(found, 1)


class CenterNet(nn.Module):
    """A heat map with its peaks kept by max pooling, sizes and offsets: three outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 64, 3, 2))
        self.up = nn.ConvTranspose2d(64, 32, 4, 2, 1)
        self.heads = nn.ModuleList(
            nn.Sequential(conv(32, 32, act=nn.ReLU), nn.Conv2d(32, k, 1)) for k in (10, 2, 2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, S, S) to maps of S / 4."""
        y = self.up(self.down(x)).relu()
        heat, size, offset = (head(y) for head in self.heads)
        heat = heat.sigmoid()
        return heat * (F.max_pool2d(heat, 3, 1, 1) == heat), size.exp(), offset


class SsdHead(nn.Module):
    """Scores and boxes of several scales, permuted, flattened, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 64, 3, 2))
        self.more = nn.ModuleList([conv(64, 64, 3, 2), conv(64, 64, 3, 2)])
        self.score = nn.ModuleList(nn.Conv2d(64, 6 * 21, 3, padding=1) for _ in range(3))
        self.box = nn.ModuleList(nn.Conv2d(64, 6 * 4, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) to scores (N, boxes, 21) and boxes (N, boxes, 4)."""
        levels = [self.first(x)]
        for step in self.more:
            levels.append(step(levels[-1]))
        scores = [
            head(v).permute(0, 2, 3, 1).reshape(len(v), -1, 21)
            for head, v in zip(self.score, levels, strict=True)
        ]
        boxes = [
            head(v).permute(0, 2, 3, 1).reshape(len(v), -1, 4)
            for head, v in zip(self.box, levels, strict=True)
        ]
        return torch.cat(scores, 1).softmax(-1), torch.cat(boxes, 1)


class SimplePose(nn.Module):
    """A backbone and three transposed convolutions: heat maps of 17 joints."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            conv(3, 32, 3, 2), conv(32, 64, 3, 2), conv(64, 96, 3, 2), conv(96, 128, 3, 2)
        )
        up: list[nn.Module] = []
        inside = 128
        for _ in range(3):
            up += [nn.ConvTranspose2d(inside, 64, 4, 2, 1, bias=False)]
            up += [nn.BatchNorm2d(64), nn.ReLU()]
            inside = 64
        self.up = nn.Sequential(*up, nn.Conv2d(64, 17, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 17, S / 2, S / 2)."""
        return self.up(self.down(x))


class SimCC(nn.Module):
    """Keypoints as two classifications, of columns and of rows (RTMPose)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            conv(3, 32, 3, 2), conv(32, 64, 3, 2), conv(64, 64, 3, 2), nn.Conv2d(64, 17, 1)
        )
        self.mix = nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 128), nn.GELU())
        self.x, self.y = nn.Linear(128, 256), nn.Linear(128, 256)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 128, 128) to two of (N, 17, 256)."""
        features = self.mix(self.down(x).flatten(2))
        return self.x(features), self.y(features)


class Hourglass(nn.Module):
    """Down and up again with skips, twice, the first heat map fed back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 32, 7, 2, nn.ReLU)
        self.down = nn.ModuleList(conv(32, 32, act=nn.ReLU) for _ in range(6))
        self.skip = nn.ModuleList(conv(32, 32, 1, act=nn.ReLU) for _ in range(6))
        self.heads = nn.ModuleList(nn.Conv2d(32, 16, 1) for _ in range(2))
        self.back = nn.Conv2d(16, 32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) to two of (N, 16, S / 2, S / 2)."""
        y, heats = self.stem(x), []
        for glass in range(2):
            inside, kept = y, list[Tensor]()
            for level in range(3):
                kept.append(self.skip[3 * glass + level](y))
                y = self.down[3 * glass + level](F.max_pool2d(y, 2))
            for skip in reversed(kept):
                y = F.interpolate(y, size=skip.shape[2:]) + skip
            heats.append(self.heads[glass](y))
            y = y + inside + self.back(heats[-1])
        return heats[0], heats[1]


class FastDepth(nn.Module):
    """Separable encoder and decoder with nearest-neighbour upsampling: one map of depth."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        self.down = nn.ModuleList(conv(a, b, 3, 2, nn.ReLU6) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, a, 5, padding=2, groups=a), conv(a, b, 1, act=nn.ReLU))
            for a, b in ((128, 64), (64, 32), (32, 16), (16, 16))
        )
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 1, S, S)."""
        kept = [x]
        for step in self.down:
            kept.append(step(kept[-1]))
        y = kept[-1]
        for step, skip in zip(self.up, kept[-2::-1], strict=True):
            y = F.interpolate(step(y), scale_factor=2.0)
            if skip.shape[1] == y.shape[1]:
                y = y + skip
        return self.last(y)


class MidasHead(nn.Module):
    """Features fused from coarse to fine by bilinear upsampling with aligned corners."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([conv(3, 32, 3, 4), conv(32, 48, 3, 2), conv(48, 64, 3, 2)])
        self.side = nn.ModuleList(nn.Conv2d(k, 32, 3, padding=1) for k in (32, 48, 64))
        self.fuse = nn.ModuleList(conv(32, 32, act=nn.ReLU) for _ in range(3))
        self.head = nn.Sequential(nn.Conv2d(32, 1, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, S, S), a disparity of at least 0."""
        found = [x]
        for level in self.levels:
            found.append(level(found[-1]))
        y: Tensor | None = None
        for side, fuse, features in zip(
            list(self.side)[::-1], self.fuse, found[:0:-1], strict=True
        ):
            here = side(features)
            y = fuse(here if y is None else here + y)
            y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=True)
        assert y is not None
        return F.interpolate(self.head(y), size=x.shape[2:], mode="bilinear").squeeze(1)


class UNet(nn.Module):
    """The classic, with transposed convolutions and joined skips."""

    def __init__(self, inside: int = 3, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        w = [width << level for level in range(4)]
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, act=nn.ReLU), conv(b, b, act=nn.ReLU))
            for a, b in zip([inside, *w], w, strict=False)
        )
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(w))
        self.up = nn.ModuleList(conv(2 * a, a, act=nn.ReLU) for a in w[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, S, S) to (N, classes, S, S)."""
        kept: list[Tensor] = []
        for step in self.down:
            x = step(F.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        for level in (2, 1, 0):
            x = self.up[level](torch.cat([kept[level], self.grow[level](x)], 1))
        return self.head(x)


class UNet3d(nn.Module):
    """A volume with 3-D convolutions, pooling and upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv3d(8, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU())
        self.up = nn.ConvTranspose3d(16, 8, 2, 2)
        self.head = nn.Conv3d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, D, H, W) to (N, 3, D, H, W)."""
        first = self.first(x)
        deep = self.deep(F.max_pool3d(first, 2))
        return self.head(torch.cat([first, self.up(deep)], 1))


class Ceiling(nn.Module):
    """Pooling that rounds up, padded averages, adaptive sizes (SqueezeNet, Caffe's networks)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16, 3, 2), conv(16, 32), conv(32, 48)
        self.head = nn.Linear(48 * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 10)."""
        x = F.max_pool2d(self.a(x), 3, 2, ceil_mode=True)
        x = F.avg_pool2d(self.b(x), 3, 2, 1, ceil_mode=True, count_include_pad=True)
        x = F.avg_pool2d(self.c(x), 3, 1, 1, count_include_pad=False)
        return self.head(F.adaptive_avg_pool2d(x, 3).flatten(1))


class Espcn(nn.Module):
    """Super-resolution by pixel shuffle."""

    def __init__(self, scale: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
            nn.Conv2d(32, scale**2, 3, padding=1), nn.PixelShuffle(scale),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, S, S) to (N, 1, 3 S, 3 S)."""
        return self.net(x)


class Residual(nn.Module):
    """Two layers beside an identity."""

    def __init__(self, width: int, norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        pad, layers = nn.ReflectionPad2d if norm else nn.ZeroPad2d, []
        for last in (False, True):
            layers += [pad(1), nn.Conv2d(width, width, 3)]
            layers += [norm(width)] if norm else []
            layers += [] if last else [nn.ReLU()]
        self.inner = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return x + self.inner(x)


class Edsr(nn.Module):
    """Residual blocks without normalisation, then two pixel shuffles."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.body = nn.Sequential(*(Residual(32) for _ in range(4)))
        self.up = nn.Sequential(
            nn.Conv2d(32, 128, 3, padding=1), nn.PixelShuffle(2),
            nn.Conv2d(32, 128, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(32, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 3, 4 S, 4 S)."""
        y = self.first(x)
        return self.up(y + self.body(y))


class Fsrcnn(nn.Module):
    """Super-resolution by one transposed convolution with PReLU layers before it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.PReLU(32), nn.Conv2d(32, 8, 1), nn.PReLU(8),
            nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 32, 1), nn.PReLU(32),
            nn.ConvTranspose2d(32, 1, 9, 2, 4, output_padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, S, S) to (N, 1, 2 S, 2 S)."""
        return self.net(x)


class Bicubic(nn.Module):
    """The picture itself made larger bicubically, a network's residual added (VDSR)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(3, 32, act=nn.ReLU), conv(32, 32, act=nn.ReLU), nn.Conv2d(32, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 3, 2 S, 2 S)."""
        y = F.interpolate(x, scale_factor=2.0, mode="bicubic", align_corners=False)
        return (y + self.net(y)).clamp(0, 1)


class OddResize(nn.Module):
    """Resizes by a factor that is no whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 3, 1.7 S, 1.7 S)."""
        return self.b(F.interpolate(self.a(x), scale_factor=1.7, mode="bilinear"))


class Dcgan(nn.Module):
    """A vector to a picture by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (64, 128, 64, 32, 16)
        for index, (a, b) in enumerate(pairwise(widths)):
            step = (1, 0) if index == 0 else (2, 1)
            layers += [nn.ConvTranspose2d(a, b, 4, *step, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, 64) to (N, 3, 64, 64)."""
        return self.net(z[:, :, None, None])


class CycleGan(nn.Module):
    """Reflection padding, instance normalisation, residual blocks."""

    def __init__(self) -> None:
        super().__init__()

        def norm(k: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(k), nn.ReLU()]

        self.net = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, 16, 7), *norm(16),
            nn.Conv2d(16, 32, 3, 2, 1), *norm(32), nn.Conv2d(32, 64, 3, 2, 1), *norm(64),
            *(Residual(64, nn.InstanceNorm2d) for _ in range(3)),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), *norm(32),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), *norm(16),
            nn.ReflectionPad2d(3), nn.Conv2d(16, 3, 7), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return self.net(x)


class StyleGan(nn.Module):
    """Weights modulated by a style and demodulated, per sample, as StyleGAN2 does."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32))
        self.start = nn.Parameter(torch.randn(1, 32, 8, 8))
        self.style = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
        self.weight = nn.ParameterList(nn.Parameter(torch.randn(32, 32, 3, 3)) for _ in range(3))
        self.rgb = nn.Conv2d(32, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        """(1, 32) to (1, 3, 64, 64)."""
        z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        style, x = self.map(z), self.start
        for affine, weight in zip(self.style, self.weight, strict=True):
            scale = affine(style)[0] + 1
            here = weight * scale[None, :, None, None]
            here = here * (here.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt()
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.leaky_relu(F.conv2d(x, here, padding=1), 0.2)
        return self.rgb(x)


class AutoEncoder(nn.Module):
    """Strided convolutions to a vector and back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 64, 32),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Linear(32, 32 * 64), nn.ReLU(), nn.Unflatten(1, (32, 8, 8)),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, 2, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays, (N, 1, 32, 32)."""
        return self.up(self.down(x))


class VaeDecoder(nn.Module):
    """Group normalisation, SiLU, one head of attention, nearest upsampling (latent diffusion)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 64, 3, padding=1)
        self.norm = nn.GroupNorm(16, 64)
        self.qkv, self.out = nn.Conv2d(64, 192, 1), nn.Conv2d(64, 64, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(16, 64), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1),
                nn.GroupNorm(16, 64), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1),
            )
            for _ in range(2)
        )  # fmt: skip
        self.last = nn.Sequential(nn.GroupNorm(16, 64), nn.SiLU(), nn.Conv2d(64, 3, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """(N, 4, S, S) to (N, 3, 4 S, 4 S)."""
        x = self.first(z)
        n, k, h, w = x.shape
        q, key, v = self.qkv(self.norm(x)).view(n, 3, k, h * w).transpose(2, 3).unbind(1)
        x = x + self.out(F.scaled_dot_product_attention(q, key, v).transpose(1, 2).view(n, k, h, w))
        for block in self.blocks:
            x = F.interpolate(x + block(x), scale_factor=2.0)
        return self.last(x)


class VqVae(nn.Module):
    """The nearest entry of a code book by arg-min and look-up."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(3, 16, 3, 2, nn.ReLU), nn.Conv2d(16, 16, 3, 2, 1))
        self.book = nn.Embedding(32, 16)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        z = self.down(x).permute(0, 2, 3, 1)
        far = (
            z.square().sum(-1, keepdim=True) - 2 * z @ self.book.weight.T
            + self.book.weight.square().sum(1)
        )  # fmt: skip
        return self.up(self.book(far.argmin(-1)).permute(0, 3, 1, 2))


class Diffusion(nn.Module):
    """A denoiser: a step's sinusoidal embedding, FiLM, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.first, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 3, 3, padding=1)
        self.norm, self.inner = nn.GroupNorm(8, 32), nn.Conv2d(32, 32, 3, padding=1)
        self.register_buffer("rates", torch.exp(-torch.arange(16) * 0.6))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """(1, 3, S, S) and a step (1,) to the noise."""
        angles = step[:, None] * self.rates
        scale, shift = self.time(torch.cat([angles.sin(), angles.cos()], 1)).chunk(2, 1)
        x = self.first(x)
        y = self.norm(x) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return self.last(x + self.inner(F.silu(y)))


class Recurrent(nn.Module):
    """A recurrent layer over a sequence, its last step to classes."""

    def __init__(self, kind: str, layers: int = 1, *, both: bool = False) -> None:
        super().__init__()
        cls = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.cells = cls(12, 24, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(48 if both else 24, 6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 12) to (N, 6)."""
        return self.head(self.cells(x)[0][:, -1])


class Crnn(nn.Module):
    """Text recognition: convolutions, columns as steps, a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(1, 16, act=nn.ReLU), nn.MaxPool2d(2), conv(16, 32, act=nn.ReLU), nn.MaxPool2d(2),
            conv(32, 48, act=nn.ReLU), nn.MaxPool2d((8, 1)),
        )  # fmt: skip
        self.cells = nn.LSTM(48, 32, bidirectional=True, batch_first=True)
        self.head = nn.Linear(64, 37)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, W) to (N, W / 4, 37)."""
        columns = self.net(x).squeeze(2).transpose(1, 2)
        return self.head(self.cells(columns)[0]).log_softmax(-1)


class Stepwise(nn.Module):
    """A cell whose state is an input and an output, for streaming."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(16, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 16) and (1, 32) to (1, 8) and the next state."""
        state = self.cell(x, state)
        return self.head(state), state


class DsCnn(nn.Module):
    """Keyword spotting on a spectrogram by separable convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(1, 32, 3, 2, nn.ReLU)]
        for _ in range(3):
            layers += [nn.Conv2d(32, 32, 3, padding=1, groups=32), conv(32, 32, 1, act=nn.ReLU)]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 12))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 49, 10) to (N, 12)."""
        return self.net(x)


class RawAudio(nn.Module):
    """1-D convolutions with long kernels and strides on samples of sound (M5)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, out, kernel, stride in ((1, 16, 80, 4), (16, 32, 3, 1), (32, 32, 3, 1)):
            layers += [nn.Conv1d(inside, out, kernel, stride), nn.BatchNorm1d(out), nn.ReLU()]
            layers += [nn.MaxPool1d(4)]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, T) to (N, 10)."""
        return self.net(x)


class Spectrogram(nn.Module):
    """The short-time Fourier transform inside the graph, a mel-like bank, convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(256))
        self.register_buffer("bank", torch.rand(129, 32).square())
        self.net = nn.Sequential(
            conv(1, 16, 3, 2, nn.ReLU), conv(16, 32, 3, 2, nn.ReLU),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4096) to (N, 8)."""
        found = torch.stft(x, 256, 128, window=self.window, return_complex=True).abs().square()
        mel = (found.transpose(1, 2) @ self.bank + 1e-3).log()
        return self.net(mel[:, None])


class Tcn(nn.Module):
    """Causal dilated 1-D convolutions with residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 24, 1)
        self.steps = nn.ModuleList(nn.Conv1d(24, 24, 3, dilation=1 << k) for k in range(4))
        self.head = nn.Conv1d(24, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 8, T) to (N, 5, T)."""
        x = self.first(x)
        for level, step in enumerate(self.steps):
            x = x + F.relu(step(F.pad(x, (2 << level, 0))))
        return self.head(x)


class Separator(nn.Module):
    """Encoder, mask, decoder on samples of sound (Conv-TasNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv1d(1, 32, 16, 8, bias=False)
        self.mask = nn.Sequential(
            nn.GroupNorm(1, 32), nn.Conv1d(32, 32, 1), nn.PReLU(),
            nn.Conv1d(32, 32, 3, padding=2, dilation=2, groups=32), nn.PReLU(),
            nn.Conv1d(32, 64, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.decode = nn.ConvTranspose1d(32, 1, 16, 8, output_padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, T) to two sources, (2, 1, T')."""
        found = self.encode(x)
        masks = self.mask(found).view(2, 32, -1)
        return self.decode(found * masks)


class Vocoder(nn.Module):
    """Mel frames to samples of sound by 1-D transposed convolutions (HiFi-GAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(20, 64, 7, padding=3)
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(64 >> k, 32 >> k, 2 * s, s, s // 2 + s % 2, s % 2)
            for k, s in enumerate((8, 5))
        )
        self.mix = nn.ModuleList(
            nn.Conv1d(32 >> k, 32 >> k, 3, padding=3, dilation=3) for k in range(2)
        )
        self.last = nn.Conv1d(16, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 20, T) to (N, 1, 40 T)."""
        x = self.first(x)
        for up, mix in zip(self.up, self.mix, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = x + mix(F.leaky_relu(x, 0.1))
        return self.last(F.leaky_relu(x)).tanh()


class Encoder(nn.Module):
    """Embeddings and PyTorch's own transformer layers, padding masked."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(200, 32), nn.Parameter(torch.randn(1, 16, 32) * 0.3)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Numbers of words and a mask, (1, 16) of int64, to (1, 4)."""
        x = self.layers(self.words(ids) + self.places, src_key_padding_mask=mask == 0)
        return self.head((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class Decoder(nn.Module):
    """A causal language model of one layer with rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(200, 32)
        self.norm, self.qkv, self.out = nn.RMSNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.gate, self.up, self.down = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 32)
        angles = torch.outer(torch.arange(16.0), 10 ** -torch.arange(4.0))
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))

    def turned(self, x: Tensor) -> Tensor:
        """Rotary embedding of (1, heads, T, 8)."""
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, ids: Tensor) -> Tensor:
        """(1, 16) of int64 to scores (1, 16, 200)."""
        x = self.words(ids)
        q, k, v = self.qkv(self.norm(x)).view(1, 16, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(1, 16, 32))
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return x @ self.words.weight.T


class Warp(nn.Module):
    """A spatial transformer: an affine grid from the picture, sampled bilinearly."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            conv(3, 8, 3, 4), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6)
        )
        self.net = nn.Sequential(conv(3, 16, 3, 2), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 10)."""
        turn = self.look(x).view(-1, 2, 3) * 0.2 + torch.eye(2, 3)
        grid = F.affine_grid(turn, list(x.shape), align_corners=False)
        return self.head(self.net(F.grid_sample(x, grid, align_corners=False)))


class FourierMixer(nn.Module):
    """Tokens mixed by the real part of a Fourier transform (FNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 64, 64) to (N, 10)."""
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = self.norms[0](x + torch.fft.fft2(x).real / 8)
        return self.head(self.norms[1](x + self.mlp(x)).mean(1))


class PointNet(nn.Module):
    """Points as rows, a maximum over all of them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU()]
        self.net, self.head = nn.Sequential(*layers), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, points) to (N, 10)."""
        return self.head(self.net(x).amax(2))


class StGcn(nn.Module):
    """Skeletons: graph convolution by einsum, convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = nn.Parameter(torch.rand(3, 17, 17).softmax(-1))
        self.a, self.b = nn.Conv2d(3, 3 * 32, 1), nn.Conv2d(32, 32, (9, 1), (2, 1), (4, 0))
        self.norm, self.head = nn.BatchNorm2d(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, T, 17) to (N, 10)."""
        n, _, t, v = x.shape
        y = torch.einsum("nkctv,kvw->nctw", self.a(x).view(n, 3, 32, t, v), self.graph)
        return self.head(self.b(self.norm(y).relu()).relu().mean((2, 3)))


class Tabular(nn.Module):
    """Numbers of a table through layers with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 64), nn.BatchNorm1d(64), nn.SELU(), nn.Linear(64, 64), nn.Softplus(),
            nn.Linear(64, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 20) to (N, 3)."""
        return self.net(x)


class Siamese(nn.Module):
    """Two pictures through one network: shared weights, distance of unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(3, 16, 3, 2), conv(16, 32, 3, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(128, 32),
        )  # fmt: skip

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Two of (N, 3, S, S) to the cosine (N,) and the first embedding (N, 32)."""
        one, two = (F.normalize(self.net(x), dim=1) for x in (a, b))
        return (one * two).sum(1), one
