"""Writes data/: filled shapes for the in-distribution set, rings and stripes for the OOD sets; 16x16 grey pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path("data")
ROWS, COLUMNS = np.mgrid[:16, :16] - 7.5
rng = np.random.default_rng(0)


def noisy(shape):
    grey = 0.8 * shape + 0.1 + 0.05 * rng.standard_normal((16, 16))
    return (255 * grey.clip(0, 1)).astype(np.uint8)


def disc():
    return np.hypot(ROWS, COLUMNS) < rng.uniform(4, 7)


def square():
    return np.maximum(abs(ROWS), abs(COLUMNS)) < rng.uniform(4, 7)


def ring():
    return disc() & (np.hypot(ROWS, COLUMNS) > 3.5)


def stripes():
    return np.sin(ROWS * rng.uniform(0.8, 2) + rng.uniform(0, 6)) > 0


labels = np.arange(600) % 2
filled = np.stack([noisy(square() if label else disc()) for label in labels])[..., None]
rings = np.stack([noisy(ring()) for _ in range(100)])[..., None]
(DATA / "stripes").mkdir(parents=True, exist_ok=True)
np.savez_compressed(DATA / "filled.npz", images=filled, labels=labels)
np.savez_compressed(DATA / "rings.npz", images=rings)
for number in range(50):
    Image.fromarray(noisy(stripes())).save(DATA / "stripes" / f"{number:02}.png")
