"""Training of a joint energy-based model (Grathwohl et al. 2020, algorithm 1)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.detectors.jem import log_density
from bench.detectors.logit import needed_network
from bench.errors import BenchError
from bench.training.base import as_attackers_meet_it, seeded
from bench.training.classifier import Classifier, ClassifierArgs
from bench.training.sgld import ReplayBuffer, langevin


class DivergedError(BenchError):
    """Energies ran away during training."""


class JEMArgs(ClassifierArgs):
    """Arguments of `JEM`; images are in [0, 1], where the paper's are in [-1, 1]."""

    batch_size: int = 32
    weight_decay: float = 0.0
    samples: int = Field(default=32, ge=1)  # chains a step
    density_weight: float = Field(default=1.0, ge=0)  # of -log p(x), where log p(y | x) weighs 1
    energy_penalty: float = Field(default=0.001, ge=0)  # times the mean squared energy of data and samples
    data_noise: float = Field(default=0.015, ge=0)  # 0.03 in the paper's units
    sgld_steps: int = Field(default=20, ge=1)  # eta
    step_size: float = Field(default=0.25, gt=0)  # alpha: 1 in the paper's units
    sgld_noise: float = Field(default=0.005, ge=0)  # sigma: 0.01 in the paper's units
    gradient_clip: float | None = Field(default=None, gt=0)  # of a pixel, in a chain
    buffer_size: int = Field(default=2000, ge=1)
    reinit: float = Field(default=0.05, ge=0, le=1)  # rho
    largest_gap: float = Field(default=1000.0, gt=0)  # between energies, before training gives up


class JEM(Classifier):
    """Cross-entropy of p(y | x), plus maximum likelihood of p(x) by contrast with samples of the model itself.

    The gradient of -log p(x) is that of E(x) - E(x'), with E = -logsumexp of the logits and x' from 20 Langevin
    steps that go on from a replay buffer, which begins and is reinitialised (probability 0.05) with uniform noise.

    Deviations: images and chains live in [0, 1] (step size, noise and data noise are the paper's, converted), and
    chains are kept there; places in the buffer are drawn without repetition; a small penalty on squared energies,
    after Du and Mordatch (2019, section 3.3), keeps them near zero, where the paper restarts diverged runs from a
    checkpoint by hand; AdamW with warm-up and cosine decay at a larger learning rate, augmentation by small affine
    maps, and a buffer sized for small sets; `density_weight` may be below the paper's 1, since a network of some
    hundred thousand parameters that must sample well hardly classifies.

    Raises:
        DivergedError: Energies of data and samples lie too far apart, or are not finite.
    """

    Args = JEMArgs
    args: JEMArgs

    def prepare(self) -> None:
        """Build the optimiser and fill the buffer."""
        super().prepare()
        shape = (self.args.buffer_size, *self.detector.shape)
        self.buffer = ReplayBuffer(shape, seeded(self.seed, "buffer"), self.device)

    def log_density(self, x: Tensor) -> Tensor:
        """(N,) up to a constant."""
        return log_density(needed_network(self.detector), x)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Chains out of the buffer, some steps further in evaluation mode, and put back."""
        args = self.args
        places, start = self.buffer.draw(args.samples, args.reinit, generator)
        with as_attackers_meet_it(self.detector):
            samples = langevin(
                self.log_density,
                start,
                generator,
                steps=args.sgld_steps,
                step_size=args.step_size,
                noise=args.sgld_noise,
                clip=args.gradient_clip,
            )
        self.buffer.put(places, samples)
        return samples

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on the joint log-likelihood."""
        x, y = self.labelled(generator)
        noisy = x + self.args.data_noise * torch.randn(x.shape, generator=generator).to(x)
        samples = self.sample(generator)
        classification = cross_entropy(self.logits(x), y)
        density = self.log_density(torch.cat([noisy, samples]))
        inside, outside = density[: len(x)], density[len(x) :]
        gap = outside.mean() - inside.mean()
        self._check(number, float(gap.detach()))
        penalty = inside.square().mean() + outside.square().mean()
        loss = classification + self.args.density_weight * gap + self.args.energy_penalty * penalty
        self.update(loss, self.lr_at(number))
        return {
            "loss": float(loss.detach()),
            "classification": float(classification.detach()),
            "gap": float(gap.detach()),
        }

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors and the chains that wait."""
        return {**super().state(), "buffer": self.buffer.images}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put both back."""
        super().load_state({name: value for name, value in state.items() if name != "buffer"})
        self.buffer.images.copy_(state["buffer"])

    def _check(self, number: int, gap: float) -> None:
        if not abs(gap) <= self.args.largest_gap:  # true for NaN too
            raise DivergedError(
                f"the energies of images and samples lie {gap:g} apart at step {number}, allowed are "
                f"{self.args.largest_gap:g}; lower training.args.lr or step_size, or raise energy_penalty."
            )
