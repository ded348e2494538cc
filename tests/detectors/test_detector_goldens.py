"""What every detector makes of the same images on the same tiny network, with every setting at a second value.

Closed forms and reference implementations hold most scores elsewhere; here each setting, each part of a fit and each
form of a score is held, number by number.
"""

import importlib
import inspect
import pkgutil
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch
from goldens import assert_golden_numbers
from pydantic import ValidationError

import bench.detectors
from bench.detectors.base import Detector
from bench.errors import BenchError

GOLDEN = Path(__file__).with_name("golden")
NEAR = 5e-3
"""Of the larger of a score and 1: fits solve systems of a few hundred sums, which processors round otherwise."""

ABSTRACT = {
    "base:Detector",
    "boundary:Bounded",
    "scores.base:Score",
    "scores.base:FeatureScore",
    "scores.base:ClassScore",
    "scores.base:LogitScore",
    "logit:LogitDetector",
}


def kinds():
    """Every class of a detector that can be made, by module and name."""
    for found in pkgutil.walk_packages(bench.detectors.__path__, "bench.detectors."):
        if ".adapters" not in found.name:
            importlib.import_module(found.name)
    waiting, seen = [Detector], {}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        place = f"{kind.__module__.removeprefix('bench.detectors.')}:{kind.__qualname__}"
        own = kind.__module__.startswith("bench.detectors.") and ".adapters" not in kind.__module__
        if own and place not in ABSTRACT and not inspect.isabstract(kind):
            seen[place] = kind
    return dict(sorted(seen.items()))


ROUGH = {"controls:NoisyControl", "scores.residual:Residual", "scores.vim:ViM"}
"""Whose scores on a tiny network are of rounding: ten thousand waves a unit, and directions that hardly vary."""

KINDS = {place: kind for place, kind in kinds().items() if place not in ROUGH}


def other_settings(kind):
    """The defaults, and for each setting another value that is allowed."""
    yield {}
    for name, field in kind.Params.model_fields.items():
        for value in others(field.default, field.annotation):
            with suppress(ValidationError):
                kind.Params(**{name: value})
                yield {name: value}


SHAPINGS = (
    {"kind": "react"}, {"kind": "react", "percentile": 60.0}, {"kind": "vra"}, {"kind": "ash-s", "percentile": 60.0},
    {"kind": "ash-p", "percentile": 40.0}, {"kind": "ash-b", "percentile": 50.0}, {"kind": "scale", "percentile": 50.0},
    {"kind": "dice", "percentile": 30.0}, {"kind": "dice"},
)  # fmt: skip


def others(value, annotation):
    if get_args(annotation) and "Settings" in str(annotation):
        return SHAPINGS
    if get_origin(annotation) is Literal:
        return [other for other in get_args(annotation) if other != value]
    if isinstance(value, Enum):
        return [other for other in type(value) if other is not value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    return [value * 2, value / 2] if isinstance(value, float) else []


def trained(make_detector, kind, data, **params):
    """The detector on a network whose last layer tells the classes apart, fitted."""
    detector = make_detector(kind, **params)
    inside = getattr(getattr(detector.network, "network", None), "linear", None)
    if detector.info.classifier and getattr(inside, "out_features", None) == data.classes:
        with torch.no_grad():
            features = detector.network.activations(data.train.pixels())["penultimate"]
            known = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
            wanted = torch.nn.functional.one_hot(data.train.labels).double() - 1 / 3
            solved = torch.linalg.solve(known.T @ known + 1e-3 * torch.eye(known.shape[1]), known.T @ (8.0 * wanted))
            inside.weight.copy_(solved[:-1].T)
            inside.bias.copy_(solved[-1])
    return detector.fit(data).eval()


def told(detector, x):
    """Scores, what attacks follow, and what a classifier says."""
    leaf = x.clone().requires_grad_(True)
    score = detector.score(leaf)
    said = {"score": score}
    objective = detector.objective(leaf)
    said["objective"] = objective
    if objective.requires_grad:
        (gradient,) = torch.autograd.grad(objective.sum(), leaf)
        said["slope"] = gradient.flatten(1).norm(dim=1)
    for name in ("logits", "class_scores"):
        found = getattr(detector, name)(x)
        said |= {name: found.flatten()} if found is not None else {}
    return {name: value.detach().double().tolist() for name, value in said.items()}


@pytest.mark.parametrize("place", KINDS)
def test_scores_are_those_that_they_were_with_every_setting(place, make_detector, training_data):
    kind = KINDS[place]
    x = torch.cat([training_data.calibration.pixels()[:4], training_data.outliers.pixels()[:3]])
    found = {}
    for params in other_settings(kind):
        torch.manual_seed(0)
        try:
            found[str(params)] = told(trained(make_detector, kind, training_data, **params), x)
        except BenchError as error:  # such as a shaping that changes nothing that this score looks at
            assert params
            found[str(params)] = str(error)
    assert_golden_numbers(GOLDEN / f"{place.replace(':', '.')}.json", found, near=NEAR)
