"""The one way in for detectors that run code of others: what holds for all of them is found out and kept here.

Such code gets a copy of the images, so that what it writes into them reaches nobody. Whether its score has a gradient
in the images is tried and not believed: without one it is a black box to an attacker. What it returns is brought to
scores of one type on the images' device, or refused in a sentence.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Any, Self

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.datasets.base import TrainingData
from bench.detectors.base import Detector, NoiseSource, Progress, score_type, silent
from bench.detectors.untouched import untouched
from bench.errors import BenchError, UsageError

Asked = Callable[[Tensor], Any]

SIZES = (2, 3)
"""Numbers of made-up images that are tried: a program for one number alone is found out."""


class Way(Enum):
    """How code of others is asked."""

    GRADIENT = "with a gradient in the images"
    PLAIN = "without gradients"
    OWN = "without a gradient in the images, and free to take gradients itself"


def admit(detector: Detector, title: str, *, fitted: bool = True) -> Detector:
    """The detector itself where all of its code is this package's, else behind the boundary.

    Args:
        detector: Any detector.
        title: What a person calls it.
        fitted: Whether it can be tried already; one that is fitted first is tried after its fit.

    Raises:
        UsageError: It cannot score images of its shape.
    """
    if not detector.foreign and all(_is_known(module) for module in detector.modules()):
        return detector
    bounded = Bounded(detector, title)
    if fitted:
        bounded.try_out()
    return bounded


class Bounded(Detector):
    """A detector that runs code of others, behind the boundary.

    Args:
        inner: The detector.
        title: What a person calls it.
    """

    def __init__(self, inner: Detector, title: str) -> None:
        super().__init__(inner.network, shape=inner.shape, classes=inner.classes, params=inner.params)
        self.inner = inner
        self.lent = inner.lent
        self.info = inner.info  # type: ignore[misc]  # of this one: what it does is found out
        self.flat = False
        self._title = title
        self._reaches = False
        self._way: Way | None = None
        # Where the detector has no tensor of its own, this one says on which device it is asked.
        self.register_buffer("_place", torch.zeros(()), persistent=False)
        self._place: Tensor

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self._title

    def try_out(self) -> None:
        """Find out on made-up images how it is asked, and what it returns.

        Raises:
            UsageError: It cannot score them.
        """
        with untouched(self):
            batches = [batch.to(self._device()) for batch in made_up(self.shape)]
            slopes = [self._slope(batch) for batch in batches] if self.inner.info.differentiable else []
            found = [slope for slope in slopes if slope is not None]
            self.info = replace(self.inner.info, differentiable=bool(found))  # type: ignore[misc]
            self.flat = bool(found) and not any(bool(slope.any()) for slope in found)
            self._way = blind_way(self.inner.score, batches[0])
            self._reaches = bool(found)
            with torch.no_grad():
                scores = [self._tried(batch) for batch in batches[: len(SIZES)]]
            self.precision = scores[0].dtype
            self.remarks = (*self.inner.remarks, *self._unsteady(batches[len(SIZES) - 1], scores[-1]))

    def gives_gradients(self, images: Tensor) -> bool:
        """Whether its gradient is above zero for at least one of these images.

        Args:
            images: (N, C, H, W) in [0, 1] on its device, as many as are scored at once.
        """
        with untouched(self):
            slope = self._slope(images)
        return slope is not None and bool(slope.any())

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N,) scores."""
        given = {} if noise is None else {"noise": noise}
        return self._one_each(self._ask(lambda own: self.inner.score(own, **given), x), x, "score")

    def objective(self, x: Tensor) -> Tensor:
        """(N,) its objective, the score where it has none of its own."""
        if self._has_no_objective():
            return self.score(x)
        return self._one_each(self._ask(self.inner.objective, x), x, "objective")

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) twice, in one pass where they are one."""
        if type(self.inner).score_and_objective is not Detector.score_and_objective:
            both = self._ask(self.inner.score_and_objective, x)
            score, objective = (self._one_each(part, x, "score_and_objective") for part in both)
            return score, objective
        if self._has_no_objective():
            score = self.score(x)
            return score, score
        with torch.no_grad():
            score = self.score(x)
        return score, self.objective(x)

    def noisy_score_and_objective(self, x: Tensor, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """(N,) twice by one draw of the noise, one tensor where they are one."""
        if type(self.inner).noisy_score_and_objective is Detector.noisy_score_and_objective:
            score = self.score(x, noise=noise)
            return score, score
        both = self._ask(lambda own: self.inner.noisy_score_and_objective(own, noise), x)
        score, objective = (self._one_each(part, x, "noisy_score_and_objective") for part in both)
        return score, objective

    def logits(self, x: Tensor) -> Tensor | None:
        """(N, K) logits where it has them."""
        logits = self._ask(self.inner.logits, x)
        if logits is None:
            return None
        tensor = _held(logits, x, f"{self.title}: logits")
        if tensor.ndim != 2 or len(tensor) != len(x):
            raise UsageError(
                f"{self.title}: logits returns shape {tuple(tensor.shape)} for {len(x)} images; return (N, K), or None."
            )
        return tensor

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) scores by class where it has them."""
        scores = self._ask(self.inner.class_scores, x)
        return None if scores is None else _held(scores, x, f"{self.title}: class_scores")

    def class_scores_and_margins(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(N, K) scores and margins by class where it has them."""
        scores, margins = self._ask(self.inner.class_scores_and_margins, x)
        where = f"{self.title}: class_scores_and_margins"
        return (
            None if scores is None else _held(scores, x, where),
            None if margins is None else _held(margins, x, where),
        )

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) features."""
        return _held(self._ask(lambda own: self.inner.features(own, at), x), x, f"{self.title}: features")

    def bits_per_dim(self, x: Tensor) -> Tensor | None:
        """(N,) bits per dimension where it has them."""
        bits = self._ask(self.inner.bits_per_dim, x)
        return None if bits is None else self._one_each(bits, x, "bits_per_dim")

    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        """(N,) certified bounds where it has them."""
        bound = self._ask(lambda own: self.inner.bound(own, norm, eps), x)
        return None if bound is None else self._one_each(bound, x, "bound")

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Fit it, and try it out then."""
        self.inner.fit(data, progress=progress)
        self.try_out()
        return self

    def recalled(self) -> None:
        """Try it out with what it found before."""
        self.inner.recalled()
        self.try_out()

    def _has_no_objective(self) -> bool:
        return type(self.inner).objective is Detector.objective

    def _device(self) -> torch.device:
        """Where it lies."""
        return next(iter((*self.inner.parameters(), *self.inner.buffers())), self._place).device

    def _ask(self, function: Asked, x: Tensor) -> Any:
        """What the function gives for a copy of the images."""
        if self._way is None:
            self.try_out()
        assert self._way is not None
        follows = self._reaches and torch.is_grad_enabled() and x.requires_grad
        return asked(function, x, Way.GRADIENT if follows else self._way)

    def _one_each(self, given: Any, x: Tensor, what: str) -> Tensor:
        """(N,) numbers in the type of the scores."""
        where = f"{self.title}: {what}"
        tensor = _held(given, x, where)
        if tensor.shape == (len(x), 1):
            tensor = tensor[:, 0]
        if tensor.shape != (len(x),):
            raise UsageError(
                f"{where} returns shape {tuple(tensor.shape)} for {len(x)} images; return (N,), one number an image."
            )
        return tensor.to(torch.promote_types(tensor.dtype, self.precision))

    def _slope(self, x: Tensor) -> Tensor | None:
        """The gradient in x of what directs an attack, None where it does not reach x."""
        before = self._way, self._reaches
        self._way, self._reaches = Way.GRADIENT, True
        try:
            with torch.enable_grad():
                leaf = x.clone().requires_grad_(True)
                if self.inner.info.random:
                    objective = self.score(leaf, noise=_made_up_noise(len(leaf), leaf.device))
                else:
                    _, objective = self.score_and_objective(leaf)
                if not objective.requires_grad:
                    return None
                (slope,) = torch.autograd.grad(objective.sum(), leaf, allow_unused=True)
        except Exception:  # NumPy, for one, takes no tensor that requires a gradient; asked without one it tells more
            return None
        finally:
            self._way, self._reaches = before
        return None if slope is None else torch.nan_to_num(slope.detach())

    def _tried(self, x: Tensor) -> Tensor:
        """The scores of made-up images.

        Raises:
            UsageError: There are none.
        """
        with one_sentence(self.title, x):
            return self.score(x).detach()

    def _unsteady(self, x: Tensor, scores: Tensor) -> Iterator[str]:
        """That its scores depend on the other images of a batch; of one that is random the clean cell tells."""
        with torch.no_grad():
            again, alone = self._tried(x), torch.cat([self._tried(image[None]) for image in x.flip(0)]).flip(0)
        spread = float(scores.max() - scores.min())
        # A few dozen roundings of sums, and of scores that lie close a thousandth of their spread.
        allowed = 1e-3 * spread + 64 * torch.finfo(scores.dtype).eps * float(scores.abs().max())
        if self.info.random or not bool(torch.isfinite(scores).all()):
            return
        if float((again - scores).abs().max()) <= allowed < float((alone - scores).abs().max()):
            yield f"{self.title} scores an image by the others of its batch too: its figures hold for this order alone."


def made_up(shape: tuple[int, int, int]) -> list[Tensor]:
    """Batches of made-up images: ramps of `SIZES` images, then noise, dark and bright images, as scores may be flat."""
    count = shape[0] * shape[1] * shape[2]
    ramps = [torch.linspace(0, 1, size * count).reshape(size, *shape) for size in SIZES]
    noise = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([1.0, 0.5, 0.1, 0.1]).view(-1, 1, 1, 1)
    offset = torch.tensor([0.0, 0.25, 0.0, 0.9]).view(-1, 1, 1, 1)
    return [*ramps, noise * level + offset]


def _made_up_noise(count: int, device: torch.device) -> NoiseSource:
    """Standard normal numbers for a random detector that is tried."""
    generator = torch.Generator().manual_seed(0)
    return lambda shape: torch.randn(count, *shape, generator=generator).to(device)


def asked(function: Asked, x: Tensor, way: Way) -> Any:
    """What the function gives for a copy of the images, asked in this way."""
    if way is Way.GRADIENT:
        return function(x.clone())
    with torch.set_grad_enabled(way is Way.OWN):
        return function(x.detach().clone())


def blind_way(function: Asked, x: Tensor) -> Way:
    """How a function is asked that has no gradient in the images: some take gradients of their own."""
    try:
        asked(function, x, Way.PLAIN)
    except Exception:  # whatever the code of others raises
        try:
            asked(function, x, Way.OWN)
        except Exception:  # it is asked once more, and its sentence heard
            return Way.PLAIN
        return Way.OWN
    return Way.PLAIN


@contextmanager
def one_sentence(title: str, x: Tensor) -> Iterator[None]:
    """Turn whatever the code of others raises while it scores images into one sentence."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or "without a word"
        raise UsageError(
            f"{title} cannot score {len(x)} images of shape {tuple(x.shape[1:])} ({type(error).__name__}: {reason}); "
            "it must take (N, C, H, W) float images in [0, 1] for any N."
        ) from error


def _held(given: Any, x: Tensor, where: str) -> Tensor:
    """Numbers of others in the type that holds them, on the device of the images."""
    if not isinstance(given, Tensor):
        raise UsageError(f"{where} returns something of type {type(given).__name__}; return a tensor.")
    if given.is_complex():
        raise UsageError(f"{where} returns {given.dtype}; return real numbers.")
    if not torch.is_grad_enabled() or not x.requires_grad:
        given = given.detach()
    # Outside inference mode, tensors that were made in it can only be copied.
    copied: Tensor = given.clone() if given.is_inference() else given
    return copied.to(device=x.device, dtype=score_type(given.dtype))


def _is_known(module: torch.nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] in ("bench", "torch")
