"""A workspace whose runs take a fraction of a second: dark images are in-distribution, bright ones are not."""

import itertools
import json
import textwrap
from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from bench.cli.app import app
from bench.datasets.base import content_digest

_numbers = itertools.count()

METHODS = """
    import numpy as np

    from bench.datasets.base import RawImages
    from bench.detectors.base import Detector, DetectorInfo

    def images(args, data_dir):
        rng = np.random.default_rng(args["seed"])
        pixels = rng.integers(args["low"], args["high"], size=(args["count"], 4, 4, 1), dtype=np.uint8)
        return RawImages(pixels, np.arange(args["count"], dtype=np.int64) % 2)

    class Dark(Detector):
        info = DetectorInfo(classifier=False)

        def score(self, x, *, noise=None):
            return -x.flatten(1).mean(1)

    class Corner(Dark):
        def score(self, x, *, noise=None):
            return -x.flatten(1)[:, 0]

    class Nan(Dark):
        def score(self, x, *, noise=None):
            return super().score(x) * float("nan")

    class Interrupted(Dark):
        def score(self, x, *, noise=None):
            if x.requires_grad:
                raise KeyboardInterrupt
            return super().score(x)
"""
SETS = {  # seed, lowest and highest byte, count
    "train": (1, 0, 120, 20),
    "calibration": (2, 0, 120, 20),
    "test": (3, 0, 120, 20),
    "bright": (4, 100, 256, 15),
    "mixed": (5, 0, 256, 15),
    "noise": (6, 0, 256, 10),
}
DETECTORS = {"dark": "Dark", "corner": "Corner", "nan": "Nan", "interrupted": "Interrupted"}


def make_workspace(folder: Path) -> Path:
    """The workspace, with a module of its own so that no test sees another's code."""
    module = f"toy_methods_{next(_numbers)}"
    files = {f"{module}.py": METHODS, "robustood.toml": "", "datasets/toy.yaml": json.dumps(_track(module))}
    for name, method in DETECTORS.items():
        files[f"detectors/{name}.yaml"] = f"""
            name: {name}
            summary: a toy
            method: METHODS:{method}
            tracks: {{toy: {{}}}}
        """
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("METHODS", module))
    return folder


def bench(*arguments: object) -> Result:
    """Run `bench` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(workspace: Path, *arguments: object) -> Result:
    """A `bench run` on the toy track, with its cells below the workspace."""
    options = ["--track", "toy", "--workspace", workspace, "--out", workspace / "runs", "--steps", 2, "--restarts", 1]
    return bench("run", *options, *arguments)


def _track(module: str) -> dict[str, object]:
    def declared(name: str) -> dict[str, object]:
        seed, low, high, count = SETS[name]
        pixels = np.random.default_rng(seed).integers(low, high, size=(count, 4, 4, 1), dtype=np.uint8)
        return {
            "source": f"{module}:images",
            "args": {"seed": seed, "low": low, "high": high, "count": count},
            "digest": content_digest(pixels, np.arange(count, dtype=np.int64) % 2),
        }

    ood = {name: declared(name) for name in ("bright", "mixed", "noise")}
    ood["noise"]["kind"] = "synthetic"
    own = {name: declared(name) for name in ("train", "calibration", "test")}
    words = {"name": "toy", "summary": "dark images against bright ones", "shape": [1, 4, 4], "classes": 2}
    return {**words, **own, "ood": ood}
