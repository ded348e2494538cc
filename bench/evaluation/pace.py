"""How fast a detector answers on this machine: a few micro-batches, timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cards.threat import Side
from bench.detectors.base import Detector
from bench.detectors.untouched import untouched
from bench.evaluation.scoring import device_of, draws_of
from bench.threat_models.base import Context
from bench.threat_models.gradient import Oracle

_MOST = 9
"""Micro-batches that are timed of each kind at most."""

_FEW = 8
"""Images with which what is done once is done first."""


@dataclass(frozen=True)
class Pace:
    """Seconds that a micro-batch takes.

    Attributes:
        query: Scores alone.
        gradient: Scores and their gradient.
    """

    query: float
    gradient: float


def pace_of(detector: Detector, images: Tensor, micro_batch: int, seconds: float) -> Pace:
    """Time what an attack asks of a detector.

    Args:
        detector: On the device on which to compute, with what it was fitted to.
        images: (N, C, H, W) in [0, 1], some real ones; repeated to fill a micro-batch.
        micro_batch: The batch shape.
        seconds: About how long it may take; one micro-batch of each kind is timed whatever it takes.
    """
    device = device_of(detector)
    filled = images.repeat(-(-micro_batch // len(images)), 1, 1, 1)[:micro_batch].to(device)
    context = Context(Side.EVADE, draws=draws_of(detector))
    oracle = Oracle(detector, ids=torch.arange(micro_batch, device=device), context=context)

    def ask(x: Tensor, rows: Tensor) -> object:
        return oracle.ask(x, rows)

    def ascend(x: Tensor, rows: Tensor) -> object:
        return oracle.ascend(x, rows)

    with untouched(detector):
        query = _median(ask, filled, seconds / 4)
        return Pace(query, _median(ascend, filled, 3 * seconds / 4) if detector.info.differentiable else query)


def _median(ask: Callable[[Tensor, Tensor], object], x: Tensor, seconds: float) -> float:
    """Of the times of a full batch; what a first call prepares is prepared with a small one.

    On one thread of a CPU it is processor time, which other programs do not lengthen.
    """
    rows, waits = torch.arange(len(x), device=x.device), x.device.type == "cuda"
    alone = x.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    ask(x[:_FEW], rows[:_FEW])
    times: list[float] = []
    while not times or (sum(times) < seconds and len(times) < _MOST):
        if waits:
            torch.cuda.synchronize(x.device)
        started = clock()
        ask(x, rows)
        if waits:
            torch.cuda.synchronize(x.device)
        times.append(clock() - started)
    return statistics.median(times)
