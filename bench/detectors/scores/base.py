"""What scores have in common that are functions of (penultimate features h, last layer W and b, logits z = W h + b).

A new one says how its number comes of h and z, and where it has statistics, what they are and how they are found:

    class Nearest(FeatureScore):
        def shapes(self, width):
            return {"mean": (width,)}

        def fit_score(self, training):
            self.put(mean=torch.cat([batch.features for batch in training]).mean(dim=0))

        def of(self, features, logits):
            return -(features - self.fitted["mean"]).norm(dim=1)
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.datasets.base import TrainingData
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.fitting import Meter, black_image, evaluating
from bench.detectors.logit import LogitDetector, needed_network
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.head import head_name, linear_parts
from bench.detectors.scores.shaping import Shaper, Shaping, shaper
from bench.detectors.scores.training_features import TrainingFeatures
from bench.errors import InputError, UsageError

FIT_IMAGES = 100_000
"""A fit sees at most this many images; where a set has more, the detector's remarks say so."""


class ScoreParams(DetectorParams):
    """Parameters of every such score: the shaping of features or last layer before it, None for none."""

    shaping: Shaping | None = None


class Statistics(nn.Module):
    """Named buffers of known shapes, NaN until they are fitted."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.full(shape, torch.nan))

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)


class Score(Detector):
    """Shaping, statistics and the last layer; subclass `FeatureScore` or `LogitScore`.

    Attributes:
        needs_head: The score itself looks at W and b, so that the last layer must be linear.
        sees_logits: The score depends on the logits or the last layer.
        directions_only: The score depends on the direction of the features alone.
        fitted_on: The set that `fit_score` sees.
    """

    Params: ClassVar[type[DetectorParams]] = ScoreParams
    needs_head: ClassVar[bool] = False
    sees_logits: ClassVar[bool] = True
    directions_only: ClassVar[bool] = False
    fitted_on: ClassVar[Literal["train", "calibration"]] = "train"

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        settings = getattr(params, "shaping", None)
        self.statistics = nn.ModuleDict()
        self._head = head_name(needed_network(self), shape) if self.needs_head or settings is not None else ""
        if settings is not None:
            self.statistics["shaping"] = self._shaper(settings)
        own = self.make_statistics() if network is not None else None
        if own is not None:
            self.statistics["score"] = own
        if next(self.statistics.buffers(), None) is not None:
            self.statistics["images"] = Statistics({"count": (2,)})

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the statistics, for features of this width; none unless overridden."""
        return {}

    def make_statistics(self) -> nn.Module | None:
        """The module that holds the statistics: buffers of `shapes`."""
        if type(self).shapes is Score.shapes:
            return None
        return Statistics(self.shapes(self.width))

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find the statistics, without gradients; `put` keeps them. Features and logits are shaped already.

        Raises:
            NotFittableError: A class has no image.
        """

    def put(self, **values: Tensor) -> None:
        """Keep statistics of any float type, by name."""
        for name, value in values.items():
            self.fitted[name].copy_(value)

    @property
    def fitted(self) -> Statistics:
        """The statistics by name."""
        found = self.statistics["score"]
        assert isinstance(found, Statistics)
        return found

    @property
    def width(self) -> int:
        """D, the number of penultimate features."""
        with torch.no_grad():
            return int(needed_network(self).activations(black_image(self))["penultimate"].flatten(1).shape[1])

    @property
    def weight(self) -> Tensor:
        """(K, D) weights of the last layer, as the network has them."""
        return self._linear[0]

    @property
    def bias(self) -> Tensor:
        """(K,) biases of the last layer; 0 where it has none."""
        bias = self._linear[1]
        return self.weight.new_zeros(len(self.weight)) if bias is None else bias

    @property
    def shaping(self) -> Shaper | None:
        """The shaping, None for none."""
        found = dict(self.statistics.items()).get("shaping")
        assert found is None or isinstance(found, Shaper)
        return found

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) features and (N, K) logits of images, shaped.

        Raises:
            InputError: The statistics are not fitted.
        """
        self._check_fitted()
        features, logits = self._unshaped(x)
        return (features, logits) if self.shaping is None else self._shaped(features)

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) as for every detector; "logits" and "penultimate" are shaped, which is what the score sees."""
        if self.shaping is None or at not in ("logits", "penultimate"):
            return super().features(x, at)
        features, logits = self.seen(x)
        return features if at == "penultimate" else logits

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Find what the shaping and the score read off the training data; the network stays as it is.

        Raises:
            NotFittableError: A class has no image.
        """
        if next(self.statistics.buffers(), None) is None:
            return self
        chosen = [data.train] if self.shaping is not None or self.fitted_on == "train" else []
        chosen += [data.calibration] if self.fitted_on == "calibration" and "score" in self.statistics else []
        seen = [images.limited(FIT_IMAGES) for images in chosen]
        meter = Meter(progress, sum(map(len, seen)))
        with evaluating(self), torch.no_grad():
            device = black_image(self).device
            sets = [TrainingFeatures(images, self._unshaped, device, meter) for images in seen]
            if self.shaping is not None:
                self.shaping.fit(sets[0], self.weight)
            if "score" in self.statistics:
                self.fit_score(sets[-1] if self.shaping is None else sets[-1].shaped(self._shaped))
            self._count.copy_(torch.tensor([float(len(seen[-1])), float(len(chosen[-1]))]))
        return self

    @property
    def remarks(self) -> tuple[str, ...]:  # type: ignore[override]  # of its state, which may come from a file
        """What a fit on a part of the images left out."""
        if "images" not in self.statistics:
            return ()
        used, available = self._count.nan_to_num().tolist()
        which = self.fitted_on if "score" in self.statistics else "train"
        told = f"its statistics come from {used:,.0f} of {available:,.0f} images of '{which}'"
        return (told,) if used < available else ()

    @property
    def _count(self) -> Tensor:
        found = self.statistics["images"]
        assert isinstance(found, Statistics)
        return found["count"]

    @property
    def _linear(self) -> tuple[Tensor, Tensor | None]:
        found = linear_parts(needed_network(self).get_submodule(self._head))
        assert found is not None
        return found

    def _shaper(self, settings: Shaping) -> Shaper:
        made = shaper(settings, self.weight.shape[1], self.weight.shape[0])
        if made.weights_only and not self.sees_logits:
            raise UsageError(
                f"shaping '{settings.kind}' changes the last layer alone, and {type(self).__name__} does not look at "
                "it; choose a shaping of features, or a score of logits."
            )
        if settings.kind == "scale" and self.directions_only:
            raise UsageError(
                f"shaping 'scale' changes the length of features alone, and {type(self).__name__} looks at their "
                "direction; choose a shaping that prunes or clips, or another score."
            )
        if settings.kind == "ash-b" and self.directions_only:
            raise UsageError(
                f"shaping 'ash-b' leaves of a feature's direction only which units are kept, so {type(self).__name__} "
                "would be constant between jumps; choose another shaping."
            )
        jumps = " and ".join(filter(None, (self.info.jumps, made.jumps)))
        approximate = made.approximate_gradient or self.info.approximate_gradient
        # Of this one: others are not shaped.
        self.info = replace(self.info, jumps=jumps, approximate_gradient=approximate)  # type: ignore[misc]
        return made

    def _unshaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return needed_network(self).ends(x)

    def _shaped(self, features: Tensor) -> tuple[Tensor, Tensor]:
        assert self.shaping is not None
        features, weight = self.shaping(features, self.weight)
        return features, functional.linear(features, weight, self.bias)

    def _check_fitted(self) -> None:
        first = next(self.statistics.buffers(), None)
        if first is not None and bool(first.flatten()[0].isnan()):
            raise InputError(
                f"{type(self).__name__} must be fitted before it scores; give its card `fit_when_loaded: true`, or "
                "weights that hold its statistics."
            )


class FeatureScore(Score):
    """A score of features and logits: subclasses implement `of`."""

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier", "features"), matched="penultimate")

    @abstractmethod
    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,); higher = more in-distribution."""

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); higher = more in-distribution."""
        return self.of(*self.seen(x))


class ClassScore(FeatureScore):
    """A score of the predicted class: subclasses implement `of_classes`."""

    info: ClassVar[DetectorInfo] = DetectorInfo(
        jumps="where the predicted class changes, and with it what an image is compared with",
        components=("classifier", "features"),
        matched="penultimate",
    )

    @abstractmethod
    def of_classes(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N, K): what the score is where that class is predicted."""

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, C, H, W) in [0, 1] -> (N, K)."""
        return self.of_classes(*self.seen(x))

    def class_scores_and_margins(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(N, K) twice; a margin is the logit less the largest other one, of the logits that the score sees."""
        features, logits = self.seen(x)
        return self.of_classes(features, logits), margins(logits)

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,) the one of the class with the largest logit."""
        return self.of_classes(features, logits).gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)


class LogitScore(Score, LogitDetector):
    """A score of the logits alone: subclasses implement `score_logits`. Without shaping any classifier will do."""

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the logits: unless overridden, how much each class has a part in the score."""
        return self.scored_logits(x)

    def scored_logits(self, x: Tensor) -> Tensor:
        """(N, K) logits of images, shaped."""
        if self.shaping is not None:
            return self.seen(x)[1]
        self._check_fitted()
        return LogitDetector.scored_logits(self, x)


def margins(logits: Tensor) -> Tensor:
    """(N, K) -> (N, K) each logit less the largest of the others; infinite for a single class."""
    if logits.shape[1] < 2:
        return torch.full_like(logits, torch.inf)
    largest = logits.topk(2, dim=1).values
    top = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    return logits - torch.where(top, largest[:, 1:], largest[:, :1])
