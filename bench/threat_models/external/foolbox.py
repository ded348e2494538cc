"""Attacks of foolbox (Rauber, Zimmermann, Bethge and Brendel 2020)."""

import inspect
import math
from typing import Any

import foolbox
from foolbox.attacks.base import AttackWithDistance
from foolbox.distances import LpDistance
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from bench.cards.threat import Knowledge, Norm
from bench.cards.threat_names import Wrapped, unknown_attack
from bench.errors import CardError
from bench.threat_models.base import ThreatParams
from bench.threat_models.external.base import External, SteppedParams
from bench.threat_models.external.questions import Questions

_WITHOUT_GRADIENTS = frozenset({
    "additive_noise", "binarization", "blended_noise", "blur", "boundary_attack", "contrast", "contrast_min",
    "dataset_attack", "gen_attack", "hop_skip_jump", "inversion", "pointwise", "saltandpepper", "spatial_attack",
})  # fmt: skip
"""Modules of foolbox whose attacks ask for logits or decisions alone."""

_NORMS = {2: Norm.L2, math.inf: Norm.LINF, 1: Norm.L1, 0: Norm.L0}
_DISTANCES = {
    Norm.L2: foolbox.distances.l2,
    Norm.LINF: foolbox.distances.linf,
    Norm.L1: foolbox.distances.l1,
    Norm.L0: foolbox.distances.l0,
}


class Foolbox(External):
    """An attack of foolbox that has no parameter `steps`.

    Attacks that look for the nearest image are run like the others, and what they find is brought into the ball.
    """

    def __init__(self, params: ThreatParams | None = None) -> None:
        super().__init__(params)
        if self.params.version not in (None, foolbox.__version__):
            raise CardError(
                f"foolbox {self.params.version} is asked for and {foolbox.__version__} is installed; install the other."
            )
        known = attacks()
        if self.params.attack not in known:
            raise unknown_attack("foolbox", self.params.attack, known)
        self._class = known[self.params.attack]

    def craft(self, model: Questions, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """Foolbox draws from torch's and numpy's generators, so `seed` has been used already."""
        settings: dict[str, Any] = {}
        if isinstance(self.params, SteppedParams):
            settings["steps"] = self.params.steps
        if "distance" in inspect.signature(self._class).parameters:
            settings["distance"] = _DISTANCES[norm]
        attack = self._class(**settings)
        wrapped = PyTorchModel(model, bounds=(0, 1), device=x.device)
        images: Tensor = attack(wrapped, x, labels, epsilons=eps)[1]
        return images


class SteppedFoolbox(Foolbox):
    """An attack of foolbox that has a parameter `steps`."""

    params: SteppedParams


def attacks() -> dict[str, Any]:
    """The attacks that can be run as they are, by their names in `foolbox.attacks`, aliases among them."""
    return {
        name: found
        for name, found in vars(foolbox.attacks).items()
        if isinstance(found, type)
        and issubclass(found, AttackWithDistance)
        and not inspect.isabstract(found)
        and not _needs(found)
        and _distance(found) in (None, *_NORMS)
    }


def describe(attack: Any) -> Wrapped:
    """What the class of an attack says of itself."""
    distance = _distance(attack)
    steps = inspect.signature(attack).parameters.get("steps")
    black_box = attack.__module__.rpartition(".")[2] in _WITHOUT_GRADIENTS
    return Wrapped(
        norms=() if distance is None else (_NORMS[distance],),
        knowledge=Knowledge.SCORES if black_box else Knowledge.GRADIENTS,
        steps=None if steps is None else int(steps.default),
    )


def _needs(attack: Any) -> list[str]:
    """The arguments that its constructor cannot do without."""
    return [
        name
        for name, declared in inspect.signature(attack).parameters.items()
        if declared.default is declared.empty and declared.kind not in (declared.VAR_KEYWORD, declared.VAR_POSITIONAL)
    ]


def _distance(attack: Any) -> float | None:
    """The order of the norm in which it works; None where that is an argument, NaN where there is no telling."""
    if "distance" in inspect.signature(attack).parameters:
        return None
    declared = getattr(attack, "distance", None)
    if not isinstance(declared, LpDistance):  # a property, or set when the attack is made
        try:
            declared = attack().distance
        except Exception:  # such as one that leaves it open and has no argument for it
            return math.nan
    return float(declared.p)
