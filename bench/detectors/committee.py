"""Generative adversarial training with one detector a class."""

from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels, Network
from bench.detectors.networks.small import SmallConvNet
from bench.errors import UsageError

CHUNK = 16
"""Members see images in batches of this one size: a score then has the same bits whoever else is in the batch."""

Width = Annotated[int, Field(ge=1)]


class GATCommitteeParams(DetectorParams):
    """Parameters of the committee.

    Attributes:
        channels: Output channels of every member's convolutions.
        hidden: Width of every member's hidden layer.
    """

    channels: tuple[Width, ...] = Field(default=(8, 16, 32), min_length=1)
    hidden: Width = 32


class GATCommittee(Detector):
    """The logit of the binary detector of the class that a classifier predicts.

    "Analyzing and improving generative adversarial training for generative modeling and out-of-distribution
    detection" (anonymous, 2020), equation 2 and Algorithm 1, after Yin, Kolouri and Rohde (2020), "GAT: generative
    adversarial training for adversarial example detection and robust classification": for each of K classes a
    detector D_k is trained to accept images of class k and to reject whatever an attacker makes of others within an
    L2 ball. How the D_k are trained is the recipe's; the network is the classifier, and takes no part in it.

    The paper's other uses of the D_k are not here: classification by the largest of them, generation by ascent on one,
    and a threshold for each (detection rates take the card's, as of every detector).

    Of an image, D_k is run for the predicted class k alone. The score's gradient is that of D_k: the prediction is
    constant almost everywhere, so that nothing of it flows through the classifier.

    Raises:
        UsageError: Images are not square, or there is no classifier.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        outliers=True,
        jumps="where the predicted class changes, the detector of another class gives the score",
        components=("classifier", "detectors"),
    )
    params: GATCommitteeParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, GATCommitteeParams)
        channels, height, width = shape
        if height != width:
            raise UsageError(
                f"images are {height} x {width} and the committee's members take square ones; use a track that pads."
            )
        needed_network(self)
        self.members = nn.ModuleList(
            SmallConvNet(params.channels, params.hidden, outputs=1, in_channels=channels, size=height)
            for _ in range(classes)
        )

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) logit, in the reals."""
        with torch.no_grad():
            predicted = needed_network(self)(x).argmax(dim=1)
        return self.member_logits(x, predicted)

    def member_logits(self, x: Tensor, classes: Tensor) -> Tensor:
        """(N, C, H, W) and (N,) int64 classes -> (N,) logits, each of the member of its image's class."""
        order = classes.argsort(stable=True)
        groups = torch.split(x[order], torch.bincount(classes, minlength=self.classes).tolist())
        logits = [_in_chunks(member, g) for member, g in zip(self.members, groups, strict=True) if len(g)]
        return torch.cat(logits)[order.argsort()]

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) the classifier's features with those of every member beside them, so that both can be matched.

        Raises:
            InputError: There are no such features.
        """
        features = super().features(x, at)
        if at == "score":
            return features
        found = [cast(Network, member).activations(x) for member in self.members]
        parts = [a[name].flatten(1) for a in found for name in (a if at == "all" else (at,))]
        return torch.cat([features, *parts], dim=1)


def _in_chunks(member: nn.Module, images: Tensor) -> Tensor:
    """(N,) logits, from batches that are filled up with the last image."""
    missing = -len(images) % CHUNK
    filled = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    return torch.cat([member(chunk) for chunk in torch.split(filled, CHUNK)])[: len(images), 0]
