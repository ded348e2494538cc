"""What an attack asks of a detector, at one batch shape, so that no sample feels its batch mates."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models.base import Context
from bench.threat_models.objectives import Objective, objective_of


class Oracle:
    """What an attacker asks the detector, seen from the attacker's side: higher is always better for the attack.

    Float32 convolutions depend on the batch shape, so every question has `micro_batch` images: `batches` cuts a list of
    rows, `pad` fills the last piece with copies of its first row, and the caller drops their answers. Every question
    says which of the attacked images its rows stem from, since labels and noise go with them.

    Args:
        detector: Frozen, in evaluation mode.
        ids: (N,) sample ids of the attacked images.
        context: Side, batch shape, and what the side needs.
        objective: What is asked; None asks for what the side is after.
    """

    def __init__(
        self, detector: Detector, *, ids: Tensor, context: Context, objective: Objective | None = None
    ) -> None:
        self.detector = detector
        self.micro_batch = context.micro_batch
        self._held = context.held
        self._settings: Callable[[], AbstractContextManager[None]] = nullcontext
        self._objective = objective_of(detector, ids, context) if objective is None else objective

    def on_copy(self, *, ids: Tensor, context: Context) -> "Oracle | None":
        """The same questions to the copy that an attack may search with; None where there is none.

        Args:
            ids: (N,) sample ids of the attacked images.
            context: As this oracle has it.
        """
        if context.search is None:
            return None
        made = Oracle(context.search.detector, ids=ids, context=context)
        made._settings = context.search.running
        return made

    def batches(self, rows: int) -> Iterator[slice]:
        """Slices of at most `micro_batch` rows that cover all of them."""
        return (slice(start, min(start + self.micro_batch, rows)) for start in range(0, rows, self.micro_batch))

    def pad(self, rows: Tensor) -> Tensor:
        """The rows (at most `micro_batch` of them) followed by copies of the first one, `micro_batch` in all."""
        return self.fill(rows, self.micro_batch - len(rows))

    @staticmethod
    def fill(rows: Tensor, missing: int) -> Tensor:
        """The rows followed by so many copies of the first one."""
        return rows if missing == 0 else torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])

    def evaluate(self, x: Tensor, samples: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Criterion and direction, (R,) each, of any number of images; NaN stays NaN.

        Args:
            x: (R, C, H, W) images.
            samples: (R,) from which of the attacked images each stems; None where they are those, in order.
        """
        samples = torch.arange(len(x), device=x.device) if samples is None else samples
        criteria = x.new_empty(len(x), dtype=self._held(x))
        directions = criteria.clone()
        for batch in self.batches(len(x)):
            own, direction = self.ask(self.pad(x[batch]), self.pad(samples[batch]))
            criteria[batch], directions[batch] = own[: len(x[batch])], direction[: len(x[batch])]
        return criteria, directions

    @torch.no_grad()
    def ask(self, x: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Criterion and direction, (micro_batch,) each, of a full batch."""
        criterion, direction = self._objective(x, samples)
        held, same = self._held(x), direction is criterion
        criterion = criterion.to(held)
        return criterion, criterion if same else direction.to(held)

    def ascend(self, x: Tensor, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Criterion, direction and the direction's gradient to x (zero where there is none) of a full batch.

        Where criterion and direction are one number, both are the same tensor.
        """
        with torch.enable_grad(), self._settings():
            x = x.detach().requires_grad_(True)
            criterion, direction = self._objective(x, samples)
            gradient = None
            if direction.requires_grad:
                (gradient,) = torch.autograd.grad(direction, x, torch.ones_like(direction), allow_unused=True)
        if gradient is None:
            gradient = torch.zeros_like(x)
        held, same = self._held(x), direction is criterion
        criterion = criterion.detach().to(held)
        # A copy of another memory layout hands its own layout back.
        return criterion, criterion if same else direction.detach().to(held), gradient.contiguous()
