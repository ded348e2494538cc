"""Attacks of other libraries, made to climb a detector's objective instead of a loss of logits, one start each."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from unittest import mock

import foolbox
import torch
from torch import Tensor, nn

from bench.cards.threat import Norm
from bench.detectors.base import Detector

OneStart = Callable[[Tensor], Tensor]
"""From images to adversarial ones, from one random start; the best of several is for the caller to choose."""


def foolbox_pgd(detector: Detector, norm: Norm, eps: float, steps: int, *, step_size: float) -> OneStart:
    """Foolbox's PGD with the objective as its loss."""
    attacks = {
        Norm.L2: foolbox.attacks.L2ProjectedGradientDescentAttack,
        Norm.LINF: foolbox.attacks.LinfProjectedGradientDescentAttack,
    }
    base: type = attacks[norm]

    class OnScore(base):  # type: ignore[misc]
        def get_loss_fn(self, model: object, labels: object) -> Callable[[object], object]:
            import eagerpy as ep

            return lambda inputs: ep.astensor(detector.objective(inputs.raw)).sum()

    # Foolbox asks a classifier whether the attack succeeded; what it says is not used.
    unused = nn.Sequential(nn.Flatten(), nn.LazyLinear(2)).eval()
    model = foolbox.PyTorchModel(unused, bounds=(0, 1), device="cpu")
    attack = OnScore(abs_stepsize=step_size, steps=steps)

    def one_start(x: Tensor) -> Tensor:
        _, clipped, _ = attack(model, x, torch.zeros(len(x), dtype=torch.int64), epsilons=eps)
        return clipped

    return one_start


class TwoLogits(nn.Module):
    """The objective where torchattacks looks for logits; class 0 always wins, so that no attack stops early."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.somewhere = nn.Parameter(torch.zeros(()))  # torchattacks asks parameters for the device

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2) objective and something smaller."""
        objective = self.detector.objective(x)
        return torch.stack([objective, objective.detach() - 1.0 - objective.detach().abs()], dim=1)


def torchattacks_pgd(detector: Detector, norm: Norm, eps: float, steps: int, *, step_size: float) -> OneStart:
    """PGD of torchattacks; its cross-entropy is replaced by the sum of objectives."""
    name = "PGDL2" if norm is Norm.L2 else "PGD"
    module = importlib.import_module(f"torchattacks.attacks.{name.lower()}")
    kind = getattr(module, name)
    attack = kind(TwoLogits(detector).eval(), eps=eps, alpha=step_size, steps=steps)
    on_score = SimpleNamespace(CrossEntropyLoss=lambda: lambda logits, labels: logits[:, 0].sum())

    def one_start(x: Tensor) -> Tensor:
        with mock.patch.object(module, "nn", on_score):
            images: Tensor = attack.forward(x, torch.zeros(len(x), dtype=torch.int64))
        return images

    return one_start


def torchattacks_apgd(detector: Detector, norm: Norm, eps: float, steps: int) -> OneStart:
    """AutoAttack's APGD as torchattacks has it, the objective in place of its DLR loss, the best loss kept."""
    base: type = importlib.import_module("torchattacks.attacks.apgd").APGD

    class OnScore(base):  # type: ignore[misc]
        def dlr_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return logits[:, 0]

    attack = OnScore(
        TwoLogits(detector).eval(), norm="L2" if norm is Norm.L2 else "Linf", eps=eps,
        steps=steps, n_restarts=1, loss="dlr",
    )  # fmt: skip

    def one_start(x: Tensor) -> Tensor:
        images: Tensor = attack.perturb(x, torch.zeros(len(x), dtype=torch.int64), best_loss=True)[1]
        return images

    return one_start


def adv_lib_apgd(detector: Detector, norm: Norm, eps: float, steps: int) -> OneStart:
    """AutoAttack's APGD as adv-lib has it, the objective in place of its DLR loss, the best loss kept.

    One start is asked for below its public function: that one keeps images of another decision alone, of which there
    are none here, or else the best loss, but then it forgets how many steps were asked for.
    """
    module, model = adv_lib_module("auto_pgd"), TwoLogits(detector).eval()
    order = 2 if norm is Norm.L2 else float("inf")

    def one_start(x: Tensor) -> Tensor:
        labels, radii = torch.zeros(len(x), dtype=torch.int64), torch.full((len(x),), eps)
        with mock.patch.object(module, "difference_of_logits_ratio", minus_objective):  # the library negates it
            images: Tensor = module._apgd(model, x, labels, radii, order, n_iter=steps)[0]
        return images

    return one_start


def adv_lib_module(name: str) -> ModuleType:
    """A module of attacks of adv-lib."""
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # which it imports to draw, and nothing is drawn here
    sys.modules["visdom"].__dict__.setdefault("Visdom", object)
    return importlib.import_module(f"adv_lib.attacks.{name}")


def minus_objective(logits: Tensor, *rest: object, **named: object) -> Tensor:
    """What adv-lib descends."""
    return -logits[:, 0]
