"""Threats that are named by the attack they wrap, `LIBRARY:ATTACK`, and need no card file: their card is made here.

`foolbox:LinfPGD`, `torchattacks:APGD` and `adv-lib:ddn` run these libraries' own attacks, with their own defaults, on
the score. What an attack's name does not tell of its norm is written behind it: `torchattacks:APGD@l2`. The library is
imported only when such a threat is asked for; nothing else here imports torch.
"""

import difflib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.cards.base import Paper
from bench.cards.threat import Knowledge, Norm, Side, ThreatCard
from bench.errors import UsageError, shorten

SIDES = (Side.EVADE, Side.ALARM, Side.BOTH, Side.FOOL)
RADII = {
    Norm.L2: (0.5, 1.0, 2.0, 4.0),
    Norm.LINF: (4 / 255, 8 / 255, 0.1),
    Norm.L1: (2.0, 4.0, 8.0, 16.0),
    Norm.L0: (4.0, 8.0, 16.0, 32.0),
}
"""The radii where none are given: those of the other threats."""

_NAME = re.compile(r"(?P<attack>[A-Za-z_]\w{0,99})(?:@(?P<norm>\w{1,10}))?")


@dataclass(frozen=True)
class Wrapped:
    """What an attack's class says of itself.

    Attributes:
        norms: In which it can work, the default first; empty where it does not say.
        knowledge: What it asks for.
        steps: Its own default; None where it has no such parameter.
    """

    norms: tuple[Norm, ...]
    knowledge: Knowledge
    steps: int | None


@dataclass(frozen=True)
class Library:
    """A library of attacks.

    Attributes:
        form: How its attacks are named.
        module: `package.module` of the adapter; it has `attacks()`, from names to classes, and `describe(class)`.
        threat: The adapter's class for attacks without `steps`, and for those with them.
        paper: Where the library is described.
        install: What installs it; "" for the extra of its name.
    """

    form: str
    module: str
    threat: tuple[str, str]
    paper: Paper
    install: str = ""


def adapted_threat(name: str) -> ThreatCard:
    """The card of a threat that is named `LIBRARY:ATTACK` or `LIBRARY:ATTACK@NORM`.

    Raises:
        UsageError: There is no such library or attack, the library is not installed, or the attack has no such norm.
    """
    kind, _, what = name.partition(":")
    parts = _NAME.fullmatch(what)
    if kind not in LIBRARIES or parts is None:
        raise UsageError(f"threat {shorten(name)} has a ':'; such names are {forms()}: write one of them.")
    library, attack = LIBRARIES[kind], parts["attack"]
    installed = _version(kind, name)
    adapter = importlib.import_module(library.module)
    known: dict[str, Any] = adapter.attacks()
    if attack not in known:
        raise unknown_attack(kind, attack, known)
    wrapped: Wrapped = adapter.describe(known[attack])
    norm = _norm(name, parts["norm"], wrapped)
    steps = {} if wrapped.steps is None else {"steps": wrapped.steps}
    card = ThreatCard(
        name=kind,
        summary=f"{attack} of the library {kind} {installed} with its own defaults; the best image it asked about.",
        method=f"{library.module}:{library.threat[bool(steps)]}",
        paper=library.paper,
        norm=norm,
        eps=RADII[norm],
        knowledge=wrapped.knowledge,
        sides=SIDES,
        params={"attack": attack, "version": installed, **steps},
    )
    return card.model_copy(update={"name": name})


def unknown_attack(kind: str, attack: str, known: Iterable[str]) -> UsageError:
    """The error for an attack that a library does not have, with the nearest ones that it has."""
    names = sorted(known)
    near = difflib.get_close_matches(attack, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}."
    return UsageError(f"{kind} has no attack {shorten(attack)} in the norms {' or '.join(Norm)}; {hint}")


def is_adapted_threat(name: str) -> bool:
    """Whether a threat's name says which attack it wraps, and of which library."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def forms() -> str:
    """How such threats are named."""
    return ", ".join(library.form for library in LIBRARIES.values())


def _version(kind: str, name: str) -> str:
    try:
        return version(kind)
    except PackageNotFoundError:
        command = LIBRARIES[kind].install or f"pip install 'robustood[{kind}]'"
        raise UsageError(
            f"threat {shorten(name)} needs the library {kind}, which is not here; install it with `{command}`."
        ) from None


def _norm(name: str, asked: str | None, wrapped: Wrapped) -> Norm:
    allowed = wrapped.norms or (Norm.L2, Norm.LINF)
    if asked is None:
        if wrapped.norms:
            return wrapped.norms[0]
        raise UsageError(f"threat {shorten(name)} does not say its norm; write {name}@l2 or {name}@linf.")
    if asked not in allowed:
        raise UsageError(f"threat {shorten(name)} asks for the norm '{asked}'; allowed are {', '.join(allowed)}.")
    return Norm(asked)


LIBRARIES = {
    "foolbox": Library(
        form="foolbox:ATTACK",
        module="bench.threat_models.external.foolbox",
        threat=("Foolbox", "SteppedFoolbox"),
        paper=Paper(
            title="Foolbox Native: Fast adversarial attacks to benchmark the robustness of machine learning models",
            authors="Jonas Rauber, Roland Zimmermann, Matthias Bethge, Wieland Brendel",
            year=2020,
            url="https://doi.org/10.21105/joss.02607",
        ),
    ),
    "torchattacks": Library(
        form="torchattacks:ATTACK",
        module="bench.threat_models.external.torchattacks",
        threat=("Torchattacks", "SteppedTorchattacks"),
        paper=Paper(
            title="Torchattacks: A PyTorch Repository for Adversarial Attacks",
            authors="Hoki Kim",
            year=2020,
            url="https://arxiv.org/abs/2010.01950",
        ),
    ),
    "adv-lib": Library(
        form="adv-lib:ATTACK",
        module="bench.threat_models.external.adv_lib",
        threat=("SteppedAdvLib", "SteppedAdvLib"),
        paper=Paper(
            title="Adversarial Library",
            authors="Jérôme Rony, Ismail Ben Ayed",
            year=2020,
            url="https://github.com/jeromerony/adversarial-library",
        ),
        install="pip install --no-deps adv-lib tqdm",  # visdom, which it requires to draw, does not build any more
    ),
}
"""What may stand before the colon."""
