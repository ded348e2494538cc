"""Joint training of a confident classifier and a GAN (Lee, Lee, Lee and Shin 2018)."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from bench.detectors.autoencoder import strided_decoder
from bench.detectors.networks.small import SmallConvNet
from bench.detectors.oe import divergence_from_uniform
from bench.training.classifier import Classifier, ClassifierArgs

GENERATOR, CRITIC = "generator.", "critic."
"""Prefixes of their tensors in a checkpoint."""


class ConfidentArgs(ClassifierArgs):
    """Arguments of `Confident`."""

    batch_size: int = 64
    beta: float = Field(default=1.0, ge=0)  # 0.1 in the paper on CIFAR-10
    latent: int = Field(default=100, ge=1)  # standard normal numbers of which an image is made
    channels: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)  # of the critic; the generator's way back
    gan_lr: float = Field(default=1e-3, gt=0)  # of generator and critic, under the same schedule
    gan_momentum: float = Field(default=0.5, ge=0, lt=1)  # the first beta of their Adam


class Confident(Classifier):
    """A classifier unsure of what a generator makes, which is to lie where the classifier is unsure, near ID images.

    The joint confidence loss of section 2.3, whose parts are taken in turn at every step:

        critic:      E log D(x) + E log(1 - D(G(e))) is raised,
        generator:   -E log D(G(e)) + beta E KL(U || p(y | G(e))) is lowered,
        classifier:  -E log p(y | x) + beta E KL(U || p(y | G(e))) is lowered, at fresh draws of e,

    with e standard normal and U the uniform distribution over the classes. Generator and critic are for training alone,
    and no part of the detector. Outliers are not seen.

    Deviations: the generator raises log D(G) in place of lowering log(1 - D(G)), as in the authors' code; small strided
    networks with SiLU and without batch norm in place of DCGAN's; AdamW with warm-up and cosine decay, and a larger
    learning rate than 2e-4 for far fewer steps; ID images are augmented.
    """

    Args = ConfidentArgs
    args: ConfidentArgs

    def prepare(self) -> None:
        """Build generator, critic and the optimiser of all three."""
        args, shape = self.args, self.detector.shape
        self.generator = strided_decoder(shape, args.channels, args.latent).to(self.device)
        self.critic = SmallConvNet(args.channels, 2 * args.channels[-1], 1, shape[0], shape[1]).to(self.device)
        gan = [*self.generator.parameters(), *self.critic.parameters()]
        usual = {"weight_decay": args.weight_decay, "betas": (0.9, 0.999)}
        groups = [
            {"params": [p.requires_grad_(True) for p in self.detector.parameters()], **usual},
            {"params": gan, "weight_decay": 0.0, "betas": (args.gan_momentum, 0.999)},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=args.lr)

    def trained(self) -> nn.Module:
        """Detector, generator and critic."""
        return nn.ModuleList([self.detector, self.generator, self.critic])

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step of the critic, one of the generator, one of the classifier."""
        x, y = self.labelled(generator)
        lr, beta = self.lr_at(number), self.args.beta
        made = self.made(len(x), generator)
        critic = softplus(-self.told(x)).mean() + softplus(self.told(made.detach())).mean()
        self.update_part(self.critic.parameters(), critic, lr)
        fooling = softplus(-self.told(made)).mean()
        self.update_part(self.generator.parameters(), fooling + beta * self.surprise(made), lr)
        classification = cross_entropy(self.logits(x), y)
        confidence = self.surprise(self.made(len(x), generator).detach())
        self.update_part(self.detector.parameters(), classification + beta * confidence, lr)
        terms = {"classification": classification, "KL": confidence, "critic": critic, "generator": fooling}
        return {name: float(term.detach()) for name, term in terms.items()}

    def made(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) images of the generator, in (0, 1)."""
        draws = torch.randn((count, self.args.latent), generator=generator).to(self.device)
        return torch.sigmoid(self.generator(draws))

    def told(self, x: Tensor) -> Tensor:
        """(N,) logit of the critic: high for ID images."""
        logits: Tensor = self.critic(x)
        return logits[:, 0]

    def surprise(self, x: Tensor) -> Tensor:
        """The mean divergence KL(U || p(y | x)) of the uniform distribution."""
        return divergence_from_uniform(self.logits(x)).mean()

    def update_part(self, parameters: Iterable[nn.Parameter], loss: Tensor, lr: float) -> None:
        """One optimiser step of some parameters alone."""
        classifier, gan = self.optimizer.param_groups
        classifier["lr"], gan["lr"] = lr, self.args.gan_lr * lr / self.args.lr
        chosen = list(parameters)
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, gradient in zip(chosen, torch.autograd.grad(loss, chosen), strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Optimiser, generator and critic."""
        parts = ((GENERATOR, self.generator), (CRITIC, self.critic))
        return super().state() | {prefix + k: v for prefix, part in parts for k, v in part.state_dict().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put all three back."""
        rest = dict(state)
        for prefix, part in ((GENERATOR, self.generator), (CRITIC, self.critic)):
            own = {name: rest.pop(name) for name in state if name.startswith(prefix)}
            part.load_state_dict({name.removeprefix(prefix): value for name, value in own.items()})
        super().load_state(rest)
