"""Every recipe written once more, straight from its paper and its settings: slow, and as short as it can be.

A naive recipe knows which images a step sees, what their loss is, what is trained and at which learning rate. The
optimiser is torch's own. `test_recipes_against_naive.py` holds each recipe to its naive form.
"""

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad, silu

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
    """The same on outliers after signed steps down the energy, or with Gaussian noise; by default with hinges."""

    def energy(self, x):
        return -self.detector.network(x).exp().sum(1).log()

    def loss(self, number, generator):
        x, y = self.inside(generator)
        z = start = self.outside(len(x), generator)
        if self.args.perturbation == "noise":
            z = (z + self.args.eps * torch.randn(z.shape, generator=generator)).clamp(0, 1)
        elif self.args.eps > 0:
            count = self.args.attack_steps
            size = self.args.eps * (1 if count == 1 else 2.5 / count)
            for _ in range(count):
                z = z.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(self.energy(z).sum(), z)
                z = z.detach() - size * slope.sign()
                if count > 1:
                    z = start + (z - start).clamp(-self.args.eps, self.args.eps)
                z = z.clamp(0, 1)
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


class ACET(Naive):
    """Cross-entropy, and the largest confidence that a search meets around filtered noise, image by image."""

    def loss(self, number, generator):
        x, y = self.inside(generator)
        noise = self.noise(x, generator)
        classification = surprise(self.detector.network, x, y)
        confidence = self.confidence(self.surest(noise, generator)).mean()
        loss = classification + self.args.weight * confidence
        return {"minimised": loss, "classification": classification, "log confidence": confidence}

    def confidence(self, x):
        return torch.log_softmax(self.detector.network(x), dim=1).amax(dim=1)

    def noise(self, x, generator):
        args, count = self.args, round(self.args.permuted * len(x))
        pixels = x[0].numel()
        images = [image.flatten()[torch.randperm(pixels, generator=generator)].view_as(image) for image in x[:count]]
        images += list(torch.rand((len(x) - count, *x.shape[1:]), generator=generator))
        found = []
        for image, u in zip(images, torch.rand(len(x), generator=generator), strict=True):
            sigma = float(args.least_blur + (args.most_blur - args.least_blur) * u)
            blurred = torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma), mode="reflect", radius=7))
            found.append((blurred - blurred.min()) / (blurred.max() - blurred.min()))
        return torch.stack(found)

    def surest(self, x, generator):
        args = self.args
        lengths = torch.rand((len(x), 1, 1, 1), generator=generator)
        z = (x + args.eps * lengths * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
        met = [x, z]
        for _ in range(args.ascents):
            z = z.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.confidence(z).sum(), z)
            moved = z.detach() + args.step_size * slope.sign()
            z = torch.minimum(torch.maximum(moved, x - args.eps), x + args.eps).clamp(0, 1)
            met.append(z)
        met = torch.stack([point.detach() for point in met])
        surest = torch.stack([self.confidence(points) for points in met]).argmax(dim=0)
        return met[surest, torch.arange(len(x))]


class GOOD(Naive):
    """Cross-entropy, and bounds on the differences of logits around outliers, image by image and pair by pair."""

    def loss(self, number, generator):
        args, network = self.args, self.detector.network
        x, y = self.inside(generator)
        z = self.outside(len(x), generator)
        eps = args.eps * min(1.0, number / (args.eps_ramp * args.steps))
        bounds = [self.bound(image, eps) for image in z]
        lowest = sorted(range(len(z)), key=lambda i: float(bounds[i].detach()))[: math.floor(args.quantile * len(z))]
        plain = [logits.max() - logits.min() for logits in network(z)]
        sizes = torch.stack([bounds[i] if i in lowest else plain[i] for i in range(len(z))])
        classification, exposure = surprise(network, x, y), (1 + sizes**2 / 2).log().mean()
        loss = classification + args.weight * min(1.0, number / (args.weight_ramp * args.steps)) * exposure
        return {"minimised": loss, "classification": classification, "bound": sizes.mean()}

    def bound(self, image, eps):
        """The largest upper bound of a difference of two logits in the ball around an image."""
        inner = self.detector.network.network
        low, high = (image[None] - eps).clamp(0, 1), (image[None] + eps).clamp(0, 1)
        for layer in inner.convolutions:
            low, high = between(layer, low, high)
        low, high = between(inner.hidden, low.flatten(1), high.flatten(1))
        weight, bias = inner.output.weight, inner.output.bias
        pairs = [(weight[i] - weight[j], bias[i] - bias[j]) for i in range(len(weight)) for j in range(len(weight))]
        return torch.stack([torch.maximum(row * low[0], row * high[0]).sum() + offset for row, offset in pairs]).max()


def between(layer: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest SiLU of a layer's units, by the parts of its weights above and below zero."""
    up, down = copy.copy(layer), copy.copy(layer)
    up._parameters = {"weight": layer.weight.clamp_min(0), "bias": layer.bias}
    down._parameters = {"weight": layer.weight.clamp_max(0), "bias": torch.zeros_like(layer.bias)}
    low, high = up(low) + down(high), up(high) + down(low)
    turning = torch.full_like(low, -1.27846454).clamp(low.detach(), high.detach())
    ends = torch.stack([silu(low), silu(high), silu(turning)])
    return ends.amin(dim=0), ends.amax(dim=0)


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


class MinimaxGAT(Naive):
    """Algorithm 2: D tells ID images from samples, which begin as outliers and take a step after some of D's."""

    def __init__(self, detector, data, args, seed):
        super().__init__(detector, data, args, seed)
        self.samples = self.outside(args.samples, seeded(seed, "samples"))

    lr = GAT.lr

    def loss(self, number, generator):
        self.number = number
        x, _ = self.inside(generator)
        rows = torch.randint(self.args.samples, (len(x),), generator=generator)
        loss = told_apart(self.detector.score(x), self.detector.score(self.samples[rows]))
        return {"loss": loss, "moves": torch.tensor(float((number + 1) // self.args.updates))}

    def after(self):
        if (self.number + 1) % self.args.updates == 0:
            z = self.samples.requires_grad_(True)
            (slope,) = torch.autograd.grad(self.detector.score(z).sum(), z)
            moved = [image + self.args.step_size * g / g.norm() for image, g in zip(z, slope, strict=True)]
            self.samples = torch.stack(moved).detach()


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
            for row, label in zip(likelihoods, y, strict=True)
            for c in range(len(row))
            if c != label
        ]
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
        args = self.args
        x, y = self.drawn(self.data.train, args.batch_size, generator)
        moves = torch.randint(2 * args.shift + 1, (2, len(x)), generator=generator)
        wide = pad(x, (args.shift,) * 4, mode="replicate")
        side = x.shape[-1]
        x = torch.stack([image[:, i : i + side, j : j + side] for image, i, j in zip(wide, *moves, strict=True)])
        x = flip(x, generator) if args.mirror else x
        of_classes = self.of_classes(x, number, generator)
        nats = -of_classes[torch.arange(len(x)), y].mean() / x[0].numel()
        wrong = -torch.log_softmax(of_classes, dim=1)[torch.arange(len(x)), y].mean()
        return {"minimised": nats + args.classification * wrong, "bits/dim": nats / math.log(2)}

    def of_classes(self, x, number, generator):
        detector = self.detector
        draws = torch.rand(len(x), 2, *x.shape[2:], generator=generator)  # one channel, and one of noise
        if number == 0:
            detector.flow.initialise(detector.flow_input(x, draws))
        return detector.class_log_likelihoods(x, draws)

    def clip(self):
        length = torch.stack([p.grad.square().sum() for p in self.parameters() if p.grad is not None]).sum().sqrt()
        if length > self.args.clip:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad *= self.args.clip / length


class PixelCNN(Glow):
    """The same with nothing to draw, and every image for itself."""

    def of_classes(self, x, number, generator):
        return torch.cat([self.detector.class_log_likelihoods(image[None]) for image in x])


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


class GBZ(Naive):
    """The variational bound of log p(x, y), image by image, with densities from torch."""

    def loss(self, number, generator):
        x, y = self.inside(generator)
        draws = torch.randn((len(x), 1, self.detector.params.latent), generator=generator)
        parts = torch.stack([self.logarithms(*each) for each in zip(x, y, draws[:, 0], strict=True)]).mean(dim=0)
        pixels, label, prior, posterior = parts
        loss = -(pixels + label + self.args.beta * (prior - posterior))
        return {"loss": loss, "error": -pixels, "classification": -label}

    def logarithms(self, image, label, draw):
        """Of p(x|z), p(y|z), p(z) and q(z|x,y) at one z."""
        detector = self.detector
        hot = torch.eye(detector.classes)[label]
        mean, log_std = detector.inference(torch.cat([silu(detector.encoder(image[None]))[0], hot])).chunk(2)
        z = mean + log_std.exp() * draw
        prior, posterior = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(mean, log_std.exp())
        pixels = -(torch.sigmoid(detector.decoder(z[None]))[0] - image).square().sum()
        of_label = torch.log_softmax(detector.classifier(z), dim=0)[label]
        return torch.stack([pixels, of_label, prior.log_prob(z).sum(), posterior.log_prob(z).sum()])


class Confident(Naive):
    """Critic, generator and classifier in turn, each by its own loss."""

    def __init__(self, detector, data, args, seed, generator, critic):
        self.generator, self.critic = generator, critic
        super().__init__(detector, data, args, seed)

    def parts(self):
        return [list(part.parameters()) for part in (self.detector, self.generator, self.critic)]

    def parameters(self):
        return [parameter for part in self.parts() for parameter in part]

    def groups(self):
        classifier, generator, critic = self.parts()
        gan = {"params": generator + critic, "weight_decay": 0.0, "betas": (self.args.gan_momentum, 0.999)}
        return [{"params": classifier}, gan]

    def step(self, number, generator):
        args, network = self.args, self.detector.network
        for group, most in zip(self.optimizer.param_groups, (args.lr, args.gan_lr), strict=True):
            group["lr"] = self.lr(number) / args.lr * most
        x, y = self.inside(generator)
        fakes = [torch.randn((len(x), args.latent), generator=generator) for _ in range(2)]
        own, of_generator, of_critic = self.parts()
        critic = told_apart(self.critic(x)[:, 0], self.critic(self.made(fakes[0]).detach())[:, 0])
        self.descend(critic, of_critic)
        logits = self.critic(self.made(fakes[0]))[:, 0]
        fooling = binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.descend(fooling + args.beta * self.kl(self.made(fakes[0])), of_generator)
        classification, kl = surprise(network, x, y), self.kl(self.made(fakes[1]).detach())
        self.descend(classification + args.beta * kl, own)
        told = {"classification": classification, "KL": kl, "critic": critic, "generator": fooling}
        return {name: float(value) for name, value in told.items()}

    def descend(self, loss, part):
        self.optimizer.zero_grad()
        for parameter, gradient in zip(part, torch.autograd.grad(loss, part), strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def made(self, draws):
        return self.generator(draws).sigmoid()

    def kl(self, x):
        p = self.detector.network(x).softmax(dim=1)
        return (torch.log(1 / p.shape[1] / p) / p.shape[1]).sum(dim=1).mean()


def surprise(network: Any, x: Tensor, y: Tensor) -> Tensor:
    """- mean log p(y | x) of the softmax."""
    return -torch.log_softmax(network(x), dim=1)[torch.arange(len(x)), y].mean()


def told_apart(inside: Tensor, outside: Tensor) -> Tensor:
    """- E log D(inside) - E log(1 - D(outside)) of logits."""
    accepted = binary_cross_entropy_with_logits(inside, torch.ones_like(inside))
    return accepted + binary_cross_entropy_with_logits(outside, torch.zeros_like(outside))


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))
