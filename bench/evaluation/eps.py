"""The radii of a run, as they are written on the command line: `l2:0.5,1,2`, `linf:4/255`, `l0:10`, `10`, `8/255`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bench.cards.threat import Norm, ThreatCard
from bench.errors import UsageError, shorten

_ALLOWED = (
    "allowed are numbers above 0 such as 0.5 or 8/255, with the norm (l2, linf, l1 or l0) before them: l2:0.5,1 or "
    "linf:4/255,8/255"
)


@dataclass(frozen=True)
class EpsChoice:
    """The radii asked for, in [0, 1] pixel units.

    Attributes:
        by_norm: Radii that were given with their norm.
        bare: Radii without one; they are those of the only norm among the chosen threats.
    """

    by_norm: dict[Norm, tuple[float, ...]]
    bare: tuple[float, ...] = ()

    def of(self, threat: ThreatCard) -> tuple[float | None, ...]:
        """The radii of one threat: those asked for, else its card's; (None,) for a threat without a norm."""
        if threat.norm is None:
            return (None,)
        return self.by_norm.get(threat.norm) or self.bare or threat.eps

    def check(self, threats: Sequence[ThreatCard]) -> None:
        """Raise unless every radius belongs to the norm of some chosen threat.

        Raises:
            UsageError: A bare eps with threats of no norm or of several, or an eps of a norm that no threat has.
        """
        norms = sorted({threat.norm.value for threat in threats if threat.norm is not None})
        names = ", ".join(threat.name for threat in threats)
        if self.bare and len(norms) != 1:
            has = f"have the norms {' and '.join(norms)}" if norms else "have no eps"
            raise UsageError(
                f"eps {_shown(self.bare)} was given without a norm, and the chosen threats ({names}) {has}; "
                + ("write it as l2:... or linf:..." if norms else "leave --eps out or choose a threat with a norm.")
            )
        of_l0 = self.by_norm.get(Norm.L0, ()) or (self.bare if norms == [Norm.L0.value] else ())
        if parts := [value for value in of_l0 if value != int(value)]:
            raise UsageError(
                f"eps {_shown(parts)} was given in l0, which counts values that change; give whole numbers: l0:10."
            )
        for norm, values in self.by_norm.items():
            if norm.value not in norms:
                raise UsageError(
                    f"eps {norm}:{_shown(values)} was given, but no chosen threat has that norm ({names}); "
                    f"{'use ' + ' or '.join(norms) if norms else 'leave --eps out'} or add a threat of norm {norm}."
                )


def parse_eps(given: str | float | Iterable[str | float] | None) -> EpsChoice:
    """Read radii; a norm before a colon holds for the numbers after it, up to the next norm or the end of the text.

    Raises:
        UsageError: A text that is empty, or a radius that is not a finite number above 0.
    """
    by_norm: dict[Norm, list[float]] = {}
    bare: list[float] = []
    texts = [given] if isinstance(given, str | int | float) else given or []
    for text in texts:
        norm: Norm | None = None
        for part in str(text).split(","):
            number = part.strip()
            if ":" in number:
                name, number = (side.strip() for side in number.split(":", 1))
                norm = _norm(name, str(text))
            value = _radius(number, str(text))
            (bare if norm is None else by_norm.setdefault(norm, [])).append(value)
    if bare and by_norm:
        raise UsageError(
            f"eps {_shown(bare)} was given without a norm beside others with one; write it as l2:... or linf:..."
        )
    return EpsChoice({norm: _unique(values) for norm, values in by_norm.items()}, _unique(bare))


def _norm(name: str, text: str) -> Norm:
    try:
        return Norm(name.lower())
    except ValueError:
        raise UsageError(f"eps {shorten(text)} has the unknown norm {shorten(name)}; {_ALLOWED}.") from None


def _radius(number: str, text: str) -> float:
    what = f"eps {shorten(text)}" if number else f"eps {shorten(text)} has an empty entry"
    try:
        value = float(Fraction(number.replace(" ", ""))) if "/" in number else float(number)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"{what}; {_ALLOWED}." if not number else f"{what} is not a number; {_ALLOWED}.") from None
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"eps {shorten(text)} holds {shorten(number)}; {_ALLOWED}.")
    return value


def _unique(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(values))


def _shown(values: Iterable[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
