"""Cells of a baseline that are made up, so that what should be found in them is known."""

import hashlib
import json

import numpy as np

from bench.leaderboards.baseline import (
    Baseline,
    BaselineCell,
    Figure,
    Identity,
    Provenance,
    Request,
    Samples,
    estimate,
)


def digest(word):
    return hashlib.sha256(str(word).encode()).hexdigest()


def made(
    scores,
    *,
    threat="pgd-l2",
    detector="gat",
    code="code",
    weights="weights",
    ids="ids",
    figure="auroc",
    versions=None,
    **own,
):
    """A cell with these scores by set."""
    named = {name: np.asarray(part, dtype=np.float32) for name, part in scores.items()}
    value, se = estimate(Figure(figure), named)
    attack = {} if threat == "clean" else {"norm": "l2", "eps": 1.0}
    identity = {"track": "digits", "detector": detector, "threat": threat, **attack, **own}
    return BaselineCell(
        identity=Identity.model_validate_json(json.dumps(identity)),
        provenance=Provenance(
            detector_hash=digest(detector), weights_sha256=(digest(weights),), source_hash=digest(code),
            threat_hash=digest(threat), threat_params={"steps": 20}, track_hash=digest("digits"),
            set_digests={name: digest(name) for name in named}, micro_batch=32, early_stop=True, bench="0.1.0",
            versions=versions or {},
        ),
        request=Request(),
        figure=Figure(figure), value=value, se=se,
        samples={name: Samples.of(part, digest((ids, name))) for name, part in named.items()},
    )  # fmt: skip


def scores(seed=0, *, gap=1.5, count=120):
    """Scores of ID images above those of two OOD sets."""
    rng = np.random.default_rng(seed)
    return {"test": rng.normal(gap, 1, count), "near": rng.normal(0, 1, count), "far": rng.normal(-1, 1, count)}


def baseline(*cells):
    return Baseline(bench="0.1.0", cells=cells)
