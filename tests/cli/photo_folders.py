"""A user's folder: images of two classes, two folders of others, and a module with networks."""

from pathlib import Path

import numpy as np
from PIL import Image

NETS = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return {"logits": self.head(self.drop(torch.relu_(self.norm(self.stem(x)))).mean((2, 3)))}

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 28 * 28, 2)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Sized(Small):
    image_size = 12

class Own(Small):
    image_size = 8

def headless():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AvgPool2d(6), nn.Flatten())

def broken():
    raise RuntimeError("no file")

made = Small(2).half().to(memory_format=torch.channels_last)
"""


def make_photos(root: Path) -> str:
    """Write the folder; gives the module's name."""
    generator = np.random.default_rng(0)
    for name, count in {"things/cats": 20, "things/dogs": 20, "leaves": 12, "stones": 12}.items():
        (root / "photos" / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{number}.png")
    module = f"nets_{root.name.replace('-', '_')}"
    (root / f"{module}.py").write_text(NETS)
    return module
