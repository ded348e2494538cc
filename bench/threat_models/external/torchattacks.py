"""Attacks of torchattacks (Kim 2020)."""

import inspect
import re
from importlib.metadata import version
from typing import Any

import torchattacks
from torch import Tensor

from bench.cards.threat import Knowledge, Norm
from bench.cards.threat_names import Wrapped, unknown_attack
from bench.errors import CardError
from bench.threat_models.base import ThreatParams
from bench.threat_models.external.base import External, SteppedParams
from bench.threat_models.external.questions import Questions

_WITHOUT_GRADIENTS = frozenset({"GN", "OnePixel", "Pixle", "SPSA", "Square", "VANILA"})
"""Attacks that ask for logits alone."""

_NORMS = {"L2": Norm.L2, "Linf": Norm.LINF}
_MEASURE = re.compile(r"Distance Measure\s*:\s*(.*)")


class Torchattacks(External):
    """An attack of torchattacks that has no parameter `steps`.

    Its step size `alpha` stays at the library's default, whatever the radius is.
    """

    def __init__(self, params: ThreatParams | None = None) -> None:
        super().__init__(params)
        installed = version("torchattacks")
        if self.params.version not in (None, installed):
            raise CardError(
                f"torchattacks {self.params.version} is asked for and {installed} is installed; install the other."
            )
        known = attacks()
        if self.params.attack not in known:
            raise unknown_attack("torchattacks", self.params.attack, known)
        self._class = known[self.params.attack]

    def craft(self, model: Questions, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """The arguments that tell ball, seed and classes, where the attack has them."""
        offered: dict[str, Any] = {
            "eps": eps,
            "norm": {each: name for name, each in _NORMS.items()}[norm],
            "seed": seed,
            "n_classes": model.classes,
        }
        if isinstance(self.params, SteppedParams):
            offered["steps"] = self.params.steps
        wanted = inspect.signature(self._class).parameters
        attack = self._class(model, **{name: value for name, value in offered.items() if name in wanted})
        images: Tensor = attack(x, labels)
        return images


class SteppedTorchattacks(Torchattacks):
    """An attack of torchattacks that has a parameter `steps`."""

    params: SteppedParams


def attacks() -> dict[str, Any]:
    """The attacks that can be run as they are, by their names in torchattacks."""
    found = {name: getattr(torchattacks, name) for name in torchattacks.__all__}
    return {name: attack for name, attack in found.items() if _runs(attack) and _norms(attack) != ()}


def describe(attack: Any) -> Wrapped:
    """What the class of an attack says of itself."""
    steps = inspect.signature(attack).parameters.get("steps")
    return Wrapped(
        norms=_norms(attack) or (),
        knowledge=Knowledge.SCORES if attack.__name__ in _WITHOUT_GRADIENTS else Knowledge.GRADIENTS,
        steps=None if steps is None else int(steps.default),
    )


def _runs(attack: Any) -> bool:
    """Whether its constructor can do with the model alone."""
    needed = [p for p in inspect.signature(attack).parameters.values() if p.default is p.empty]
    return [declared.name for declared in needed] == ["model"]


def _norms(attack: Any) -> tuple[Norm, ...] | None:
    """The norms in which it works by its own documentation, its default first; None where it says nothing."""
    says = _MEASURE.search(attack.__doc__ or "")
    if says is None:
        return None
    named = tuple(_NORMS[name] for name in re.split(r"[\s,]+", says[1]) if name in _NORMS)
    declared = inspect.signature(attack).parameters.get("norm")
    if declared is None:
        return named
    first = _NORMS.get(declared.default)
    return tuple(sorted(named, key=lambda norm: norm is not first))
