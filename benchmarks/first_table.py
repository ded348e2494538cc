"""How long a newcomer waits for the first table of a network of their own: what the README says, typed by a program.

It makes three folders of pictures and an untrained ResNet-18, takes the commands from the README, and runs each as a
process of its own in that folder. The figures of such a network mean nothing; the seconds do.

python benchmarks/first_table.py
python benchmarks/first_table.py --images 200 --side 64 --json first_table.json
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

README = Path(__file__).parents[1] / "README.md"
SECTION = "## Your own network, in three commands"
CLASSES = 4


def main() -> None:
    """Run `bench --help` and the commands of the README, and print the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="pictures of each folder")
    parser.add_argument("--side", type=int, default=64, help="their height and width")
    parser.add_argument("--json", type=Path, help="also write the seconds to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), asked.images, asked.side)
        seconds = {line: typed(line, Path(folder)) for line in ["bench --help", *commands(README.read_text())]}
    for line, took in seconds.items():
        print(f"{took:8.1f} s  {line}")
    print(f"{sum(seconds.values()):8.1f} s  from `bench --help` to the table")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"seconds": seconds, "total": sum(seconds.values())}, indent=2) + "\n")


def commands(text: str) -> list[str]:
    """The commands of the README's section, continued lines joined."""
    fence = re.search(r"```text\n(.*?)```", text[text.index(SECTION) :], re.S)
    assert fence is not None, f"the README has no commands below {SECTION!r}"
    return fence[1].replace("\\\n", " ").splitlines()


def make_folder(folder: Path, images: int, side: int) -> None:
    """What the commands name: `photos/objects` with folders of classes, two of other pictures, and `mine.pth`."""
    import torch
    from torchvision.models import resnet18

    rng = np.random.default_rng(0)
    classes = [f"objects/c{number}" for number in range(CLASSES)]
    for number, name in enumerate([*classes, "textures", "numbers"]):
        place = folder / "photos" / name
        place.mkdir(parents=True)
        for index in range(images // CLASSES if name in classes else images):
            ramp = np.linspace(0, 6 + number, side)[:, None, None] + np.linspace(0, 3 * number + 1, side)[None, :, None]
            pixels = 128 + 60 * np.sin(ramp + rng.random(3) * 6) + rng.normal(0, 20, (side, side, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{index:04d}.png")
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=CLASSES).state_dict(), folder / "mine.pth")


def typed(line: str, folder: Path) -> float:
    """Seconds that a command takes; one that fails ends this with what it said."""
    began = time.perf_counter()
    words = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"`{line}` ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    if " run " in line:
        print(done.stdout)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
