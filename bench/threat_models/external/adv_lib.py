"""Attacks of adv-lib, the adversarial-library (Rony and Ben Ayed 2020)."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from types import ModuleType
from typing import Any

from torch import Tensor

from bench.cards.threat import Knowledge, Norm
from bench.cards.threat_names import Wrapped, unknown_attack
from bench.errors import CardError
from bench.threat_models.base import ThreatParams
from bench.threat_models.external.base import External, SteppedParams
from bench.threat_models.external.questions import Questions
from bench.threat_models.geometry import ORDERS


@dataclass(frozen=True)
class Form:
    """How one attack is called; the library has functions, whose arguments have no common names.

    Attributes:
        norms: In which it can work, the first where none is asked for.
        steps: Its argument for the number of steps.
        norm: Its argument for the order of the norm; None where that is fixed.
        radius: Its argument for the radius; None where it looks for the nearest image.
        more: What it has no default for, or a default that a detector's two classes cannot be given.
    """

    norms: tuple[Norm, ...]
    steps: str
    norm: str | None = None
    radius: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


_BALLS = (Norm.LINF, Norm.L2, Norm.L1)

_FORMS = {
    # The default loss compares three classes or four; cross-entropy takes two.
    "apgd": Form(_BALLS, "n_iter", "norm", "eps", {"loss_function": "ce"}),
    "apgd_targeted": Form(_BALLS, "n_iter", "norm", "eps", {"loss_function": "ce"}),
    "pgd_linf": Form((Norm.LINF,), "steps", radius="ε"),
    "alma": Form((Norm.L2,), "num_steps"),
    "carlini_wagner_l2": Form((Norm.L2,), "max_iterations"),
    "carlini_wagner_linf": Form((Norm.LINF,), "max_iterations"),
    "ddn": Form((Norm.L2,), "steps"),
    "df": Form((Norm.L2, Norm.LINF), "steps", "norm"),
    "fab": Form(_BALLS, "n_iter", "norm"),
    "fmn": Form((Norm.L2, Norm.LINF, Norm.L1, Norm.L0), "steps", "norm"),
    "pdgd": Form((Norm.L2,), "num_steps"),
    "pdpgd": Form((Norm.L2, Norm.LINF, Norm.L1), "num_steps", "norm"),
    "sdf": Form((Norm.L2,), "steps"),
    "sigma_zero": Form((Norm.L0,), "num_steps"),
    "tr": Form((Norm.L2, Norm.LINF), "iter", "p"),
}
"""The attacks that can be run on a model alone, in a norm; all of them follow gradients."""


class SteppedAdvLib(External):
    """An attack of adv-lib.

    Attacks that look for the nearest image are run like the others, and what they find is brought into the ball.
    """

    params: SteppedParams

    def __init__(self, params: ThreatParams | None = None) -> None:
        super().__init__(params)
        installed = version("adv-lib")
        if self.params.version not in (None, installed):
            raise CardError(
                f"adv-lib {self.params.version} is asked for and {installed} is installed; install the other."
            )
        known = attacks()
        if self.params.attack not in known:
            raise unknown_attack("adv-lib", self.params.attack, known)
        self._run, self._form = known[self.params.attack], _FORMS[self.params.attack]

    def craft(self, model: Questions, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """The arguments that tell norm, radius and steps, where the attack has them."""
        assert isinstance(self.params, SteppedParams)
        form = self._form
        settings: dict[str, Any] = {**form.more, form.steps: self.params.steps}
        if form.norm is not None:
            settings[form.norm] = ORDERS[norm]
        if form.radius is not None:
            settings[form.radius] = eps
        images: Tensor = self._run(model, x, labels, **settings)
        return images


def attacks() -> dict[str, Callable[..., Tensor]]:
    """The attacks that can be run as they are, by their names in `adv_lib.attacks`."""
    library = _library()
    return {name: getattr(library, name) for name in _FORMS if hasattr(library, name)}


def describe(attack: Callable[..., Tensor]) -> Wrapped:
    """What is known of an attack."""
    form = _FORMS[attack.__name__]
    return Wrapped(form.norms, Knowledge.GRADIENTS, int(inspect.signature(attack).parameters[form.steps].default))


def _library() -> ModuleType:
    """`adv_lib.attacks`, also without visdom, which it imports to draw and which nothing here draws with.

    That package is required, and its last release cannot be built where setuptools is new.
    """
    if "adv_lib.attacks" in sys.modules or importlib.util.find_spec("visdom") is not None:
        return importlib.import_module("adv_lib.attacks")
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        return importlib.import_module("adv_lib.attacks")
    finally:
        del sys.modules["visdom"]
