"""What there is: the maker of each detector by its name, and the figures that are known of it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.detectors.base import Detector
from masked import agreement, gates, preprocessing, randomness, slopes, sound, transforms
from masked.parts import Own

SHORT_ONLY: tuple[str, ...] = ("Ripple", "FoldedMsp", "ShiftedVerdicts", "Moat")
"""Masked at 40 steps and 2 restarts alone: the card's whole budget comes within 0.02 of the truth: in neither list."""

UNMEASURED: tuple[str, ...] = ("FixedNoise",)
"""Sound by construction, without a figure that was checked: in neither list."""


def _of(*modules: ModuleType) -> dict[str, Callable[[], Detector]]:
    found = {name: kind for module in modules for name, kind in vars(module).items()}
    return {
        name: kind for name, kind in sorted(found.items())
        if isinstance(kind, type) and issubclass(kind, Own) and kind is not Own
        and name not in SHORT_ONLY + UNMEASURED
    }  # fmt: skip


MASKED = _of(agreement, gates, preprocessing, randomness, slopes, transforms)
SOUND = _of(sound)

DEVELOPMENT = tuple(MASKED)[::2]
"""Every second one by name: the checks may be mended by these. The others were looked at afterwards only."""


def truth() -> dict[str, dict[str, Any]]:
    """Figures by name: `eps`, `clean`, `printed` (pgd-l2, 40 steps, 2 restarts) and `true`, AUROCs on 40 images a set.

    The true ones are what an attack reached that knows each mask; an upper bound like any other.
    """
    known: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "truth.json").read_text("utf-8"))
    return known
