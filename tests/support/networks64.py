"""The networks once more, in float64 NumPy, written from their published description.

Oracles for the tests of the models: nothing here imports the package. Variables are
looked up by path, so a name that changes is noticed as well.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SOUND_LAYERS = (
    (64, 32, 8),
    (32, 16, 8),
    (16, 8, 1),
    (8, 4, 1),
    (4, 2, 4),
    (4, 2, 1),
    (4, 2, 1),
)


class Weights:
    """Variables by path, and batch normalisation in either mode."""

    def __init__(self, variables, *, train=False):
        self.tree, self.train = variables, train

    def __call__(self, path, collection="params"):
        node = self.tree[collection]
        for name in path.split("/"):
            node = node[name]
        return np.asarray(node, np.float64)

    def norm(self, x, path, eps):
        if self.train:
            axes = tuple(range(x.ndim - 1))
            mean, var = x.mean(axes), x.var(axes)
        else:
            mean = self(f"{path}/mean", "batch_stats")
            var = self(f"{path}/var", "batch_stats")
        scale, bias = self(f"{path}/scale"), self(f"{path}/bias")
        return (x - mean) / np.sqrt(var + eps) * scale + bias

    def dense(self, x, path):
        return x @ self(f"{path}/kernel") + self(f"{path}/bias")


def random_variables(shapes, *, gain=1.5, seed=0):
    """Fills a tree of shapes: kernels that keep the scale, statistics that matter."""
    rng = np.random.default_rng(seed)

    def fill(name, tree):
        if isinstance(tree, dict):
            return {key: fill(key, tree[key]) for key in sorted(tree)}
        shape = tree.shape
        if name == "var":
            values = rng.uniform(0.5, 2.0, shape)
        elif name == "scale":
            values = rng.uniform(0.5, 1.5, shape)
        elif name in ("mean", "bias"):
            values = 0.2 * rng.standard_normal(shape)
        else:
            values = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[:-1]))
        return values.astype(np.float32)

    return fill("", shapes)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # never overflows


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def same_windows(x, size, stride, fill=0.0):
    """``[N, Ho, Wo, C, size, size]`` under TensorFlow's SAME padding."""
    pads = []
    for length in x.shape[1:3]:
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    return sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]


def convolution(x, kernel, stride=1, groups=1):
    windows = same_windows(x, kernel.shape[0], stride)
    depth, width = kernel.shape[2], kernel.shape[3] // groups
    return np.concatenate(
        [
            np.tensordot(
                windows[:, :, :, g * depth : (g + 1) * depth],
                kernel[..., g * width : (g + 1) * width],
                ((3, 4, 5), (2, 0, 1)),
            )
            for g in range(groups)
        ],
        -1,
    )


def max_pool(x):
    return same_windows(x, 3, 2, -np.inf).max((-1, -2))


def image_encoder(variables, images, *, stage_sizes, cardinality, train=False):
    w = Weights(variables, train=train)

    def conv(x, path, stride=1, groups=1):
        y = convolution(x, w(f"{path}/kernel"), stride, groups)
        return y + w(f"{path}/bias")

    x = conv(np.asarray(images, np.float64), "stem_conv", 2)
    x = max_pool(relu(w.norm(x, "stem_norm", 1e-3)))
    for stage, blocks in enumerate(stage_sizes, 1):
        for block in range(1, blocks + 1):
            at = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            shortcut = x
            if stride == 2:
                shortcut = conv(x, f"{at}/shortcut_conv", 2)
                shortcut = w.norm(shortcut, f"{at}/shortcut_norm", 1e-3)
            y = relu(w.norm(conv(x, f"{at}/conv1", stride), f"{at}/norm1", 1e-3))
            y = w.norm(conv(y, f"{at}/conv2", 1, cardinality), f"{at}/norm2", 1e-3)
            y = relu(y + shortcut)
            c = relu(w.dense(y.mean((1, 2)), f"{at}/channel_attention/reduce"))
            c = sigmoid(w.dense(c, f"{at}/channel_attention/expand"))
            s = sigmoid(conv(y, f"{at}/spatial_attention"))
            x = y * c[:, None, None] + y * s
    return x.mean((1, 2))


def convolution_1d(x, kernel, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    windows = sliding_window_view(x, kernel.shape[0], 1)[:, ::2]
    return np.tensordot(windows, kernel, ((2, 3), (1, 0)))


def soundnet(variables, waveform, *, train=False):
    w = Weights(variables, train=train)
    x = np.asarray(waveform, np.float64)[:, :, None]
    for layer, (_, padding, pool) in enumerate(SOUND_LAYERS, 1):
        x = convolution_1d(x, w(f"conv{layer}/kernel"), padding)
        x = relu(w.norm(x + w(f"conv{layer}/bias"), f"norm{layer}", 1e-5))
        x = x[:, : x.shape[1] // pool * pool]
        x = x.reshape(x.shape[0], -1, pool, x.shape[2]).max(2)
    return tuple(
        convolution_1d(x, w(f"{head}/kernel"), 0) + w(f"{head}/bias")
        for head in ("objects", "scenes")
    )


def lstm(weights, x, activation=np.tanh):
    """``weights``: input kernel, recurrent kernel, bias; gates i, f, c, o."""
    kernel, recurrent, bias = (np.asarray(a, np.float64) for a in weights)
    h = c = np.zeros((x.shape[0], recurrent.shape[0]))
    for t in range(x.shape[1]):
        z = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, -1)
        c = sigmoid(z[1]) * c + sigmoid(z[0]) * activation(z[2])
        h = sigmoid(z[3]) * activation(c)
    return h


def heads(variables, image, sound, *, depth=2, train=False, activation=np.tanh):
    """Task outputs without dropout; either stream may be None."""
    w = Weights(variables, train=train)

    def tower(x, name, output=True):
        for block in range(1, depth + 1):
            at = f"{name}/block{block}"
            x = w.norm(w.dense(x, f"{at}/dense"), f"{at}/norm", 1e-3)
            x = x * sigmoid(x)
        return w.dense(x, f"{name}/output") if output else x

    parts = []
    if image is not None:
        names = ("input_kernel", "recurrent_kernel", "bias")
        weights = [w(f"lstm/{name}") for name in names]
        parts.append(lstm(weights, np.asarray(image, np.float64), activation))
    if sound is not None:
        parts.append(np.asarray(sound, np.float64))
    shared = tower(np.concatenate(parts, -1), "extractor", output=False)
    return {
        "va": np.tanh(tower(shared, "va")),
        "expr": tower(shared, "expr"),
        "au": tower(shared, "au"),
        "task": tower(shared, "discriminator"),
    }
