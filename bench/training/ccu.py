"""Training of CCU (Meinke and Hein 2020): a classifier and two Gaussian mixtures together."""

import warnings

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from bench.detectors import ccu
from bench.errors import CardError
from bench.lazy import lazily
from bench.training.augment import OutlierAugmentArgs, augmented_outliers
from bench.training.base import pick, required_outliers
from bench.training.classifier import Classifier, ClassifierArgs

with lazily():
    from sklearn import exceptions
    from sklearn import mixture as mixtures


class CCUArgs(OutlierAugmentArgs, ClassifierArgs):
    """Arguments of `CCU`."""

    fit_images: int = 4000  # augmented images of each kind that the mixtures start from
    fit_iterations: int = 20  # of expectation maximisation
    mixture_lr: float = 1e-5  # for the mixtures, under the same schedule
    variance_ratio: float = 1.05  # least variance of an outlier component over the largest of the in-distribution


class CCU(Classifier):
    """Maximum likelihood of labels and images together, with outliers labelled uniformly.

    With lambda = p(out) / p(in), the loss of section 2 is, up to a factor,
    -E_in[log p(y|x) + log p(x)] - lambda E_out[mean over y of log p(y|x) + log p(x)]. The mixtures start from
    expectation maximisation with one variance for each mixture, which begins with k-means, and are then trained with
    the classifier. Components of the outliers are held wider than all those of the in-distribution, the condition
    under which theorem 3.1 gives chance far away from all data.

    Deviations: AdamW with warm-up and cosine decay; augmentation by small rotations, shifts and scales, of outliers as
    of ID images; outliers turned and mirrored besides, so that a few thousand serve for millions.
    """

    Args = CCUArgs
    trains = ccu.CCU
    args: CCUArgs

    def prepare(self) -> None:
        """Build the optimiser and find the outliers."""
        assert isinstance(self.detector, ccu.CCU)
        self.model = self.detector
        components = max(len(self.model.inside.means), len(self.model.outside.means))
        if self.args.fit_images < components:
            raise CardError(
                f"fit_images is {self.args.fit_images} and a mixture has {components} components; give as many."
            )
        self.outliers = required_outliers(self.data, "CCU")
        assert self.model.network is not None
        mixtures = [*self.model.inside.parameters(), *self.model.outside.parameters()]
        network = [p.requires_grad_(True) for p in self.model.network.parameters()]
        groups = [
            {"params": network, "weight_decay": self.args.weight_decay},
            {"params": [p.requires_grad_(True) for p in mixtures], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.args.lr)

    def unlabelled(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) outliers."""
        outliers, _ = pick(self.outliers, count, generator, self.device)
        return augmented_outliers(outliers, self.args, generator)

    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """One step on as many outliers as ID images; before the first, the mixtures are fitted."""
        if number == 0:
            self._fit_mixtures(generator)
        x, y = self.labelled(generator)
        count = len(x)
        log_posterior, log_density = self.model.log_probabilities(torch.cat([x, self.unlabelled(count, generator)]))
        classification = nll_loss(log_posterior[:count], y)
        inside = classification - log_density[:count].mean()
        outside = -log_posterior[count:].mean() - log_density[count:].mean()
        ratio = self.model.prior_ratio
        self.update((inside + ratio * outside) / (1.0 + ratio), self.lr_at(number))
        self._keep_outliers_wider()
        return {
            "classification": float(classification.detach()),
            "exposure": float(-log_posterior[count:].detach().mean()),
            "NLL": float(-log_density[:count].detach().mean()),
        }

    def update(self, loss: Tensor, lr: float) -> None:
        """One optimiser step, with the mixtures' own learning rate."""
        network, mixtures = self.optimizer.param_groups
        network["lr"], mixtures["lr"] = lr, self.args.mixture_lr * lr / self.args.lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _fit_mixtures(self, generator: torch.Generator) -> None:
        batch = self.args.batch_size
        rounds = -(-self.args.fit_images // batch)
        inside = torch.cat([self.labelled(generator)[0] for _ in range(rounds)])
        outside = torch.cat([self.unlabelled(batch, generator) for _ in range(rounds)])
        seed = int(torch.randint(2**31, (), generator=generator))
        fit_mixture(self.model.inside, inside.flatten(1), self.args.fit_iterations, seed)
        fit_mixture(self.model.outside, outside.flatten(1), self.args.fit_iterations, seed)
        self._keep_outliers_wider()

    @torch.no_grad()
    def _keep_outliers_wider(self) -> None:
        least = self.model.inside.log_variances.max() + torch.tensor(self.args.variance_ratio).log()
        self.model.outside.log_variances.clamp_(min=float(least))


@torch.no_grad()
def fit_mixture(mixture: ccu.IsotropicMixture, images: Tensor, iterations: int, seed: int) -> None:
    """Set a mixture by expectation maximisation from k-means; all components get the mean of their variances.

    Args:
        mixture: K components in D dimensions; set in place.
        images: (N >= K, D).
        iterations: At most so many.
        seed: Of k-means.
    """
    model = mixtures.GaussianMixture(
        len(mixture.means), covariance_type="spherical", max_iter=iterations, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # it goes on with the classifier
        model.fit(images.cpu().numpy())
    mixture.means.copy_(torch.from_numpy(model.means_))
    mixture.log_variances.fill_(float(model.covariances_.mean()))
    mixture.log_variances.log_()
    mixture.weight_logits.copy_(torch.from_numpy(model.weights_).clamp_min(1e-12).log())
