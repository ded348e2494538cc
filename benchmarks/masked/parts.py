"""What the detectors here share: the shipped digits networks, their scores, and the scale of ID scores."""

from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.detectors.loading import load_detector
from bench.detectors.msp import log_odds

SHAPE = (1, 32, 32)


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    return Catalog.find()


@lru_cache(maxsize=1)
def track() -> Track:
    return Track(catalog().track("digits"))


@cache
def shipped(name: str) -> Detector:
    """A shipped detector of the digits track, frozen."""
    return load_detector(catalog().detector_spec(name, "digits"), track().card, catalog())


@cache
def pixels(name: str, limit: int | None = None) -> Tensor:
    return track().set(name).limited(limit).pixels()


@cache
def train_pixels() -> Tensor:
    return track().training_data().train.pixels() if hasattr(track().training_data(), "train") else pixels("train")


@cache
def scale_of(name: str) -> tuple[float, float]:
    """Mean and standard deviation of a shipped score on the ID calibration images."""
    with torch.no_grad():
        s = torch.cat([shipped(name).score(part) for part in pixels("calibration").split(100)])
    return float(s.mean()), float(s.std())


def upsampled(x: Tensor) -> Tensor:
    """The image brought to 8x8 and back."""
    return functional.interpolate(functional.avg_pool2d(x, 4), size=x.shape[-2:], mode="bilinear", align_corners=False)


def roughness(x: Tensor) -> Tensor:
    """(N,) mean squared Laplacian."""
    k = x.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), k).square().mean((1, 2, 3))


class Own(Detector):
    """A detector on shipped scores; z is the shipped score in units of its ID standard deviation."""

    info = DetectorInfo(components=("classifier",))
    base = "energy"

    def __init__(self) -> None:
        super().__init__(shipped(self.base).network, shape=SHAPE, classes=10, params=DetectorParams())
        self.mean, self.std = scale_of(self.base)
        self.make()
        self.eval().requires_grad_(False)

    def make(self) -> None:
        """Buffers."""

    def z(self, x: Tensor) -> Tensor:
        if self.base == "energy":
            return (torch.logsumexp(self.network(x), 1) - self.mean) / self.std
        if self.base == "msp":
            return (log_odds(self.network(x)) - self.mean) / self.std
        return (shipped(self.base).score(x) - self.mean) / self.std

    def quantile(self, f, q: float) -> float:
        """A quantile of some statistic on the ID calibration images."""
        with torch.no_grad():
            return float(torch.quantile(torch.cat([f(p) for p in pixels("calibration").split(100)]), q))
