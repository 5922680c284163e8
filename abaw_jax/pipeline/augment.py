"""Augmentation of images: random changes that keep their labels valid."""

import numpy as np

from abaw_jax.pipeline.items import Item


def augment_frames(item: Item, rng: np.random.Generator) -> Item:
    """Mirrors, shifts and lightens or darkens each window's ``frames`` as one.

    Shifts are up to a tenth of the side; the edge is repeated. The labels stay valid,
    and an encoder overfits less to the few people it is trained on.
    """
    frames = item["frames"]  # uint8 [B, T, H, W, 3]
    windows, (height, width) = len(frames), frames.shape[2:4]
    reach = max(1, height // 10)
    around = (reach, reach)
    padded = np.pad(frames, ((0, 0), (0, 0), around, around, (0, 0)), mode="edge")
    down, aside = rng.integers(0, 2 * reach + 1, (2, windows)).tolist()
    mirrored = rng.random(windows) < 0.5
    light = rng.uniform(0.8, 1.25, (windows, 1, 1, 1, 1)).astype(np.float32)
    varied = np.empty_like(frames)
    for k, (y, x) in enumerate(zip(down, aside, strict=True)):
        window = padded[k, :, y : y + height, x : x + width]
        varied[k] = window[:, :, ::-1] if mirrored[k] else window
    lit = varied * light
    return {**item, "frames": np.minimum(lit, 255, out=lit).astype(np.uint8)}
