"""Sets, detectors and threats small enough to attack in milliseconds; the cards of the `world` fixture name them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.cards.threat import Norm
from bench.datasets.base import RawImages
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat, ThreatParams

SIDE = 6


def images(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Grey images around a level; two classes that differ by which half is brighter."""
    rng = np.random.default_rng(args["seed"])
    count, level = args["count"], args["level"]
    labels = rng.integers(0, 2, count)
    base = np.full((count, SIDE, SIDE, 1), float(level))
    base[labels == 1, :, : SIDE // 2] += 20
    base[labels == 0, :, SIDE // 2 :] += 20
    noisy = base + rng.normal(0, args.get("noise", 25), base.shape)
    return RawImages(noisy.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


class NetParams(DetectorParams):
    """How the score is spoilt: rounded to `ties` levels a unit, or NaN for images brighter than `nan_above`."""

    ties: float | None = None
    nan_above: float | None = None
    sign: float = 1.0
    huge: float = 1.0


class Net(Detector):
    """A small convolutional network of fixed weights with a mean level on top, so that the sets are told apart."""

    info = DetectorInfo(classifier=False)
    Params = NetParams
    params: NetParams

    def __init__(self, network: None, *, shape: Any, classes: int, params: NetParams) -> None:
        super().__init__(None, shape=shape, classes=classes, params=params)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.body = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 1)
            )

    def smooth(self, x: Tensor) -> Tensor:
        return self.params.sign * (self.body(x)[:, 0] - 4.0 * x.flatten(1).mean(1))

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        score = self.smooth(x)
        if self.params.ties is not None:
            score = torch.floor(score * self.params.ties) / self.params.ties
        if self.params.nan_above is not None:
            score = torch.where(x.flatten(1).mean(1) > self.params.nan_above, torch.nan, score)
        return score

    def objective(self, x: Tensor) -> Tensor:
        return self.smooth(x)

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        smooth = self.smooth(x)
        with torch.no_grad():
            return self.score(x), smooth


class Labelled(Net):
    """The same with a classifier: which half is brighter."""

    def logits(self, x: Tensor) -> Tensor:
        left, right = x[..., : SIDE // 2].mean((1, 2, 3)), x[..., SIDE // 2 :].mean((1, 2, 3))
        return torch.stack([right, left], dim=1)


class Halves(Labelled):
    """The same classifier, and a score that counts the left half more: it differs between the classes."""

    def smooth(self, x: Tensor) -> Tensor:
        return -0.8 * x[..., : SIDE // 2].mean((1, 2, 3)) - 0.2 * x[..., SIDE // 2 :].mean((1, 2, 3))

    def class_scores(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return self.smooth(x)[:, None] + logits - logits.amax(dim=1, keepdim=True)


class Shaken(Labelled):
    """The same with a random level on top, which is there only where noise is given."""

    info = DetectorInfo(random=True)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        score = self.smooth(x)
        return score if noise is None else score + noise(())

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("an attack asked a random detector for a score without noise")


class Stepwise(Labelled):
    """The same without a gradient."""

    info = DetectorInfo(classifier=False, differentiable=False)

    def smooth(self, x: Tensor) -> Tensor:
        return super().smooth(x).detach()


class BrightParams(NetParams):
    """Bits per dimension are NaN for images brighter than `nan_bits_above`."""

    nan_bits_above: float = 2.0


class Bright(Labelled):
    """Class-conditional scores: how much brighter than the other half, less how bright the whole is, and a class that
    no image is predicted to be of; and a density that says how bright an image is."""

    Params = BrightParams
    params: BrightParams

    def logits(self, x: Tensor) -> Tensor:
        classes = super().logits(x) - 1.3 * x.flatten(1).mean(1)[:, None]
        return torch.cat([classes, torch.full((len(x), self.classes - 2), -9.0)], dim=1)

    def bits_per_dim(self, x: Tensor) -> Tensor:
        bits = 8.0 * x.flatten(1).mean(1)
        return torch.where(bits / 8.0 > self.params.nan_bits_above, torch.nan, bits)


class CertifiedParams(DetectorParams):
    """`share` of the true bound is claimed: below 1 the certificate is wrong."""

    share: float = 1.0
    nan: bool = False


class Certified(Detector):
    """Darkness, whose largest rise in a ball is known."""

    info = DetectorInfo(classifier=False)
    Params = CertifiedParams
    params: CertifiedParams

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        return -x.flatten(1).mean(1)

    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        if norm is Norm.LINF:
            return None
        rise = torch.full((len(x),), self.params.share * eps / SIDE)
        return self.score(x) + (rise * torch.nan if self.params.nan else rise)


class Mirror(Threat):
    """Darkens images and mirrors them, so that `Halves` scores each higher and sees it as of the other class."""

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        images = (x.flip(-1) - 0.1).clamp(0, 1)
        none = torch.zeros(len(x), dtype=torch.int64)
        return AttackResult(
            images,
            images,
            torch.zeros(len(x), 1),
            gradients=none,
            queries=none,
            norm=0.0 * none,
            status=[Status.COMPLETED] * len(x),
        )


class Swap(Threat):
    """Changes the brighter half until the other one is brighter: images of the other class, as near as may be."""

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        assert budget.eps is None
        left, right = x[..., : SIDE // 2], x[..., SIDE // 2 :]
        gap = right.mean((1, 2, 3)) - left.mean((1, 2, 3))
        shift = 0.5 * gap[:, None, None, None] * 1.01
        images = torch.cat([left + shift, right - shift], dim=-1).clamp(0, 1)
        ones = torch.ones(len(x), dtype=torch.int64)
        return AttackResult(
            images,
            images,
            torch.zeros(len(x), 1),
            gradients=0 * ones,
            queries=ones,
            norm=0.0 * ones,
            status=[Status.COMPLETED] * len(x),
        )


class Halfway(Threat):
    """Makes every image a little brighter or darker, whichever is better, and never asks whether that is enough."""

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        sides = [(x + shift).clamp(0, 1) for shift in (0.005, -0.005)]
        with torch.no_grad():
            up, down = (context.sign * detector.score(images) for images in sides)
        images = torch.where((up > down).view(-1, 1, 1, 1), *sides)
        ones = torch.ones(len(x), dtype=torch.int64)
        return AttackResult(
            images,
            images,
            torch.zeros(len(x), 1),
            gradients=0 * ones,
            queries=2 * ones,
            norm=0.0 * ones,
            status=[Status.COMPLETED] * len(x),
        )


class RogueParams(ThreatParams):
    """What the rogue does wrong."""

    how: str = "box"
    steps: int = 1


class Rogue(Threat):
    """A threat that must not be believed; every second image is attacked as it should be."""

    Params = RogueParams
    params: RogueParams

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        eps = budget.eps or 0.0
        honest = (x - context.sign * eps / SIDE).clamp(0, 1)
        bad = {
            "box": x - 2.0,
            "ball": torch.zeros_like(x) if eps < 0.5 else x,
            "nan": torch.full_like(x, torch.nan),
            "worse": (x + context.sign * eps / SIDE).clamp(0, 1),
            "stopped": honest,
            "in-place": honest,
        }
        if self.params.how == "raise":
            raise RuntimeError("the rogue\nwent home")
        if self.params.how == "short":
            x, honest, ids = x[:3], honest[:3], ids[:3]
            bad = {"short": honest}
        images = torch.where((ids % 2 == 0)[:, None, None, None], honest, bad[self.params.how])
        if self.params.how == "in-place":
            x.zero_()
        status = (
            Status.STOPPED if self.params.how == "stopped" and context.stop_target is not None else Status.COMPLETED
        )
        ones = torch.ones(len(x), dtype=torch.int64)
        return AttackResult(
            images,
            images,
            torch.zeros(len(x), 1),
            gradients=ones,
            queries=0 * ones,
            norm=0.0 * ones,
            status=[status] * len(x),
        )
