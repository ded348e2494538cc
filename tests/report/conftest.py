from collections.abc import Callable

import pytest

from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta, MeanMetrics, SetMetrics


def interval(auroc: float, se: float, smaller_side: int) -> tuple[float, float]:
    """Something like the interval of a real cell."""
    if auroc in (0.0, 1.0):
        return (0.0, 3 / smaller_side) if auroc == 0.0 else (1.0 - 3 / smaller_side, 1.0)
    return auroc - 2 * se, auroc + 2 * se


def set_metrics(auroc: float, *, clean: float = 0.95, counts: bool = True, n_ood: int = 200, reachable=None):
    se = 0.0 if auroc in (0.0, 1.0) else 0.0123456789
    low, high = interval(auroc, se, min(400, n_ood))
    clean_low, clean_high = interval(clean, 0.01, min(400, n_ood))
    return SetMetrics(
        n_id=400, n_ood=n_ood, clean_auroc=clean, clean_se=0.01, clean_low=clean_low, clean_high=clean_high,
        auroc=auroc, se=se, low=low, high=high,
        conservative_auroc=auroc, aupr_in=0.9, aupr_out=0.8, fpr95=0.3, clean_fpr95=0.2, detection_rate=0.7,
        ceiling=None if reachable is None else 1 - reachable / 2, reachable=reachable, counts=counts,
        gradients=1000, queries=0,
    )  # fmt: skip


def cell_meta(
    detector: str = "gat", threat: str = "pgd-l2", *, eps: float | None = 1.0, norm: Norm | None = Norm.L2,
    sets: dict[str, SetMetrics] | None = None, reachable: float | None = None, **other: object,
) -> CellMeta:  # fmt: skip
    if eps is None:
        norm = None
    if sets is None:
        sets = {"uniform": set_metrics(0.99, counts=False, reachable=0.0)}
        sets = {"letters": set_metrics(0.8, reachable=reachable)} | sets
    counted = {name: m for name, m in sets.items() if m.counts}
    mean = None
    if counted:
        average = sum(m.auroc for m in counted.values()) / len(counted)
        clean = sum(m.clean_auroc for m in counted.values()) / len(counted)
        se = 0.0 if average in (0.0, 1.0) else 0.02
        smallest = min(400, *(m.n_ood for m in counted.values()))
        low, high = interval(average, se, smallest)
        clean_low, clean_high = interval(clean, 0.01, smallest)
        mean = MeanMetrics(
            sets=tuple(counted), clean_auroc=clean, clean_se=0.01, clean_low=clean_low, clean_high=clean_high,
            auroc=average, se=se, low=low, high=high, fpr95=0.3,
            ceiling=None if reachable is None else 1 - reachable / 2, reachable=reachable,
        )  # fmt: skip
    fields: dict[str, object] = {
        "key": f"{detector}-{threat}-{eps}-{sorted(other.items(), key=str)}",
        "detector": detector, "detector_hash": f"hash-of-{detector}", "weights_sha256": (), "source_hash": "s",
        "threat": threat, "threat_hash": f"hash-of-{threat}", "threat_params": {"steps": 100, "restarts": 5},
        "norm": norm, "eps": eps, "side": Side.EVADE, "track": "digits", "track_hash": "t", "set_digests": {},
        "limit": 200, "seed": 0, "micro_batch": 128, "early_stop": True, "id_accuracy": 0.98, "iqr": 1.0,
        "stop_high": None, "stop_low": None, "thresholds": {}, "sets": sets, "mean": mean,
        "statuses": {"stopped": 200}, "gradients": 0 if eps is None else 12345, "queries": 0, "seconds": 3.21,
        "device": "cpu", "versions": {},
    }  # fmt: skip
    return CellMeta.model_validate(fields | other)


@pytest.fixture(scope="session")
def make_set() -> Callable[..., SetMetrics]:
    return set_metrics


@pytest.fixture(scope="session")
def make_meta() -> Callable[..., CellMeta]:
    return cell_meta
