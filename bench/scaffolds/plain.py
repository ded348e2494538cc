"""A detector and a threat to begin with: a card, and a module that keeps the contract and says what to change."""

from pathlib import Path

from bench.cards.catalog import Catalog, Kind
from bench.scaffolds.writing import card_path, module_path, put

_SCORE = '''\
"""A score of your own: higher for images that look in-distribution."""

from bench.detectors.scores.base import FeatureScore


class {class_name}(FeatureScore):
    """The length of the penultimate features, until you write something better."""

    def of(self, features, logits):
        # features: (N, D) of the network's penultimate layer; logits: (N, K). Give back (N,), differentiable in both.
        return features.norm(dim=1)
'''
_SCORE_CARD = """\
name: {name}
summary: The length of the penultimate features.  # say what it scores
method: {module}:{class_name}
on_network: true  # it stands on any network: {name}@NETWORK, or the track's own
# params: {{}}  # values of its parameters
"""
_THREAT = '''\
"""A threat of your own: it looks for images with a higher score within a ball."""

from pydantic import Field

from bench.cards.threat import Norm
from bench.threat_models.ascent import ball_of
from bench.threat_models.base import Threat, ThreatParams
from bench.threat_models.gradient import Oracle
from bench.threat_models.tracking import Tracker


class {class_name}Params(ThreatParams):
    """Parameters: how many `levels` are tried."""

    levels: int = Field(default=20, ge=1, le=1000)


class {class_name}(Threat):
    """The best of some levels of brightness, until you write something better."""

    params: {class_name}Params

    def attack(self, detector, x, *, ids, budget, context):
        norm, eps = ball_of(budget)
        size = eps if norm is Norm.LINF else eps / x.shape[1:].numel() ** 0.5
        tracker = Tracker(x, iterations=self.params.levels + 1, context=context)  # keeps the best image of each sample
        oracle = Oracle(detector, ids=ids, context=context)  # scores in micro-batches, the higher the better for you
        tracker.try_clean(*oracle.evaluate(x))
        for turn in range(1, self.params.levels + 1):
            left = (~tracker.past_target()).nonzero().flatten()  # images whose rank can still change
            level = size * (2 * turn / self.params.levels - 1)
            points = (x[left] + level).clamp(0, 1)
            tracker.try_images(turn, left, *oracle.evaluate(points, left), points)
            tracker.report(turn / self.params.levels)
        return tracker.result(budget)
'''
_THREAT_CARD = """\
name: {name}
summary: The whole image brighter or darker.  # say what it does
method: {module}:{class_name}
norm: linf  # or l2
eps: [8/255]  # radii where none are asked for
knowledge: scores  # none, scores or gradients: what it may ask of a detector
params: {{levels: 20}}  # only what stands here can be set for a run
"""


def new_detector(catalog: Catalog, name: str) -> list[Path]:
    """Write a score on any network: its card and its module.

    Raises:
        UsageError: The name is taken or not allowed.
    """
    return _written(catalog, Kind.DETECTOR, name, _SCORE_CARD, _SCORE)


def new_threat(catalog: Catalog, name: str) -> list[Path]:
    """Write a threat: its card and its module.

    Raises:
        UsageError: The name is taken or not allowed.
    """
    return _written(catalog, Kind.THREAT, name, _THREAT_CARD, _THREAT)


def _written(catalog: Catalog, kind: Kind, name: str, card: str, module: str) -> list[Path]:
    paths = card_path(catalog, kind, name), module_path(catalog, name)
    class_name = "".join(part.capitalize() for part in name.split("-"))
    words = {
        "name": name,
        "module": paths[1].stem,
        "class_name": class_name if class_name[0].isalpha() else f"The{class_name}",
    }
    if not words["module"][0].isalpha():
        words["module"] = f"of_{words['module']}"
        paths = paths[0], paths[1].with_stem(words["module"])
    return [put(path, text.format(**words)) for path, text in zip(paths, (card, module), strict=True)]
