"""Views and cells made of numbers, so that every check can be shown a case that passes and one that trips."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.cards.threat import Norm, Side
from bench.evaluation.results import Cell, CellMeta, MeanMetrics
from bench.soundness.view import View

COUNT = 40
ID = np.linspace(0.0, 1.0, COUNT)
IQR = 0.5


def view(attacked: Any = 0.5, *, side: Side = Side.EVADE, target: float | None = None) -> View:
    """OOD images whose clean scores lie one below those of the ID images, and that gained `attacked`.

    On side alarm ID images face the OOD images, and lost as much.
    """
    sign = -1.0 if side is Side.ALARM else 1.0
    name = "test" if side is Side.ALARM else "near"
    clean = sign * (ID - 1.0)
    return View(
        side=side,
        rows={name: np.arange(COUNT)},
        clean={name: clean},
        attacked={name: clean + sign * np.broadcast_to(attacked, COUNT)},
        opponents=(sign * ID,),
        target=target,
        iqr=IQR,
    )


def gained(base: View, amount: Any) -> dict[str, np.ndarray]:
    """Scores of the same images that gained another amount."""
    return {name: part + base.sign * np.broadcast_to(amount, len(part)) for name, part in base.clean.items()}


def cell(
    gain: Any = 0.5, *, threat: str = "pgd-l2", side: Side = Side.EVADE, eps: float | None = 1.0, key: str = "a",
    arrays: dict[str, Any] | None = None, samples: dict[str, Any] | None = None, **meta: Any,
) -> Cell:  # fmt: skip
    """A stored cell of `view`'s scores: ID test images and one OOD set, attacked on one side or both."""
    evades, alarms = side in (Side.EVADE, Side.BOTH), side in (Side.ALARM, Side.BOTH)
    gain = np.broadcast_to(gain, COUNT)
    clean = {"test": ID, "near": ID - 1.0}
    after = {"test": ID - gain if alarms else ID, "near": ID - 1.0 + gain if evades else ID - 1.0}
    hit = {"test": alarms, "near": evades}
    parts = [
        pd.DataFrame(
            {
                "id": np.arange(COUNT) + 1000 * number, "set": name, "index": np.arange(COUNT), "label": -1,
                "predicted": -1, "clean_score": clean[name].astype(np.float32),
                "score": after[name].astype(np.float32), "norm": np.float32(0.9 * (eps or 0.0) * hit[name]),
                "gradients": 100 * hit[name], "queries": 2 * hit[name],
                "status": "completed" if hit[name] else "", "last_score": after[name].astype(np.float32),
                "attacked_predicted": -1,
            }
        )
        for number, name in enumerate(clean)
    ]  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    for column, values in (samples or {}).items():
        table[column] = values
    return Cell(_meta(threat=threat, side=side, eps=eps, key=key * 64, **meta), table, arrays or {})


def _meta(**given: Any) -> CellMeta:
    zero = dict.fromkeys(("clean_se", "se"), 0.0)
    mean = MeanMetrics(
        sets=("near",), clean_auroc=0.95, clean_low=0.9, clean_high=1.0, auroc=0.5, low=0.4, high=0.6, fpr95=0.5,
        ceiling=None, reachable=None, **zero,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "key": "a" * 64, "detector": "msp", "detector_hash": "d", "weights_sha256": (), "threat": "pgd-l2",
        "source_hash": "s", "threat_hash": "t", "threat_params": {"steps": 100, "restarts": 5, "step_size": 2.0},
        "norm": Norm.L2, "eps": 1.0, "side": Side.EVADE, "track": "digits", "track_hash": "k", "set_digests": {},
        "limit": 40, "seed": 0, "micro_batch": 32, "early_stop": False, "id_accuracy": None, "iqr": IQR,
        "stop_high": 1.1, "stop_low": -1.1, "thresholds": {}, "sets": {}, "mean": mean,
        "statuses": {"completed": COUNT}, "gradients": 100 * COUNT, "queries": 2 * COUNT, "seconds": 1.0,
        "device": "cpu", "versions": {},
    }  # fmt: skip
    return CellMeta(**{**fields, **given})


def stopped(base: View, target: float) -> View:
    """The same, stopped early at a target."""
    return replace(base, target=target)
