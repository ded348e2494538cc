"""Several small networks that answer together: the log of the mean of their softmax outputs."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.detectors.networks.base import Network
from bench.detectors.networks.small import SmallConvNet
from bench.errors import InputError


class Ensemble(Network):
    """Members of one architecture whose predicted probabilities are averaged.

    "logits" are log((1/M) sum_m softmax(z_m)), computed from log-probabilities so that nothing underflows; their
    softmax is the mean of the members' softmax outputs. Every other activation is that of all members side by side,
    along the channels.

    Args:
        members: M, the number of `SmallConvNet`s.
        member: Arguments of each of them.

    Raises:
        InputError: There are no members.
    """

    def __init__(self, members: int = 5, **member: Any) -> None:
        super().__init__()
        if members < 1:
            raise InputError(f"members is {members}; an ensemble needs at least 1.")
        built = [SmallConvNet(**member) for _ in range(members)]
        self.members = nn.ModuleList(built)
        self.layers = built[0].layers

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) images in the members' own input scale."""
        found = [cast(Network, member).activations(x) for member in self.members]
        joint = {name: torch.cat([f[name] for f in found], dim=1) for name in self.layers if name != "logits"}
        return {**joint, "logits": log_mean_softmax(torch.stack([f["logits"] for f in found]))}

    def member_logits(self, x: Tensor) -> Tensor:
        """(M, N, K) logits of every member for (N, C, H, W) images in the members' own input scale."""
        return torch.stack([member(x) for member in self.members])


def log_mean_softmax(logits: Tensor) -> Tensor:
    """(M, N, K) logits of M members -> (N, K) log of the mean of their softmax outputs."""
    return torch.log_softmax(logits, dim=-1).logsumexp(dim=0) - math.log(len(logits))
