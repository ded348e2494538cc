"""How much memory a run takes at its peak as its sets grow: 1,000 and 50,000 images of an ID and an OOD set.

Every figure is the peak of a process of its own (VmHWM), in which the sets lie in the cache of decoded sets, or stand
in memory (`--in-memory`: the cache cannot be written). The images are drawn; the detector is a small convolution.

    python benchmarks/large_sets.py --side 32 --out large-sets.json
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZES = (1_000, 50_000)
WAYS = ("clean", "attack")
LIMIT = 200


def main() -> None:
    """A line a size and way, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32, help="height and width of the images")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="images of each set")
    parser.add_argument("--in-memory", action="store_true", help="without the cache of decoded sets")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "WAY"), default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(measure(Path(options.child[0]), options.child[1], options.side)))
        return
    rows = [row for size in options.sizes for row in rows_of(size, options)]
    for row in rows:
        first = next(one for one in rows if one["way"] == row["way"])
        print(f"{row['way']}, {row['images']:,} images: {row['mb']:,} MB, {row['mb'] / first['mb']:.2f} times")
    if options.out is not None:
        options.out.write_text(json.dumps({"side": options.side, "rows": rows}, indent=1) + "\n")


def rows_of(size: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """Both ways with sets of one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache"
        cache.mkdir()
        if options.in_memory:
            (cache / "robustood").write_text("a file in the place of the folder")
        for number, kind in enumerate(("id", "ood")):
            shape = (size, options.side, options.side, 3)
            images = np.random.default_rng(number).integers(256, size=shape, dtype=np.uint8) // (1 + number)
            np.savez(folder / f"{kind}.npz", images=images, labels=np.arange(size) % 10)
        rows = []
        for way in ("decode", *WAYS):
            command = [sys.executable, __file__, "--side", str(options.side), "--child", name, way]
            environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
            rows.append({"images": size, "way": way, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def measure(folder: Path, way: str, side: int) -> dict[str, object]:
    """The peak of this process after one run, and a digest of its scores."""
    import torch

    import bench
    from bench.cards.track import TrackCard
    from bench.datasets.track import Track

    own = {"source": "npz", "args": {"file": "id.npz"}}
    card = TrackCard.model_validate(
        {
            "name": "large", "summary": "", "shape": (3, side, side), "classes": 10, "default_limit": 1_000,
            "train": own, "calibration": {**own, "stop": 500}, "test": own,
            "ood": {"other": {"source": "npz", "args": {"file": "ood.npz"}}},
        }
    )  # fmt: skip
    digest = hashlib.sha256()
    if way == "decode":
        for name in ("test", "calibration", "other"):
            Track(card, folder).set(name)
    else:
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(8, 10),
        )  # fmt: skip
        limit = 10**6 if way == "clean" else LIMIT
        threat = "clean" if way == "clean" else "pgd-l2"
        settings = {} if way == "clean" else {"eps": "l2:0.5", "steps": 4, "restarts": 1}
        for cell in bench.evaluate(network, threat, card, data_dir=folder, limit=limit, **settings).cells:
            digest.update(cell.samples["score"].to_numpy().tobytes())
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return {"mb": peak // 1024, "scores": digest.hexdigest()}


if __name__ == "__main__":
    main()
