"""Every recipe written once more, straight from its paper and its settings: slow, and as short as it can be.

A naive recipe knows which images a step sees, what their loss is, what is trained and at which learning rate. The
optimiser is torch's own. `test_recipes_against_naive.py` holds each recipe to its naive form.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from bench.cards.threat import Norm
from bench.datasets.base import ImageSet, TrainingData
from bench.threat_models.geometry import project
from bench.training.augment import affine, dihedral, flip
from bench.training.base import RecipeArgs, seeded
from bench.training.ccu import fit_mixture


class Naive:
    """A training by hand: AdamW on `loss`, the learning rate of each step from `lr`."""

    warm_up = 0.05  # share of the steps over which the learning rate rises

    def __init__(self, detector: Any, data: TrainingData, args: RecipeArgs, seed: int) -> None:
        self.detector, self.data, self.args, self.seed = detector, data, args, seed
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.groups(), weight_decay=self.decay())

    @property
    def total(self) -> int:
        return self.args.steps

    def parameters(self) -> list[Tensor]:
        return list(self.detector.parameters())

    def groups(self) -> list[Any]:
        return self.parameters()

    def decay(self) -> float:
        return self.args.weight_decay

    def lr(self, number: int) -> float:
        done = number / self.total
        if done < self.warm_up:
            return self.args.lr * done / self.warm_up
        return self.args.lr * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up))) / 2

    def set_lr(self, number: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(number)

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        figures = self.loss(number, generator)
        loss = figures[next(iter(figures))] if "minimised" not in figures else figures.pop("minimised")
        self.set_lr(number)
        self.optimizer.zero_grad()
        loss.backward()
        self.clip()
        self.optimizer.step()
        self.after()
        return {name: float(value.detach()) for name, value in figures.items()}

    def take(self, weights: Iterable[Tensor]) -> None:
        """Go on from these weights."""
        with torch.no_grad():
            for own, given in zip(self.parameters(), weights, strict=True):
                own.copy_(given)

    def clip(self) -> None:
        pass

    def after(self) -> None:
        pass

    def loss(self, number: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Figures of a step, the loss first, or under the name `minimised` where it is not told."""
        raise NotImplementedError

    def drawn(self, images: ImageSet, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (count,), generator=generator)
        return images.pixels()[rows], images.labels[rows]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        x = affine(x, generator, degrees=self.args.degrees, shift=self.args.shift, scale=self.args.scale)
        return flip(x, generator) if self.args.mirror else x

    def inside(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = self.drawn(self.data.train, self.args.batch_size, generator)
        return self.augment(x, generator), y

    def outside(self, count: int, generator: torch.Generator) -> Tensor:
        x, _ = self.drawn(self.data.outliers, count, generator)
        return self.augment(dihedral(x, generator) if self.args.turn_outliers else x, generator)


class Classifier(Naive):
    """- mean log p(y | x)."""

    def loss(self, number, generator):
        return {"loss": surprise(self.detector.network, *self.inside(generator))}


class Autoencoder(Naive):
    """Mean squared error of pixels."""

    def loss(self, number, generator):
        x, _ = self.inside(generator)
        return {"MSE": (self.detector.reconstruct(x) - x).square().mean()}


class EnsembleClassifier(Naive):
    """Every member on a batch of its own; the mean of the losses is told, their sum minimised."""

    def loss(self, number, generator):
        losses = [surprise(member, *self.inside(generator)) for member in self.detector.network.network.members]
        return {"minimised": sum(losses), "loss": sum(losses) / len(losses)}


class OutlierExposure(Naive):
    """Cross-entropy, plus lambda times the cross-entropy of outliers to the uniform distribution."""

    def loss(self, number, generator):
        x, y = self.inside(generator)
        z = self.outside(len(x), generator)
        classification = surprise(self.detector.network, x, y)
        exposure = -torch.log_softmax(self.detector.network(z), dim=1).mean()
        return {"loss": classification + self.args.weight * exposure, "classification": classification}


class AOE(Naive):
    """The same on outliers after one step against the sign of the energy's gradient, by default with hinges."""

    def energy(self, x):
        return -self.detector.network(x).exp().sum(1).log()

    def loss(self, number, generator):
        x, y = self.inside(generator)
        z = self.outside(len(x), generator).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.energy(z).sum(), z)
        z = z.detach()
        if self.args.eps > 0:
            z = (z - self.args.eps * slope.sign()).clamp(0, 1)
        classification = surprise(self.detector.network, x, y)
        if self.args.loss == "uniform":
            exposure = -torch.log_softmax(self.detector.network(z), dim=1).mean()
        else:
            exposure = (self.energy(x) - self.args.margin_inside).relu().square().mean()
            exposure = exposure + (self.args.margin_outside - self.energy(z)).relu().square().mean()
        return {"loss": classification + self.args.weight * exposure, "classification": classification}


class Adversarial(Naive):
    """Cross-entropy where it is largest nearby: steps along the sign of its gradient from a point of a growing ball."""

    def loss(self, number, generator):
        x, y = self.inside(generator)
        args, grown = self.args, self.args.ramp * self.total
        share = number / grown if number < grown else 1.0
        z = x + share * args.eps * (2 * torch.rand(x.shape, generator=generator) - 1)
        z = z.clamp(0, 1)
        for _ in range(args.ascents):
            z = z.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(surprise(self.detector.network, z, y), z)
            moved = z.detach() + share * args.step_size * slope.sign()
            z = torch.minimum(torch.maximum(moved, x - share * args.eps), x + share * args.eps).clamp(0, 1)
        return {"loss": surprise(self.detector.network, z.detach(), y)}


class GAT(Naive):
    """Algorithm 3: outliers ascend on the logit of D, by K steps of one length; D tells them from ID images."""

    @property
    def total(self):
        return sum(self.args.iterations for _ in range(self.args.max_k + 1)) + self.args.last_iterations

    def lr(self, number):
        done = number / self.total
        return self.args.lr * (done / 0.02 if done < 0.02 else (1 + math.cos(math.pi * done)) / 2)

    def loss(self, number, generator):
        x, _ = self.inside(generator)
        z = self.outside(len(x), generator)
        schedule = [k for k in range(self.args.max_k + 1) for _ in range(self.args.iterations)]
        k = schedule[number] if number < len(schedule) else self.args.max_k
        for _ in range(k):
            z = z.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.detector.score(z).sum(), z)
            z = torch.stack([image + self.args.step_size * g / g.norm() for image, g in zip(z, slope, strict=True)])
        loss = told_apart(self.detector.score(x), self.detector.score(z.detach()))
        return {"loss": loss, "K": torch.tensor(float(k))}


class CommitteeGAT(Naive):
    """Algorithm 1 for every member: images of its class, and others after ascent in a ball that grows."""

    def parameters(self):
        return list(self.detector.members.parameters())

    def lr(self, number):
        done = number / self.total
        return self.args.lr * (done / 0.05 if done < 0.05 else (1 + math.cos(math.pi * done)) / 2)

    def loss(self, number, generator):
        args, members = self.args, list(self.detector.members)
        accepted, attacked = self.batch(generator)
        grown = min(1.0, number / max(1.0, args.growth * args.steps))
        losses = []
        for member, own, others in zip(members, accepted, attacked, strict=True):
            moved = others
            for _ in range(args.ascent_steps if grown > 0 else 0):  # at radius 0 there is nowhere to go
                moved = moved.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(member(moved).sum(), moved)
                ahead = [m + args.step_size * grown * g / g.norm() for m, g in zip(moved, slope, strict=True)]
                moved = project(torch.stack(ahead).detach(), others, Norm.L2, args.eps * grown)
            losses.append(told_apart(member(own)[:, 0], member(moved.detach())[:, 0]))
        eps = torch.tensor(args.eps * grown)
        return {"minimised": sum(losses), "loss": sum(losses) / len(losses), "eps": eps}

    def batch(self, generator):
        """For each member m images of its class, and m others: of other classes, and outliers in the given share."""
        size, count = self.args.batch_size, len(self.detector.members)
        outliers = round(self.args.outliers * size)
        others = torch.randint(1, max(2, count), (count, size - outliers), generator=generator)
        wanted = [[k] * size + [(k + int(d)) % count for d in others[k]] for k in range(count)]
        flat = torch.tensor(wanted).flatten()
        train = self.data.train
        rows = {k: torch.nonzero(train.labels == k).flatten() for k in range(count)}
        share = torch.rand(len(flat), generator=generator, dtype=torch.float64)
        picked = [rows[k][int(u * len(rows[k]))] for k, u in zip(flat.tolist(), share, strict=True)]
        inside = self.augment(train.pixels()[torch.stack(picked)], generator)
        outside = self.outside(count * outliers, generator).split(outliers) if outliers else [inside[:0]] * count
        parts = [part.split([size, size - outliers]) for part in inside.split(2 * size - outliers)]
        return [own for own, _ in parts], [torch.cat([o, out]) for (_, o), out in zip(parts, outside, strict=True)]


class SDIM(Naive):
    """Equation 7, with the critic's bound summed pair by pair and the margins class by class."""

    def __init__(self, detector, data, args, seed, critic):
        self.critic = critic
        super().__init__(detector, data, args, seed)

    def parameters(self):
        return [*self.detector.parameters(), *self.critic.parameters()]

    def loss(self, number, generator):
        args = self.args
        x, y = self.inside(generator)
        activations = self.detector.network.activations(x)
        maps, codes = activations["stage2"], activations["logits"]  # the last map, and what represents the image
        turn = int(torch.randint(1, len(x), (), generator=generator))
        information = 0.0
        for i in range(len(x)):
            code = codes[i : i + 1]
            information = information - softplus(-self.value(maps[i : i + 1], code)).mean() / len(x)
            another = (i + turn) % len(x)
            information = information - softplus(self.value(maps[another : another + 1], code)).mean() / len(x)
        likelihoods = torch.stack([self.likelihoods(code) for code in codes])
        if args.per_dimension:
            likelihoods = likelihoods / codes.shape[1]
        nll = -sum(row[label] for row, label in zip(likelihoods, y, strict=True)) / len(x)
        gaps = [
            (row[c] + args.margin - row[label]).relu() ** 2
            for row, label in zip(likelihoods, y, strict=True) for c in range(len(row)) if c != label
        ]  # fmt: skip
        margins = sum(gaps) / len(gaps)
        loss = -args.alpha * information + args.beta * nll + args.gamma * margins
        return {"loss": loss, "information": information, "NLL": nll, "margins": margins}

    def value(self, image_map, code):
        """T at every place of one map, by 1 x 1 convolutions."""
        critic = self.critic
        first = critic.local(image_map) + critic.representation(code)[:, :, None, None]
        return critic.output(critic.hidden(first.relu()).relu())

    def likelihoods(self, code):
        """log N(code; mean, std) of every class."""
        gaussians = self.detector.class_conditional
        normal = torch.distributions.Normal(gaussians.means, gaussians.log_stds.exp())
        return normal.log_prob(code).sum(dim=1)


class JEM(Naive):
    """Cross-entropy, and energies of noisy images against those of Langevin chains out of a buffer."""

    def __init__(self, detector, data, args, seed):
        super().__init__(detector, data, args, seed)
        self.buffer = torch.rand((args.buffer_size, *detector.shape), generator=seeded(seed, "buffer"))

    def energy(self, x):
        return -self.detector.network(x).exp().sum(1).log()

    def loss(self, number, generator):
        args = self.args
        x, y = self.inside(generator)
        noisy = x + args.data_noise * torch.randn(x.shape, generator=generator)
        chains = self.chains(generator)
        low, high = self.energy(noisy), self.energy(chains)
        classification, gap = surprise(self.detector.network, x, y), low.mean() - high.mean()
        penalty = low.square().mean() + high.square().mean()
        loss = classification + args.density_weight * gap + args.energy_penalty * penalty
        return {"loss": loss, "classification": classification, "gap": gap}

    def chains(self, generator):
        args = self.args
        places = torch.randperm(len(self.buffer), generator=generator)[: args.samples]
        x = self.buffer[places]
        anew = torch.rand(len(x), generator=generator) < args.reinit
        fresh = torch.rand(x.shape, generator=generator)
        x[anew] = fresh[anew]
        for _ in range(args.sgld_steps):
            x = x.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(-self.energy(x).sum(), x)
            if args.gradient_clip is not None:
                slope = slope.clamp(-args.gradient_clip, args.gradient_clip)
            x = x + args.step_size * slope + args.sgld_noise * torch.randn(x.shape, generator=generator)
            x = x.detach().clamp(0, 1)
        self.buffer[places] = x
        return x


class Glow(Naive):
    """Equation 6 with a weight on -log p(y | x), in whole shifts of uniformly dequantised images."""

    def decay(self):
        return 0.0

    def lr(self, number):
        rising = (number + 1) / max(1.0, self.total / 50)
        return self.args.lr * min(rising, (1 + math.cos(math.pi * number / self.total)) / 2)

    def loss(self, number, generator):
        args, detector = self.args, self.detector
        x, y = self.drawn(self.data.train, args.batch_size, generator)
        moves = torch.randint(2 * args.shift + 1, (2, len(x)), generator=generator)
        wide = pad(x, (args.shift,) * 4, mode="replicate")
        side = x.shape[-1]
        x = torch.stack([image[:, i : i + side, j : j + side] for image, i, j in zip(wide, *moves, strict=True)])
        x = flip(x, generator) if args.mirror else x
        draws = torch.rand(len(x), 2, side, side, generator=generator)  # one channel, and one of noise
        if number == 0:
            detector.flow.initialise(detector.flow_input(x, draws))
        of_classes = detector.class_log_likelihoods(x, draws)
        nats = -of_classes[torch.arange(len(x)), y].mean() / x[0].numel()
        wrong = -torch.log_softmax(of_classes, dim=1)[torch.arange(len(x)), y].mean()
        return {"minimised": nats + args.classification * wrong, "bits/dim": nats / math.log(2)}

    def clip(self):
        length = torch.stack([p.grad.square().sum() for p in self.parameters() if p.grad is not None]).sum().sqrt()
        if length > self.args.clip:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad *= self.args.clip / length


class CCU(Naive):
    """Section 2: labels and images together, outliers with all labels alike; mixtures at a rate of their own."""

    def groups(self):
        mixtures = [*self.detector.inside.parameters(), *self.detector.outside.parameters()]
        network = list(self.detector.network.parameters())
        return [{"params": network}, {"params": mixtures, "weight_decay": 0.0}]

    def set_lr(self, number):
        network, mixtures = self.optimizer.param_groups
        network["lr"], mixtures["lr"] = self.lr(number), self.args.mixture_lr * self.lr(number) / self.args.lr

    def after(self):
        least = float(self.detector.inside.log_variances.max()) + math.log(self.args.variance_ratio)
        with torch.no_grad():
            self.detector.outside.log_variances.clamp_(min=least)

    def loss(self, number, generator):
        size = self.args.batch_size
        if number == 0:
            batches = math.ceil(self.args.fit_images / size)
            near = torch.cat([self.inside(generator)[0] for _ in range(batches)])
            far = torch.cat([self.outside(size, generator) for _ in range(batches)])
            seed = int(torch.randint(2**31, (), generator=generator))
            fit_mixture(self.detector.inside, near.flatten(1), self.args.fit_iterations, seed)
            fit_mixture(self.detector.outside, far.flatten(1), self.args.fit_iterations, seed)
            self.after()
        (x, y), z = self.inside(generator), self.outside(size, generator)
        (labels_x, p_x), (labels_z, p_z) = self.detector.log_probabilities(x), self.detector.log_probabilities(z)
        classification = -labels_x[torch.arange(size), y].mean()
        exposure, nll, ratio = -labels_z.mean(), -p_x.mean(), self.detector.prior_ratio
        loss = (classification + nll + ratio * (exposure - p_z.mean())) / (1 + ratio)
        return {"minimised": loss, "classification": classification, "exposure": exposure, "NLL": nll}


def surprise(network: Any, x: Tensor, y: Tensor) -> Tensor:
    """- mean log p(y | x) of the softmax."""
    return -torch.log_softmax(network(x), dim=1)[torch.arange(len(x)), y].mean()


def told_apart(inside: Tensor, outside: Tensor) -> Tensor:
    """- E log D(inside) - E log(1 - D(outside)) of logits."""
    accepted = binary_cross_entropy_with_logits(inside, torch.ones_like(inside))
    return accepted + binary_cross_entropy_with_logits(outside, torch.zeros_like(outside))


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))
