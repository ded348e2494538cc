"""The minimax form of Generative Adversarial Training: Algorithm 2 of the GAT paper (anonymous authors, 2020)."""

import torch
from pydantic import Field
from torch import Tensor

from bench.training.augment import augmented_outliers
from bench.training.base import pick, seeded
from bench.training.gat import Discriminator, DiscriminatorArgs

TOGETHER = 256
"""So many samples are moved at a time."""


class MinimaxGATArgs(DiscriminatorArgs):
    """Arguments of `MinimaxGAT`; lengths in [0, 1] pixel units (L2)."""

    steps: int = 3000  # optimiser steps of D
    updates: int = Field(default=20, ge=1)  # of them before each move of the samples: line 3's "until converge"
    samples: int = Field(default=1300, ge=1)  # images that p_t consists of
    step_size: float = 0.1  # lambda of line 4


class MinimaxGAT(Discriminator):
    """D learns to tell ID images from samples p_t, which then take one step of ascent on D; and again from there.

    min over p_t max over D of E log D(x) + E_{p_t} log(1 - D(x)), which is that of GANs without a generator. The
    samples begin as outliers and are moved all together, each by a step of L2 length `step_size` along the gradient of
    D; they are never drawn anew, nor projected onto a ball or the box. As the logit of D rises wherever log(1 - D)
    falls and the step is normalised, ascent on the logit is line 4 without its underflow.

    In place of the maximin form (`bench.training.gat`), where D must be low wherever outliers could go, D need only
    know where p_t is now: the paper names its values elsewhere unpredictable, and this D of little use for detection.

    Deviations: a fixed number of optimiser steps stands for "until converge", and training ends after a number of
    moves, not where p_t equals p_k; AdamW with warm-up and cosine decay; samples are augmented once, as they are drawn,
    and ID images at every step.
    """

    Args = MinimaxGATArgs
    args: MinimaxGATArgs

    @property
    def total_steps(self) -> int:
        """Optimiser steps of D."""
        return self.args.steps

    def prepare(self) -> None:
        """Build the optimiser and draw the samples."""
        super().prepare()
        generator = seeded(self.seed, "samples")
        drawn, _ = pick(self.outliers, self.args.samples, generator, self.device)
        self.samples = augmented_outliers(drawn, self.args, generator)

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """A part of line 3; line 4 where it is time."""
        inside = self.inside(generator)
        drawn = torch.randint(len(self.samples), (self.args.batch_size,), generator=generator)
        loss = self.told_apart(inside, self.samples[drawn.to(self.device)], number)
        moves, left = divmod(number + 1, self.args.updates)
        if left == 0:
            self.samples = torch.cat([self.ascend(some, 1) for some in torch.split(self.samples, TOGETHER)])
        return {"loss": loss, "moves": float(moves)}

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors and the samples."""
        return {**super().state(), "samples": self.samples}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put both back."""
        super().load_state({name: value for name, value in state.items() if name != "samples"})
        self.samples = state["samples"].to(self.device)
