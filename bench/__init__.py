"""robustood: how much of a detector's AUROC is left when the detector itself is attacked?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench import metrics, testing
    from bench.datasets.given import make_track
    from bench.evaluation.loaded import load_detector
    from bench.report.api import Evaluation, evaluate, load_results

__version__ = "0.1.0"
__all__ = [
    "Evaluation",
    "__version__",
    "evaluate",
    "load_detector",
    "load_results",
    "make_track",
    "metrics",
    "testing",
]

_HOMES = {
    "Evaluation": "bench.report.api",
    "evaluate": "bench.report.api",
    "load_detector": "bench.evaluation.loaded",
    "load_results": "bench.report.api",
    "make_track": "bench.datasets.given",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: the command line stays fast."""
    if name in ("metrics", "testing"):
        return import_module(f"bench.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public surface, for completion: nothing is imported for it."""
    return sorted(__all__)
