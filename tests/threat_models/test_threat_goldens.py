"""What every attack that ships does with few steps, number by number: images, costs, traces, ends.

Optima are held by closed forms elsewhere; here every decision on the way is, since few steps reach no optimum.
"""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from goldens import assert_golden_numbers
from shipped_cards import FOLDER, shipped

from bench.cards.threat import Goal, Loss, Norm, Side
from bench.testing.classifiers import LinearClassifier, QuadraticClassifier
from bench.testing.closed_forms import MixtureScore, QuadraticScore, RoundedScore, fixed_numbers
from bench.testing.fool_threats import FoolSetting, fool
from bench.testing.threats import Setting, attack

GOLDEN = Path(__file__).with_name("golden")
NEAR = 2e-3
"""Of scores up to about 10 that few large steps lead to; a step that is left out changes them by a tenth and more."""

FEW = {
    "apgd-l1": {"steps": 30, "restarts": 2},
    "adaptive-l2": {"steps": 4, "longer": 2, "pairs": 2},
    "adaptive-linf": {"steps": 3, "longer": 1, "draws": 2, "pairs": 1},
    "apgd-l2": {"steps": 12, "restarts": 2}, "apgd-linf": {"steps": 7, "restarts": 3},
    "boundary-l2": {"steps": 40, "starts": 5}, "clean": {},
    "cw-l2": {"binary_search_steps": 3, "max_iterations": 25, "shrink_steps": 3},
    "ddn-l2": {"steps": 9, "shrink_steps": 3}, "deepfool-l2": {"steps": 4},
    "each-class-l2": {"steps": 5, "classes": 2}, "each-class-linf": {"steps": 4},
    "feature-matching-l2": {"steps": 8}, "feature-matching-linf": {"steps": 5, "guides_per_image": 2},
    "fgm-l2": {}, "fgsm": {}, "fmn-linf": {"steps": 9}, "interpolation-l2": {"nearest": 2, "drawn": 2, "points": 3},
    "interpolation-linf": {"nearest": 1, "drawn": 1, "points": 4}, "joint-l2": {"steps": 6, "restarts": 3},
    "joint-linf": {"steps": 5, "restarts": 2, "mode": "selective"}, "jsma": {},
    "local-search": {"rounds": 4, "probes": 9},
    "matching-l2": {"steps": 6, "restarts": 2, "pairing": "in-order"}, "matching-linf": {"steps": 6, "update": "plain"},
    "noise-l2": {"points": 5}, "noise-linf": {"points": 3}, "pgd-l2": {"steps": 5, "restarts": 3},
    "pgd-linf": {"steps": 6, "restarts": 2, "schedule": "constant", "step_size": 0.3},
    **{f"protocol-{name}": {"steps": 5} for name in (
        "aros", "atd", "atom", "good", "halo", "prood", "robust-ood", "rodeo", "ross",
    )},
    "sigma-zero": {"steps": 20, "prune_queries": 8},
    "square-l2": {"queries": 25, "restarts": 2}, "square-linf": {"queries": 30}, "transfer-l2": {}, "transfer-linf": {},
}  # fmt: skip
WITHOUT_OWN_METHOD = {"auto-l2", "auto-linf"}  # worst cases of the others
BETWEEN = {"interpolation"}  # attacks no image


def of(name):
    """A shipped threat with few steps, and the ball of its card."""
    card, usual = shipped(name)
    module, _, attribute = card.method.partition(":")
    method = getattr(importlib.import_module(module), attribute)
    eps = {Norm.L2: 0.7, Norm.LINF: 0.12, Norm.L1: 1.5, Norm.L0: 3.0, None: None}[card.norm]
    return card, method(method.Params(**{**usual.params.model_dump(), **FEW[name]})), eps


def told(result, detector):
    """What came of an attack, in a few numbers an image."""
    weights = torch.stack([fixed_numbers(draw) - 0.5 for draw in (31, 32)])
    trace = result.score_trace
    at = sorted({0, trace.shape[1] // 3, trace.shape[1] // 2, trace.shape[1] - 1})
    with torch.no_grad():
        scores = [detector.score(images).tolist() for images in (result.images, result.last_images)]
    return {
        "score": scores[0],
        "last": scores[1],
        "norm": result.norm.tolist(),
        "where": (result.images.flatten(1) @ weights.T).flatten().tolist(),
        "gradients": result.gradients.tolist(),
        "queries": result.queries.tolist(),
        "status": [str(status) for status in result.status],
        "moments": trace.shape[1],
        "trace": [trace[:, iteration].tolist() for iteration in at],
        "figures": {name: figure.tolist() for name, figure in sorted(result.figures.items())},
    }


def test_every_card_that_names_a_method_is_held_here():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == set(FEW) | WITHOUT_OWN_METHOD | BETWEEN


@pytest.mark.parametrize("name", FEW)
def test_few_steps_lead_where_they_did(name):
    card, threat, eps = of(name)
    found = {}
    for side in (Side.EVADE, Side.ALARM):
        if side not in card.sides or name == "clean":
            continue
        scores = () if name.startswith("each-class") else (QuadraticScore(), MixtureScore(), RoundedScore())
        for detector in (*scores, LinearClassifier()):
            line = {Side.EVADE: -2.0, Side.ALARM: -4.0}[side]
            if card.min_norm:
                result = attack(threat, detector.eval(), Setting(card.norm, None), side=side, line=line)
                found[f"{side} {type(detector).__name__}"] = told(result, detector)
                continue
            for target in (None, line):
                result = attack(threat, detector.eval(), Setting(card.norm, eps), side=side, target=target)
                found[f"{side} {type(detector).__name__} {target}"] = told(result, detector)
    if Side.FOOL in card.sides:
        ball = None if card.min_norm else eps
        for detector in (LinearClassifier(), QuadraticClassifier()):
            for goal, loss in ((Goal.MISCLASSIFY, Loss.MARGIN), (Goal.ACCEPT, Loss.JOINT)):
                result = fool(threat, detector.eval(), FoolSetting(card.norm, ball, goal, loss))
                found[f"fool {type(detector).__name__} {goal}"] = told(result, detector)
    assert_golden_numbers(GOLDEN / f"{name}.json", found, near=NEAR)


@pytest.mark.parametrize("name", FEW)
def test_progress_is_told_as_it_was(name, monkeypatch):
    card, threat, eps = of(name)
    run, heard = threat.run, []

    def listened(detector, x, *, ids, budget, context):
        def hear(share, scores):
            heard.append([float(share), float(scores.mean())])

        return run(detector, x, ids=ids, budget=budget, context=replace(context, progress=hear))

    monkeypatch.setattr(threat, "run", listened)
    detector = LinearClassifier().eval()
    if Side.EVADE in card.sides and not card.min_norm:
        attack(threat, detector, Setting(card.norm, eps))
    else:
        fool(threat, detector, FoolSetting(card.norm, None if card.min_norm else eps, Goal.ACCEPT, Loss.JOINT))
    shares = [share for share, _ in heard]
    assert all(0.0 <= share <= 1.0 for share in shares)
    some = [len(heard), *heard[:: max(1, len(heard) // 10)], *heard[-1:]]
    assert_golden_numbers(GOLDEN / "progress" / f"{name}.json", some, near=NEAR)
