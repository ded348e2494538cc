"""Tables in which every part of a report has something to say, one of each kind."""

import numpy as np
from html_cells import make_cell

from bench.cards.threat import Goal, Loss, Norm, Side
from bench.evaluation.results import (
    BetweenMetrics,
    EvidenceFigures,
    FoolAtEps,
    FoolMetrics,
    FullBudgetFigures,
    RejectionMetrics,
)
from bench.soundness.verdicts import Finding, Verdict, Verdicts

LONG = "mahalanobis-with-a-name-that-is-longer-than-forty-letters"
DIGESTS = {"test": "1" * 64, "letters": "2" * 64, "train": "3" * 64}
DOUBTED, FAILED = "d" * 64, ("D4", "D6")


def evade(make_meta, make_set):
    """Detectors under a sweep, one of them doubted; settings, copies, seeds, groups and evidence tell rows apart."""
    sets = {"noise": make_set(0.99, counts=False), "letters": make_set(0.8, clean=0.91), "photos": make_set(0.7)}
    metas = [make_meta(d, "clean", eps=None, sets=sets, id_accuracy=None) for d in ("gat", LONG)]
    for eps, auroc, reach in ((0.25, 0.9, 0.0), (1.0, 0.75, 0.04), (8.0, 0.0, 0.96)):
        own = sets | {"letters": make_set(auroc, reachable=reach)}
        metas += [make_meta(d, eps=eps, sets=own, reachable=reach) for d in ("gat", LONG)]
    base = make_meta("gat", "square-l2", sets=sets, queries=2_345_678, gradients=0, seed=3, device="cuda")
    mean = base.mean
    far = mean.model_copy(update={"sets": ("photos",), "auroc": 0.6, "low": 0.5, "high": 0.7, "fpr95": 0.45})
    metas.append(
        base.model_copy(update={"groups": {"far": far, "near": mean.model_copy(update={"sets": ("letters",)})}})
    )
    metas += [
        make_meta("gat", "square-l2", sets=sets, queries=999, gradients=0, seed=seed, early_stop=early,
                  statuses={"completed": 150, "no-gradient": 30, "failed": 20, "": 400},
                  notes=("ID accuracy is low.", "another note.") if early else ("ID accuracy is low.",))
        for seed, early in ((3, False), (4, True))
    ]  # fmt: skip
    metas += [make_meta("msp", key=DOUBTED, sets=sets), make_meta("msp", search="auto", sets=sets)]
    metas.append(make_meta("msp", sets=sets, evidence=evidence(), gradients=250, leaves_out=("the rejection",)))
    metas.append(
        make_meta("odin", "pgd-linf", norm=Norm.LINF, eps=8 / 255, threat_params={"steps": 7, "loss": "ce"}, sets=sets)
    )
    metas.append(
        make_meta("odin", "pgd-linf", norm=Norm.LINF, eps=8 / 255, threat_params={"steps": 9}, draws=4,
                  threat_hash="another", sets=sets)
    )  # fmt: skip
    return metas


def evidence():
    budget = FullBudgetFigures(auroc=0.74, low=0.731, high=0.749)
    return EvidenceFigures(
        tolerance=0.05, audit=0.1, audited=20, attacked=1200, params={"steps": 10, "restarts": 1},
        full_gradients=1000, sets={"letters": budget}, mean=budget,
    )  # fmt: skip


def suites(make_meta, make_set):
    """Worst cases: of all their attacks, of some, with parts that failed; beside a table that lacks sets."""
    members = {"pgd-l2": 0.75, "square-l2": 0.875}
    sets = {"letters": make_set(0.5), "noise": make_set(0.4, counts=False)}
    return [
        make_meta("gat", "auto-l2", members=members, needs=("aa", "bb"), sets=sets),
        make_meta("msp", "auto-l2", members={"pgd-l2": 0.5}, left_out={"cw-l2": "it has no classifier."}, sets=sets),
        make_meta("odin", "auto-l2", members={"pgd-l2": 0.5}, failed_needs={"square-l2": "out of memory."}, sets=sets),
        make_meta("gat", "auto-l2", limit=None, members=members, without=("far", "xray"), set_digests=DIGESTS),
        make_meta("gat", "transfer", limit=None, without=("far", "xray"), set_digests=DIGESTS | {"test": "4" * 64}),
        make_meta("gat", side=Side.ALARM, limit=50, forms={"test": "test.npz", "letters": "a folder of images"}),
        make_meta("gat", side=Side.BOTH, limit=50, eps=None, queries=5),
    ]


def clean(make_meta, make_set):
    """Nothing attacked: accuracy, bits, rejection, guarantees."""
    dense = make_set(0.9).model_copy(update={"bits_per_dim": 2.5, "figures": {"mape": 0.5, "member": 1.0}})
    rejection = [
        RejectionMetrics(
            percentile=p,
            source="train",
            correct_only=not p,
            thresholds={0: 0.5, 1: 0.25},
            rejection_rate=0.03,
            accuracy=0.995 if p else None,
            detection_rates={"letters": 0.875},
        )
        for p in (0.0, 2.5)
    ]
    certified = make_set(1.0).model_copy(update={"guaranteed_auroc": 0.625})
    return [
        make_meta("glow", "clean", eps=None, bits_per_dim=1.2345, sets={"letters": dense}, rejection=rejection,
                  thresholds={"train_tpr100": 0.5}),
        make_meta("ccu", "clean", eps=None, id_accuracy=None, sets={"letters": certified, "none": make_set(0.0)},
                  thresholds={"calibration_tpr95/0": 0.5, "calibration_tpr95/1": 0.5}),
        make_meta("bare", "clean", eps=None, limit=None, thresholds={"train_tpr95": 0.5},
                  sets={"noise": make_set(0.55, counts=False)}),
    ]  # fmt: skip


def fool(make_meta, make_set):
    """Fooled classifiers at radii, anywhere in the box, and where nothing was fooled."""

    def at(eps, share, **more):
        figures = {
            "adversarial_accuracy": 0.95 - share, "misclassified": share, "undetected": share / 2,
            "detection_rate": 0.125, "auroc": 0.625, "se": 0.03, "low": 0.5, "high": 0.75, "median_norm": 1.375,
        }  # fmt: skip
        return FoolAtEps(eps=eps, **{**figures, **more})

    nothing = {"detection_rate": None, "auroc": None, "se": None, "low": None, "high": None, "median_norm": None}
    curve = (at(0.5, 0.0, **nothing), at(1.0, 0.25, by_percentile={"1": 0.125, "10": 0.0625, "5": 0.1}), at(None, 0.9))
    metas = []
    for detector, goal in (("gat", Goal.ACCEPT), ("msp", Goal.MISCLASSIFY), ("none", Goal.MISCLASSIFY)):
        n, attacked = (0, 0) if detector == "none" else (400, 380)
        found = FoolMetrics(goal=goal, loss=Loss.JOINT, n=max(n, 1), attacked=attacked, curve=curve)
        metas.append(make_meta(detector, "cw-l2", eps=1.0, side=Side.FOOL, fool=found, queries=760))
    return metas


def between(make_meta, make_set):
    """Paths of a classifier, and of a detector without one."""
    found = BetweenMetrics(
        paths=50, alphas=(0.0, 0.4, 1.0), score=(1.0, 0.5, 1.25), accepted=(1.0, 0.625, 0.9),
        confidence_from=(0.9, 0.375, 0.1), confidence_to=(0.1, 0.25, 0.9), accepted_throughout=0.5,
        midpoint_auroc=0.8125, midpoint_se=0.02, midpoint_low=0.77, midpoint_high=0.85,
    )  # fmt: skip
    bare = found.model_copy(update={"confidence_from": (), "confidence_to": (), "midpoint_low": None})
    half = found.model_copy(update={"confidence_to": ()})
    return [
        make_meta("half", "interpolation", side=Side.BETWEEN, between=half),
        make_meta("gat", "interpolation", side=Side.BETWEEN, between=found, iqr=2.0),
        make_meta("density", "interpolation", side=Side.BETWEEN, between=bare, iqr=0.0),
    ]


WORLDS = {"evade": evade, "suites": suites, "clean": clean, "fool": fool, "between": between}


def failed_checks_of(metas):
    """Checks that one of the cells failed."""
    return {meta.key: FAILED for meta in metas if meta.key == DOUBTED}


def cells_of_a_page(make_meta):
    """Attacked cells with samples, traces and images, and their verdicts."""
    metas = [
        make_meta("gat", eps=0.5, key="a" * 64, thresholds={"calibration_tpr95": 1.5}),
        make_meta("msp", eps=0.5, key="b" * 64, iqr=2.0, thresholds={"train_tpr95/0": 1.5, "train_tpr95/1": 1.0}),
        make_meta("gat", "pgd-linf", norm=Norm.LINF, eps=0.1, key="c" * 64, side=Side.ALARM, device="cuda",
                  versions={"torch": "2.0"}, set_digests=DIGESTS, samples_sha256="5" * 64, evidence=evidence(),
                  without=("far",), needs=("e" * 64,), left_out={"x": "absent"}, failed_needs={"y": "broken"},
                  weights_sha256=("6" * 64,), forms={"test": "test.npz"}),
        make_meta("bare", "clean", eps=None, key="f" * 64),
    ]  # fmt: skip
    cells = [
        make_cell(meta, attacked=("test",) if meta.side is Side.ALARM else ("letters", "uniform")) for meta in metas
    ]
    cells[1].samples["score"] = cells[1].samples["score"].where(np.arange(len(cells[1].samples)) != 13, np.nan)
    findings = (
        Finding(check="D4", title="noise", verdict=Verdict.FAIL, side=Side.EVADE, found="f.", advice="a.",
                figures={"auroc": 0.123456, "share_noise_gains_more": 0.5}),
        Finding(check="D1", title="slopes", verdict=Verdict.PASS, found="as measured."),
        Finding(check="D6", title="steps", verdict=Verdict.WARN, side=Side.ALARM, found="rises.", advice="more."),
        Finding(check="D9", title="others", verdict=Verdict.SKIPPED, found="there is none."),
    )  # fmt: skip
    verdicts = {
        "a" * 64: Verdicts(key="a" * 64, findings=findings),
        "c" * 64: Verdicts(key="c" * 64, findings=findings[1:3]),
    }
    return cells, verdicts
