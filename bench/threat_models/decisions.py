"""What attacks ask a classifier about its decision boundaries: which classes are close, and their logits' gradients."""

import torch
from torch import Tensor

from bench.detectors.base import Detector
from bench.threat_models.gradient import Oracle
from bench.threat_models.objectives import needed_logits


@torch.no_grad()
def wrong_classes(detector: Detector, oracle: Oracle, x: Tensor, labels: Tensor) -> Tensor:
    """(N, K - 1) all classes but the true one, the most likely first; classes of one logit in ascending order.

    Args:
        detector: With a classifier.
        oracle: Whose batch shape is kept.
        x: (N, C, H, W) images.
        labels: (N,) their true classes.
    """
    orders = []
    for batch in oracle.batches(len(x)):
        logits = needed_logits(detector, oracle.pad(x[batch]))[: len(x[batch])]
        order = logits.argsort(dim=1, descending=True, stable=True)
        orders.append(order[order != labels[batch, None]].view(len(order), -1))
    return torch.cat(orders) if orders else labels.new_empty((0, 1))


def class_gradients(detector: Detector, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of some classes and their gradients.

    Args:
        detector: Frozen, with a classifier.
        x: (B, C, H, W) images.
        classes: (B, k) of which classes, for each image.

    Returns:
        (B, k) logits and (B, k, C, H, W) gradients, zero where there are none.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = needed_logits(detector, x).gather(1, classes)
        gradients = x.new_zeros(*classes.shape, *x.shape[1:])
        if logits.requires_grad:
            for column in range(classes.shape[1]):
                (gradients[:, column],) = torch.autograd.grad(logits[:, column].sum(), x, retain_graph=True)
    return logits.detach(), gradients
