"""A method says once what its parameters are: by the annotation of `params`."""

import pytest
from pydantic import BaseModel

from bench.cards.params import annotated_params
from bench.detectors.base import Detector, DetectorParams
from bench.threat_models.base import Threat, ThreatParams


class Deep(DetectorParams):
    depth: int = 3


class Wide(DetectorParams):
    width: int = 5


class Climbing(ThreatParams):
    steps: int = 7


class Annotated(Detector):
    params: Deep


class AsText(Detector):
    params: "Deep"


class Below(Annotated):
    """Says nothing itself."""


class Again(Annotated):
    params: Wide  # type: ignore[assignment]


class SetAsWell(Detector):
    Params = Wide
    params: Deep


class Climb(Threat):
    params: Climbing


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Detector, DetectorParams), (Annotated, Deep), (AsText, Deep), (Below, Deep), (Again, Wide), (SetAsWell, Wide),
        (Threat, ThreatParams), (Climb, Climbing),
    ],
)  # fmt: skip
def test_the_class_of_the_parameters_is_that_of_the_annotation(method, expected):
    assert method.Params is expected


def made(annotations):
    return type("Made", (), {"__annotations__": annotations, "__module__": __name__})


@pytest.mark.parametrize("annotation", [int, BaseModel, Climbing, "Climbing", "NoSuchName", "Deep | None"])
def test_what_is_no_class_of_such_parameters_is_none(annotation):
    assert annotated_params(made({"params": annotation}), DetectorParams) is None
    assert annotated_params(made({"other": Deep}), DetectorParams) is None
    assert annotated_params(made({"params": Deep}), DetectorParams) is Deep
