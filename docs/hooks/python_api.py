"""The page of the Python API: what mkdocstrings finds in the docstrings, in an order for readers."""

import inspect
from collections.abc import Sequence

from writing import page

import bench
from bench import metrics

_PARTS: tuple[tuple[str, str, Sequence[str]], ...] = (
    (
        "Detectors",
        "What a detector of your own is made of: see [a detector of your own](../own-detector.md).",
        ("bench.detectors.base.Detector", "bench.detectors.base.DetectorInfo", "bench.detectors.base.DetectorParams"),
    ),
    (
        "Threats",
        "What a threat of your own is made of: see [a threat of your own](../own-threat.md).",
        (
            "bench.threat_models.base.Threat",
            "bench.threat_models.base.ThreatParams",
            "bench.threat_models.base.Budget",
            "bench.threat_models.base.Context",
            "bench.threat_models.base.AttackResult",
            "bench.threat_models.base.Status",
        ),
    ),
    (
        "Contracts",
        "What every built-in detector and threat passes, for those of your own.",
        (
            "bench.testing.check_detector",
            "bench.testing.check_threat",
            "bench.testing.DetectorCase",
            "bench.testing.Setting",
        ),
    ),
    (
        "Images",
        "What sources, training and `fit` are given.",
        ("bench.datasets.base.RawImages", "bench.datasets.base.ImageSet", "bench.datasets.base.TrainingData"),
    ),
)


def python_page() -> str:
    """`bench.evaluate` first, then what is subclassed, then the functions on scores."""
    lines = [
        "# Python API",
        "",
        "This page is made from the docstrings when the site is built.",
        "",
        "## Results",
        "",
        "### bench.evaluate {: #bench.evaluate }",
        "",
        "```python",
        _signature(),
        "```",
        "",
        "The cells come as an [Evaluation](#bench.report.api.Evaluation), with their tables and figures.",
        "",
        *_reference(
            "bench.evaluation.api.evaluate",
            ["show_root_heading: false", "show_root_toc_entry: false", "show_signature: false"],
        ),
        *_reference("bench.report.api.load_results"),
        *_reference("bench.evaluation.loaded.load_detector"),
        *_reference("bench.datasets.given.make_track"),
        *_reference("bench.report.api.Evaluation"),
    ]
    for title, sentence, names in _PARTS:
        lines += ["", f"## {title}", "", sentence, ""]
        for name in names:
            lines += _reference(name)
    lines += [
        "",
        "## Figures of scores",
        "",
        "Pure functions on arrays of scores, which are only ever ranked.",
        "",
    ]
    for name in vars(metrics):  # in the order in which its modules are imported, which keeps relatives together
        if name in metrics.__all__:
            lines += _reference(f"bench.metrics.{name}")
    return page(lines)


def _reference(name: str, options: Sequence[str] = ()) -> list[str]:
    level = ["heading_level: 3", *options]
    return ["", f"::: {name}", "    options:", *(f"      {option}" for option in level), ""]


def _signature() -> str:
    """The signature of `bench.evaluate` itself: what it wraps returns cells without figures."""
    given = inspect.signature(bench.evaluate)
    words = [str(parameter) for parameter in given.parameters.values()]
    keyword = next(i for i, p in enumerate(given.parameters.values()) if p.kind is p.KEYWORD_ONLY)
    words.insert(keyword, "*")
    arguments = "".join(f"    {word},\n" for word in words)
    return f"bench.evaluate(\n{arguments}) -> bench.Evaluation"
