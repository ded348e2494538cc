"""What is shared by detectors that wrap something which maps images to scores or logits."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.cards.threat import Norm
from bench.detectors.adapters.reading import read_output
from bench.detectors.base import Detector, DetectorInfo, NoiseSource
from bench.detectors.boundary import SIZES, asked, blind_way, made_up, one_sentence
from bench.detectors.untouched import untouched
from bench.errors import UsageError


class OutputDetector(Detector):
    """A detector whose score is the output of something else: subclasses call `wrap` at the end of their `__init__`.

    An output of shape (N,) or (N, 1) is the score. One of shape (N, K), K > 1, is taken for logits: the score is then
    their logsumexp, the energy score of Liu et al. (2020) at temperature 1, and where K is the track's number of
    classes they also are the detector's logits. A module may have methods `objective`, `logits`, `bits_per_dim` and
    `bound`, which mean what they mean in `Detector`. Which of it is so is asked once, on made-up batches.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(classifier=False)
    foreign = True

    def wrap(self, function: Callable[[Tensor], Any], name: str, owner: nn.Module | None = None) -> None:
        """Score by this function from now on.

        Args:
            function: (N, C, H, W) images in [0, 1] -> scores or logits, as a tensor or an array or an object that has
                them.
            name: What a person calls it.
            owner: The module whose further methods count.

        Raises:
            UsageError: It cannot take images of the track, or returns something else than finite scores or logits.
        """
        self.function = function
        self.owner = owner
        self.name = name
        self.gives_logits, self.has_logits = False, False
        with untouched(self):
            device = next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))
            batches = [batch.to(device) for batch in made_up(self.shape)[: len(SIZES)]]
            self._way = blind_way(self.function, batches[0])
            outputs = [self._checked(batch) for batch in batches]
            self.gives_logits = outputs[0].ndim == 2 and outputs[0].shape[1] > 1
            self.has_logits = self._has_logits(batches[0], outputs[0])
        known = DetectorInfo(classifier=self.has_logits, components=("classifier",) if self.has_logits else ())
        object.__setattr__(self, "info", known)

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); in the reals."""
        output = self._output(x)
        return torch.logsumexp(output, dim=1) if self.gives_logits else output.reshape(len(x))

    def objective(self, x: Tensor) -> Tensor:
        """The module's objective where it has one, else its score."""
        own = self._own("objective")
        directed: Tensor = own(x) if own is not None else self.score(x)
        return directed

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One pass where the module has no objective of its own."""
        if self._own("objective") is None:
            score = self.score(x)
            return score, score
        with torch.no_grad():
            score = self.score(x.clone())
        return score, self.objective(x)

    def logits(self, x: Tensor) -> Tensor | None:
        """(N, K) where there is one logit a class."""
        if not self.has_logits:
            return None
        own = self._own("logits")
        return self._output(x) if own is None else self._read(own(x), x)

    def bits_per_dim(self, x: Tensor) -> Tensor | None:
        """The module's bits per dimension where it has them."""
        own = self._own("bits_per_dim")
        bits: Tensor | None = own(x) if own is not None else None
        return bits

    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        """The module's certified bound where it has one."""
        own = self._own("bound")
        bound: Tensor | None = own(x, norm, eps) if own is not None else None
        return bound

    def _own(self, name: str) -> Callable[..., Any] | None:
        """A method of the module; a layer of this name is none."""
        method = getattr(self.owner, name, None)
        return method if inspect.isroutine(method) else None

    def _has_logits(self, x: Tensor, output: Tensor) -> bool:
        own = self._own("logits")
        if own is not None:
            with one_sentence(f"{self.name}: logits", x):
                given = asked(own, x, self._way)
                output = (
                    x[:, 0, 0, :0] if given is None else read_output(given, x, classes=self.classes, name=self.name)
                )
        return output.ndim == 2 and output.shape[1] == self.classes > 1

    def _output(self, x: Tensor) -> Tensor:
        """The function's output in the type that holds it."""
        return self._read(self.function(x), x)

    def _read(self, output: Any, x: Tensor) -> Tensor:
        return read_output(output, x, classes=self.classes, name=self.name)

    def _checked(self, x: Tensor) -> Tensor:
        """The output for made-up images.

        Raises:
            UsageError: There is none of a shape and kind that can be used.
        """
        with one_sentence(self.name, x):
            output = self._read(asked(self.function, x, self._way), x).detach()
        if len(output) != len(x) or output.ndim > 2 or output.numel() == 0:
            raise UsageError(
                f"{self.name} returns shape {tuple(output.shape)} for {len(x)} images; "
                "return (N,) scores, higher for in-distribution, or (N, K) logits."
            )
        if not bool(output.isfinite().any()):
            raise UsageError(f"{self.name} returns NaN or infinite numbers; return a finite score for every image.")
        return output
