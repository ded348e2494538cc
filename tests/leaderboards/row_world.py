"""A workspace whose track has a suite, and a detector with weights: a whole row takes a fraction of a second."""

import hashlib
import itertools
import json
import subprocess
import tempfile
import textwrap
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from typer.testing import CliRunner, Result

from bench.cli.app import app
from bench.datasets.base import content_digest

_numbers = itertools.count()

METHODS = """
    import numpy as np
    import torch
    from torch import nn

    from bench.datasets.base import RawImages
    from bench.detectors.base import Detector, DetectorInfo

    def images(args, data_dir):
        rng = np.random.default_rng(args["seed"])
        pixels = rng.integers(args["low"], args["high"], size=(args["count"], 4, 4, 1), dtype=np.uint8)
        return RawImages(pixels, np.arange(args["count"], dtype=np.int64) % 2)

    class Bent(Detector):
        info = DetectorInfo(classifier=False)

        def __init__(self, network, *, shape, classes, params):
            super().__init__(None, shape=shape, classes=classes, params=params)
            self.slope = nn.Parameter(torch.ones(16))

        def score(self, x, *, noise=None):
            flat = x.flatten(1)
            return -(flat * self.slope).mean(1) + 0.3 * torch.sin(9.0 * flat).mean(1)

    class Stepped(Bent):
        info = DetectorInfo(classifier=False, differentiable=False)

        def score(self, x, *, noise=None):
            return super().score(x).detach()

    class Shaken(Bent):
        info = DetectorInfo(classifier=False, random=True)

        def score(self, x, *, noise=None):
            score = super().score(x)
            return score if noise is None else score + 0.02 * noise(())
"""
SETS = {  # seed, lowest and highest byte, count
    "train": (1, 0, 150, 10),
    "calibration": (2, 0, 150, 20),
    "test": (3, 0, 150, 40),
    "near": (4, 40, 200, 30),
    "far": (5, 60, 256, 30),
    "static": (6, 0, 256, 10),
}
PGD = {"steps": 8, "restarts": 2, "step_size": 0.5}
THREATS = {
    "climb-l2": {"method": "bench.threat_models.pgd:PGD", "norm": "l2", "eps": [0.3], "params": PGD},
    "climb-linf": {"method": "bench.threat_models.pgd:PGD", "norm": "linf", "eps": [0.05], "params": PGD},
    "static-l2": {
        "method": "bench.threat_models.noise:Noise",
        "norm": "l2",
        "eps": [0.3],
        "params": {"points": 3},
        "knowledge": "scores",
    },
    "all-l2": {"norm": "l2", "eps": [0.3], "sides": ["evade"], "members": {"evade": ["climb-l2", "static-l2"]}},
    "all-linf": {"norm": "linf", "eps": [0.05], "sides": ["evade"], "members": {"evade": ["climb-linf"]}},
}
SUITE = [{"threat": "all-l2", "eps": 0.3}, {"threat": "all-linf", "eps": 0.05}]
DETECTORS = {"bent": "Bent", "stepped": "Stepped", "shaken": "Shaken"}


def make_world(root: Path) -> Path:
    """The workspace, with a module of its own so that no test sees another's code."""
    module = f"row_methods_{next(_numbers)}"
    weights = save({"slope": np.linspace(0.8, 1.2, 16).astype(np.float32)})
    put(root / "robustood.toml", "")
    put(root / f"{module}.py", textwrap.dedent(METHODS))
    put(root / "datasets/small.yaml", json.dumps(_track(module)))
    for name, card in THREATS.items():
        content = {"name": name, "summary": "a small one", "knowledge": "gradients", **card}
        put(root / f"threat_models/{name}.yaml", json.dumps(content))
    (root / "detectors/weights").mkdir(parents=True)
    (root / "detectors/weights/bent.safetensors").write_bytes(weights)
    for name, kind in DETECTORS.items():
        own = {"weights": [{"file": "bent.safetensors", "sha256": hashlib.sha256(weights).hexdigest()}]}
        training = {"recipe": "bench.training.fit:Fit"}
        card = {
            "name": name,
            "summary": "a small one",
            "method": f"{module}:{kind}",
            "tuned_on": "nothing",
            "paper": {"title": "On small ones", "authors": "A. Nonymous", "year": 2020},
            "tracks": {"small": {**own, "training": training}},
        }
        put(root / f"detectors/{name}.yaml", json.dumps(card))
    return root


def put(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def bench(*arguments: object) -> Result:
    """Run `bench` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_suite(root: Path, detector: str = "bent", *more: object) -> Result:
    """Compute the suite's cells below the workspace."""
    return bench(
        "run", "--workspace", root, "--out", root / "runs", "--track", "small", "--detector", detector, "--device",
        "cpu", "--threat", "all-l2,all-linf", "--eps", "l2:0.3", "--eps", "linf:0.05", "-q", *more,
    )  # fmt: skip


def submit(root: Path, detector: str = "bent", *more: object) -> Result:
    """Build the row of a detector from these cells."""
    return bench(
        "submit", "--workspace", root, "--run", root / "runs", "--track", "small", "--detector", detector, *more
    )


def verify(root: Path, row: Path, level: str = "re-scored", *more: object) -> Result:
    """Verify a row."""
    return bench("verify", row, "--workspace", root, "--level", level, "--device", "cpu", *more)


def new_key(folder: Path, name: str = "key") -> Path:
    """A throw-away private key; its public half lies beside it."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def public_half(key: Path) -> str:
    """Kind and text of a public key, as lines of `allowed_signers` hold them."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def allow(root: Path, *lines: str) -> Path:
    """Say whose signatures count in a workspace."""
    path = root / "leaderboards/allowed_signers"
    put(path, "".join(f"{line}\n" for line in lines))
    return path


def line_for(key: Path, name: str = "verifier@example.org", options: str = 'namespaces="robustood-record"') -> str:
    """A line of `allowed_signers`."""
    return f"{name} {options} {public_half(key)}".replace("  ", " ")


def records(row: Path) -> list[Path]:
    """The records of verification that lie beside a row."""
    return sorted(row.parent.glob(f"{row.stem}.verified-*.json"))


def board(root: Path, *more: object) -> Result:
    """The board of the small track."""
    return bench("leaderboard", "--workspace", root, "--track", "small", *more)


def ranked(root: Path) -> list[list[str]]:
    """What the columns of the board say of every row with a place."""
    with tempfile.TemporaryDirectory() as folder:
        board(root, "--markdown", path := Path(folder) / "board.md")
        table = path.read_text().partition("Not verified")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    return [[word.strip() for word in line.split("|")[1:-1]] for line in lines]


def places(root: Path) -> dict[str, str]:
    """Detector -> place and badge, of the rows that have one."""
    return {words[1]: f"{words[0]} {words[2]}" for words in ranked(root)}


def rows(root: Path) -> list[Path]:
    """The rows that the workspace has."""
    return sorted(path for path in (root / "leaderboards/small").glob("*@*.json") if path.name.count(".") == 1)


def _track(module: str) -> dict[str, object]:
    def declared(name: str) -> dict[str, object]:
        seed, low, high, count = SETS[name]
        pixels = np.random.default_rng(seed).integers(low, high, size=(count, 4, 4, 1), dtype=np.uint8)
        return {
            "source": f"{module}:images",
            "args": {"seed": seed, "low": low, "high": high, "count": count},
            "digest": content_digest(pixels, np.arange(count, dtype=np.int64) % 2),
        }

    ood = {name: declared(name) for name in ("near", "far", "static")}
    ood["static"]["kind"] = "synthetic"
    own = {name: declared(name) for name in ("train", "calibration", "test")}
    words = {"name": "small", "summary": "dark images against bright ones", "shape": [1, 4, 4], "classes": 2}
    return {**words, **own, "ood": ood, "suite": SUITE}
