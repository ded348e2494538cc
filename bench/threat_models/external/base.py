"""What every attack of another library needs: a model that it can ask, chunks, seeds, and somebody who keeps count."""

import contextlib
import io
import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.errors import CellError, is_out_of_memory
from bench.randomness import derive_seed
from bench.threat_models import geometry
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import TRACE_LENGTH, AttackResult, Budget, Context, Status, Threat, ThreatParams
from bench.threat_models.external.questions import Questions
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class ExternalParams(ThreatParams):
    """Parameters of an attack without steps.

    Attributes:
        attack: Its name in the library.
        version: The library's version that is needed; None takes any.
    """

    attack: str
    version: str | None = None


class SteppedParams(ExternalParams):
    """Parameters of an attack with steps.

    Attributes:
        steps: The library's own parameter of that name; all others are at the library's defaults.
    """

    steps: int = Field(ge=1, le=1_000_000)


class External(Threat):
    """An attack of another library, on the score, with that library's defaults.

    The library sees a classifier of two classes, "not yet" and "done", see `Questions`. On the side `fool`, where
    misclassification is all that is asked for, it sees the classifier itself. Whatever it asks about inside ball and
    box is a candidate, since libraries return the last iterate, or the first image that changes the decision, which is
    not the best score; what it returns is projected onto ball and box and is a candidate too, and so is the clean
    image. So failures that come back as black images, and images that are too far away, cost nothing but the failure.

    Libraries let the images of a batch influence each other: they run on chunks of one micro-batch in the order of the
    ids, each with the global random states set from the cell's seed and the chunk's number, so that a result depends on
    which images are attacked, but not on their order. A chunk in which the library raises an exception counts as
    failed, with a note.
    """

    couples_images = True
    params: ExternalParams

    @abstractmethod
    def craft(self, model: Questions, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """Run the library's attack on one chunk.

        Args:
            model: (B, C, H, W) images to logits.
            x: (B, C, H, W) images.
            labels: (B,) the classes from which the attack is to lead away.
            norm: Of the ball.
            eps: Radius of the ball.
            seed: For attacks that seed the random states themselves.

        Returns:
            (B, C, H, W) whatever the library returns.
        """

    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Chunk by chunk, the best of all that the library asked about.

        Raises:
            UsageError: No ball is given.
            CellError: Not one chunk could be attacked.
        """
        norm, eps = ball_of(budget, tuple(Norm))
        tracker = Tracker(x, iterations=TRACE_LENGTH, context=context)
        oracle = Oracle(detector, ids=ids, context=context)
        tracker.try_clean(*oracle.evaluate(x))
        left = (~tracker.past_target()).nonzero().flatten()
        left = left[ids[left].argsort(stable=True)]
        failures: dict[str, Tensor] = {}
        for number, batch in enumerate(oracle.batches(len(left))):
            samples = left[batch]
            model = Questions(detector, oracle, tracker, x, ids, samples, norm, eps, context)
            try:
                with _seeded(derive_seed(context.seed, number)) as seed, torch.enable_grad():
                    images = self.craft(model, x[samples].clone(), model.labels(), norm=norm, eps=eps, seed=seed)
                self._keep(tracker, oracle, samples, images, norm, eps)
            except Exception as error:  # whatever the library raises, its assertions too
                if is_out_of_memory(error):
                    raise  # it is asked again, with smaller chunks
                reason = " ".join(str(error).split())[:200] or "without a word"
                sentence = f"{self.params.attack} failed ({type(error).__name__}: {reason})"
                failures[sentence] = torch.cat([failures.get(sentence, samples[:0]), samples])
            tracker.report((batch.stop) / len(left))
        if len(left) > 0 and sum(map(len, failures.values())) == len(left):
            raise CellError(f"{next(iter(failures))} on every image; choose another attack.")
        tracker.report(1.0)
        return _with_failures(tracker.result(budget), x, failures)

    @staticmethod
    def _keep(tracker: Tracker, oracle: Oracle, samples: Tensor, images: Tensor, norm: Norm, eps: float) -> None:
        """Bring what came back into ball and box, and judge it."""
        clean = tracker.clean[samples]
        images = images.detach().to(dtype=clean.dtype, device=clean.device).view_as(clean)
        sound = torch.isfinite(images).flatten(1).all(dim=1).view(-1, *(1,) * (clean.ndim - 1))
        images = geometry.project(torch.where(sound, images, clean), clean, norm, eps)
        tracker.try_images(TRACE_LENGTH - 1, samples, *oracle.evaluate(images, samples), images)
        tracker.last_images[samples] = images


def _with_failures(result: AttackResult, x: Tensor, failures: dict[str, Tensor]) -> AttackResult:
    """The clean image, and the status, for every sample of a chunk that failed."""
    if not failures:
        return result
    failed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    failed[torch.cat(list(failures.values()))] = True
    wide = failed.view(-1, *(1,) * (x.ndim - 1))
    return replace(
        result,
        images=torch.where(wide, x, result.images),
        last_images=torch.where(wide, x, result.last_images),
        score_trace=torch.where(failed[:, None], result.score_trace[:, :1], result.score_trace),
        norm=torch.where(failed, 0.0, result.norm),
        status=[Status.FAILED if lost else status for lost, status in zip(failed.tolist(), result.status, strict=True)],
        notes=tuple(f"{sentence}; {len(rows)} images count as failed." for sentence, rows in failures.items()),
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[int]:
    """All global generators at a seed of 32 bits, nothing printed, and the generators as they were afterwards.

    That of torch is restored by whoever runs the threat.
    """
    seed %= 2**32
    numpy_state, python_state = np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield seed
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
