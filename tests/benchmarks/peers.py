"""The same networks as a PyTorch user would write them, with our weights.

Opponents of the benchmarks; each is checked equal to ours before it is timed. They use
what PyTorch is fastest at: its fused LSTM and Adam, images stored channels last, and on
a GPU `torch.compile` with bfloat16 products.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TASKS = ("va", "expr", "au")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ALPHA, BETA, TEMPERATURE = 10.0, 0.9, 2.5


class Network(nn.Module):
    """Parameters and running statistics by our paths, in PyTorch's layouts."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        super().__init__()
        for path, value in _leaves(variables["params"]):
            values = nn.Parameter(_tensor(value))
            self.register_parameter(path, values)
        for path, value in _leaves(variables["batch_stats"]):
            self.register_buffer(path, _tensor(value))

    def named(self, path: str) -> Tensor:
        return getattr(self, path.replace("/", "__"))

    def norm(self, x: Tensor, path: str, eps: float, momentum: float) -> Tensor:
        return F.batch_norm(
            x,
            self.named(f"{path}/mean"),
            self.named(f"{path}/var"),
            self.named(f"{path}/scale"),
            self.named(f"{path}/bias"),
            self.training,
            1 - momentum,
            eps,
        )

    def dense(self, x: Tensor, path: str) -> Tensor:
        return F.linear(x, self.named(f"{path}/kernel"), self.named(f"{path}/bias"))


class Heads(Network):
    """LSTM, extractor, task heads and discriminator."""

    def __init__(self, variables: Mapping[str, Any], dropout: float) -> None:
        own = {k: v for k, v in variables["params"].items() if k != "lstm"}
        super().__init__({**variables, "params": own})
        self.dropout = dropout
        lstm = {k: _tensor(v) for k, v in variables["params"]["lstm"].items()}
        gates, depth = lstm["input_kernel"].shape
        self.lstm = nn.LSTM(depth, gates // 4, batch_first=True, device=DEVICE)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(lstm["input_kernel"])
            self.lstm.weight_hh_l0.copy_(lstm["recurrent_kernel"])
            self.lstm.bias_ih_l0.copy_(lstm["bias"])
            self.lstm.bias_hh_l0.zero_().requires_grad_(False)

    def block(self, x: Tensor, path: str, dropout: float = 0.0) -> Tensor:
        x = self.norm(self.dense(x, f"{path}/dense"), f"{path}/norm", 1e-3, 0.99)
        return F.dropout(F.silu(x), dropout, self.training)

    def tower(self, x: Tensor, path: str) -> Tensor:
        for number in (1, 2):
            x = self.block(x, f"{path}/block{number}")
        return self.dense(x, f"{path}/output")

    def forward(self, image: Tensor, sound: Tensor) -> dict[str, Tensor]:
        _, (hidden, _) = self.lstm(image)
        x = torch.cat([hidden[0], sound], -1)
        for number in (1, 2):
            x = self.block(x, f"extractor/block{number}", self.dropout)
        return {
            "va": torch.tanh(self.tower(x, "va")),
            "expr": self.tower(x, "expr"),
            "au": self.tower(x, "au"),
            "task": self.tower(_Reversal.apply(x), "discriminator"),
        }


class ImageEncoder(Network):
    """ResNeXt with parallel attention; ``[N, 3, H, W]`` to ``[N, D]``."""

    def __init__(
        self, variables: Mapping[str, Any], stage_sizes: Sequence[int], groups: int
    ) -> None:
        super().__init__(variables)
        self.stage_sizes, self.groups = stage_sizes, groups

    def conv(self, x: Tensor, path: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = self.named(f"{path}/kernel")
        size = kernel.shape[-1]
        if stride > 1 and size > 1:  # TensorFlow's SAME is not symmetric
            total = (-(-x.shape[-1] // stride) - 1) * stride + size - x.shape[-1]
            low, high = total // 2, total - total // 2
            x, padding = F.pad(x, (low, high, low, high)), 0
        else:
            padding = size // 2
        bias = self.named(f"{path}/bias")
        return F.conv2d(x, kernel, bias, stride, padding, groups=groups)

    def block(self, x: Tensor, at: str, stride: int) -> Tensor:
        shortcut = x
        if stride > 1:
            shortcut = self.conv(x, f"{at}/shortcut_conv", stride)
            shortcut = self.norm(shortcut, f"{at}/shortcut_norm", 1e-3, 0.9)
        y = self.norm(self.conv(x, f"{at}/conv1", stride), f"{at}/norm1", 1e-3, 0.9)
        y = self.conv(F.relu(y), f"{at}/conv2", groups=self.groups)
        y = F.relu(self.norm(y, f"{at}/norm2", 1e-3, 0.9) + shortcut)
        channel = F.relu(self.dense(y.mean((2, 3)), f"{at}/channel_attention/reduce"))
        channel = self.dense(channel, f"{at}/channel_attention/expand")
        spatial = self.conv(y, f"{at}/spatial_attention")
        return y * (channel.sigmoid()[:, :, None, None] + spatial.sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv(images, "stem_conv", 2), "stem_norm", 1e-3, 0.9)
        x = F.max_pool2d(F.relu(x), 3, 2, ceil_mode=True)
        for stage, blocks in enumerate(self.stage_sizes, 1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                x = self.block(x, f"stage{stage}_block{block}", stride)
        return x.mean((2, 3))


class EndToEnd(nn.Module):
    """uint8 frames and int16 sound to the outputs of the heads, encoders trained."""

    def __init__(
        self,
        variables: Mapping[str, Any],
        dropout: float,
        stage_sizes: Sequence[int],
        groups: int,
    ) -> None:
        super().__init__()

        def part(name: str) -> dict[str, Any]:
            return {kind: variables[kind][name] for kind in ("params", "batch_stats")}

        image = ImageEncoder(part("image_encoder"), stage_sizes, groups)
        self.image = image.to(memory_format=torch.channels_last)
        self.sound = SoundNet(part("sound_encoder"))
        self.heads = Heads(part("heads"), dropout)

    def forward(self, frames: Tensor, waveform: Tensor) -> dict[str, Tensor]:
        images = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        images = F.interpolate(images, scale_factor=2, mode="bilinear")
        features = self.image(images).reshape(*frames.shape[:2], -1)
        objects, _ = self.sound(waveform.float() * (256 / 2**15))
        return self.heads(features, objects.float().softmax(1).mean(2))


class SoundNet(Network):
    """SoundNet-8; ``[N, S]`` to logits ``[N, 1000, T]`` and ``[N, 401, T]``."""

    PADDING_AND_POOL = ((32, 8), (16, 8), (8, 1), (4, 1), (2, 4), (2, 1), (2, 1))

    def conv(self, x: Tensor, path: str, padding: int = 0) -> Tensor:
        kernel, bias = self.named(f"{path}/kernel"), self.named(f"{path}/bias")
        return F.conv1d(x, kernel, bias, 2, padding)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        x = waveform[:, None]
        for layer, (padding, pool) in enumerate(self.PADDING_AND_POOL, 1):
            x = self.conv(x, f"conv{layer}", padding)
            x = F.relu(self.norm(x, f"norm{layer}", 1e-5, 0.9))
            x = F.max_pool1d(x, pool) if pool > 1 else x
        return self.conv(x, "objects"), self.conv(x, "scenes")


def student_loss(
    task: str,
    outputs: Mapping[str, Tensor],
    soft: Mapping[str, Tensor],
    labels: Tensor,
    delta: float,
) -> Tensor:
    """Equation 13 for a batch that was drawn for ``task``, all gamma 1."""
    supervised = {
        "va": lambda: _ccc_loss(outputs["va"], labels),
        "expr": lambda: F.cross_entropy(outputs["expr"], labels),
        "au": lambda: F.binary_cross_entropy_with_logits(outputs["au"], labels),
    }[task]()
    distilled = {
        "va": _ccc_loss(outputs["va"], soft["va"]),
        "expr": F.cross_entropy(
            outputs["expr"] / TEMPERATURE, (soft["expr"] / TEMPERATURE).softmax(-1)
        ),
        "au": F.binary_cross_entropy_with_logits(outputs["au"], soft["au"].sigmoid()),
    }
    domain = torch.full((len(labels),), TASKS.index(task), device=DEVICE)
    loss = ALPHA * supervised + delta * F.cross_entropy(outputs["task"], domain)
    for other, term in distilled.items():
        loss = loss + (1.0 if other == task else BETA) * term
    return loss


def _ccc_loss(predictions: Tensor, labels: Tensor, eps: float = 1e-8) -> Tensor:
    mean, label_mean = predictions.mean(0), labels.mean(0)
    p, y = predictions - mean, labels - label_mean
    below = (p**2).mean(0) + (y**2).mean(0) + (mean - label_mean) ** 2 + eps
    return (1 - (2 * (p * y).mean(0) + eps) / below).mean()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def _leaves(tree: Mapping[str, Any], path: str = "") -> Any:
    for name, value in tree.items():
        at = f"{path}__{name}" if path else name
        if isinstance(value, Mapping):
            yield from _leaves(value, at)
        else:
            yield at, value


def _tensor(value: Any) -> Tensor:
    """Ours are ``[..., in, out]``, PyTorch's ``[out, in, ...]``."""
    array = np.asarray(value)
    if array.ndim > 1:
        array = np.moveaxis(array, (-1, -2), (0, 1))
    return torch.from_numpy(np.ascontiguousarray(array).copy()).to(DEVICE)
