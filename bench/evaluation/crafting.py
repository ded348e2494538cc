"""Let a threat craft images, and believe none of what it says: every image is measured and scored afresh."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cards.threat import Norm
from bench.detectors.base import Detector
from bench.errors import CellError
from bench.evaluation.results import SAMPLE_COLUMNS
from bench.evaluation.scoring import Draws, score_images
from bench.metrics.scores import Scores, as_scores
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat
from bench.threat_models.geometry import ORDERS

_ROWS = 1024  # distances are measured in float64, so many images at a time


@dataclass
class Crafted:
    """What an attack came to, one entry an image, as the harness measured it.

    Attributes:
        images: (N, C, H, W) inside ball and box, never worse than the clean image.
        scores: (N,) scored afresh.
        last_scores: (N,) of the last iterates, scored afresh.
        trace: (N, T) best score so far along the attack, by the threat's own account.
        norm: (N,) distance from the clean image in the budget's norm.
        gradients: (N,) spent, by the threat's own count.
        queries: (N,) scores asked for, by the threat's own count.
        status: How each image's attack ended.
        figures: What else the threat measured, (N,) each; NaN where it does not apply.
        faults: Reason -> (N,) whether an image failed for it.
        again: (N,) whether an image was attacked again, since its early stop was not confirmed.
        said: The threat's own notes.
    """

    images: Tensor
    scores: Scores
    last_scores: Scores
    trace: Scores
    norm: Scores
    gradients: NDArray[np.int64]
    queries: NDArray[np.int64]
    status: NDArray[np.object_]
    figures: dict[str, Scores] = field(default_factory=dict)
    faults: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    again: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    said: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """One sentence for everything that was not as it should be."""
        failed = {reason: int(rows.sum()) for reason, rows in self.faults.items()}
        repeated = int(self.again.sum())
        return [
            *dict.fromkeys(self.said),
            *(
                f"{count} of {len(self.scores)} images {reason}; they count as failed, with their clean image."
                for reason, count in failed.items()
                if count
            ),
            *([f"{repeated} early stops were not confirmed; those images were attacked again."] if repeated else []),
        ]

    def without_images(self) -> "Crafted":
        """The same with no image, and without the memory of those there were, which a view would hold."""
        return replace(self, images=torch.empty(0, *self.images.shape[1:]))

    @classmethod
    def joined(cls, parts: Sequence["Crafted"]) -> "Crafted":
        """One after the other, without their images."""
        first = parts[0]
        width = max(part.trace.shape[1] for part in parts)
        return cls(
            images=first.without_images().images,
            trace=np.concatenate([np.pad(p.trace, ((0, 0), (0, width - p.trace.shape[1])), "edge") for p in parts]),
            figures={
                name: np.concatenate([p.figures.get(name, np.full(len(p.scores), np.nan, np.float32)) for p in parts])
                for name in dict.fromkeys(name for part in parts for name in part.figures)
            },
            faults={name: np.concatenate([part.faults[name] for part in parts]) for name in first.faults},
            said=tuple(sentence for part in parts for sentence in part.said),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS},
        )

    def at(self, rows: NDArray[np.int64]) -> "Crafted":
        """Some of the entries, in this order; without their images."""
        return replace(
            self.without_images(),
            trace=self.trace[rows],
            figures={name: values[rows] for name, values in self.figures.items()},
            faults={name: failed[rows] for name, failed in self.faults.items()},
            **{name: getattr(self, name)[rows] for name in _COLUMNS},
        )


_COLUMNS = ("scores", "last_scores", "norm", "gradients", "queries", "status", "again")


def craft(
    detector: Detector,
    threat: Threat,
    x: Tensor,
    clean: Scores,
    *,
    ids: Tensor,
    budget: Budget,
    context: Context,
    earlier: Tensor | None = None,
    batch: int | None = None,
) -> Crafted:
    """Attack images and check what comes back.

    An image outside ball or box, or not finite, counts as failed, and an image that scores worse than the clean one
    counts as the clean one. A stop that the fresh score does not confirm is taken back: that image is attacked again
    without a stop target. Images of a random detector are chosen by one set of draws, and scored with another.

    Args:
        detector: The detector under attack.
        threat: The attacker.
        x: (N, C, H, W) clean images on the detector's device.
        clean: (N,) their scores.
        ids: (N,) sample ids, on the same device.
        budget: Norm and radius.
        context: Side, seed, stop target and what the attacker may use.
        earlier: (N, C, H, W) points that are known already: one that scores better counts. Not of a random detector,
            whose scores differ from draw to draw.
        batch: Images of a pass of the attack itself, at most the context's micro-batch; what it found is scored at
            that one.

    Raises:
        CellError: The threat returned something else than one entry an image, or a score is not finite.
    """

    def attempt(rows: Tensor, chosen: Context) -> Crafted:
        return attempt_attack(detector, threat, x[rows], ids=ids[rows], budget=budget, context=chosen, batch=batch)

    if detector.info.random:
        context = replace(context, stop_target=None)  # a score that lies beyond it in one draw need not in another
    done = attempt(torch.arange(len(x), device=x.device), context)
    if context.stop_target is not None:
        unconfirmed = (done.status == Status.STOPPED) & ~_beyond(done.scores, context, context.stop_target)
        if unconfirmed.any():
            _again(done, unconfirmed, context, attempt)
    if bad := int(np.sum(~np.isfinite(done.scores))):
        raise CellError(
            f"{bad} of {len(x)} attacked images have a score that is not finite; the detector must give one."
        )
    if earlier is not None and not detector.info.random:
        known = score_images(detector, earlier, context.micro_batch, Draws(ids, context.seed))
        _count_earlier(done, earlier, known, x, budget, context)
    worse = context.sign * (done.scores - clean) <= 0
    done.images[torch.from_numpy(worse).to(x.device)] = x[torch.from_numpy(worse).to(x.device)]
    done.scores = np.where(worse, clean, done.scores)
    done.norm = np.where(worse, np.float32(0), done.norm)
    if detector.info.random:
        done.scores = score_images(detector, done.images, context.micro_batch, Draws(ids, context.seed, round=2))
    return done


def _count_earlier(done: Crafted, earlier: Tensor, scores: Scores, x: Tensor, budget: Budget, context: Context) -> None:
    """Put points that were known before in the place of what an attack found, where they are better and allowed."""
    norm, reasons = _measure(earlier, x, budget)
    allowed = ~np.any(list(reasons.values()), axis=0) & np.isfinite(scores)
    better = allowed & (context.sign * (scores - done.scores) > 0)
    chosen = torch.from_numpy(better).to(x.device)
    done.images[chosen] = earlier[chosen]
    done.scores, done.norm = np.where(better, scores, done.scores), np.where(better, norm, done.norm)
    known = np.where(allowed, scores, np.nan)[:, None]  # from the first moment on
    further = np.fmin if context.sign < 0 else np.fmax
    done.trace = as_scores(further(done.trace, known))
    done.queries += 1


def _again(
    done: Crafted, which: NDArray[np.bool_], context: Context, attempt: Callable[[Tensor, Context], Crafted]
) -> None:
    """Attack some images without a stop target, and put the outcome in the place of the earlier one."""
    rows = np.flatnonzero(which)
    chosen = torch.from_numpy(rows).to(done.images.device)
    second = attempt(chosen, replace(context.at(chosen), stop_target=None))
    done.images[chosen] = second.images
    done.scores[rows], done.norm[rows], done.status[rows] = second.scores, second.norm, second.status
    done.last_scores[rows], done.trace[rows] = second.last_scores, second.trace
    for name, values in second.figures.items():
        done.figures[name][rows] = values
    for reason, failed in second.faults.items():
        done.faults[reason][rows] = failed
    done.gradients[rows] += second.gradients
    done.queries[rows] += second.queries
    done.again[rows] = True
    done.said += second.said


def attempt_attack(
    detector: Detector,
    threat: Threat,
    x: Tensor,
    *,
    ids: Tensor,
    budget: Budget,
    context: Context,
    batch: int | None = None,
) -> Crafted:
    """One run of the threat, measured; infeasible images become the clean ones. Arguments as in `craft`."""
    searching = context if batch is None else replace(context, micro_batch=batch)
    result = threat.run(detector, x.clone(), ids=ids, budget=budget, context=searching)
    _check_entries(result, x, type(threat).__name__)
    images = result.images.detach().to(device=x.device, dtype=torch.float32)
    last = result.last_images.detach().to(device=x.device, dtype=torch.float32)
    norm, reasons = _measure(images, x, budget)
    feasible = torch.from_numpy(~np.any(list(reasons.values()), axis=0)).to(x.device)
    images = torch.where(feasible[:, None, None, None], images, x)
    failed = ~feasible.cpu().numpy()
    status = np.array([str(entry) for entry in result.status], dtype=object)  # text of any length
    draws = Draws(ids, context.seed)
    sound = torch.isfinite(last).flatten(1).all(dim=1) & (last >= 0).flatten(1).all(1) & (last <= 1).flatten(1).all(1)
    return Crafted(
        images=images,
        scores=score_images(detector, images, context.micro_batch, draws),
        last_scores=score_images(
            detector, torch.where(sound[:, None, None, None], last, images), context.micro_batch, draws
        ),
        trace=as_scores(result.score_trace.detach().cpu().numpy()),
        norm=np.where(failed, np.float32(0), norm),
        gradients=result.gradients.detach().cpu().numpy().astype(np.int64),
        queries=result.queries.detach().cpu().numpy().astype(np.int64),
        status=np.where(failed, str(Status.FAILED), status),
        figures={name: values.detach().cpu().numpy().astype(np.float32) for name, values in result.figures.items()},
        faults=reasons,
        again=np.zeros(len(x), dtype=bool),
        said=tuple(result.notes),
    )


def _measure(images: Tensor, x: Tensor, budget: Budget) -> tuple[Scores, dict[str, NDArray[np.bool_]]]:
    """(N,) distances from the clean images, and for each kind of fault which images have it."""
    norms, unfinite, outside = [], [], []
    for start in range(0, len(x), _ROWS):
        mine = images[start : start + _ROWS].flatten(1)
        finite = torch.isfinite(mine).all(dim=1)
        delta = (mine - x[start : start + _ROWS].flatten(1)).double()
        distance = torch.linalg.vector_norm(delta, ord=ORDERS[budget.norm or Norm.L2], dim=1)
        norms.append(torch.where(finite, distance, 0.0).cpu().numpy())
        unfinite.append((~finite).cpu().numpy())
        outside.append((finite & ((mine < 0) | (mine > 1)).any(dim=1)).cpu().numpy())
    norm = np.concatenate(norms)
    reasons = {"were not finite": np.concatenate(unfinite), "left the box [0, 1]": np.concatenate(outside)}
    if budget.eps is not None:
        # 1e-5 for the projection's rounding, and one unit in the last place of a pixel near 1.
        reasons[f"left the ball of radius {budget.eps:g}"] = norm > budget.eps * (1 + 1e-5) + 2.0**-23
    return norm.astype(np.float32), reasons


def _check_entries(result: AttackResult, x: Tensor, name: str) -> None:
    if result.images.shape != x.shape:
        raise CellError(f"{name} returned images {tuple(result.images.shape)} for {tuple(x.shape)}; give one an image.")
    if result.last_images.shape != x.shape:
        raise CellError(f"{name} returned last images {tuple(result.last_images.shape)} for {tuple(x.shape)}.")
    columns = {"gradients": result.gradients, "queries": result.queries, "trace": result.score_trace, **result.figures}
    lengths = {"status": len(result.status), **{what: len(given) for what, given in columns.items()}}
    if reserved := sorted(set(result.figures) & set(SAMPLE_COLUMNS)):
        raise CellError(f"{name} measures '{reserved[0]}', which is a column of every cell; give it another name.")
    for what, length in lengths.items():
        if length != len(x):
            raise CellError(f"{name} returned {length} entries of {what} for {len(x)} images; give one an image.")


def _beyond(scores: Scores, context: Context, target: float) -> NDArray[np.bool_]:
    return np.asarray(context.sign * scores > context.sign * scores.dtype.type(target))
