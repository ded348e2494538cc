"""robustood: how much of a detector's AUROC is left when the detector itself is attacked?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.report.api import Evaluation, evaluate, load_results

__version__ = "0.1.0"
__all__ = ["Evaluation", "__version__", "evaluate", "load_results"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: the command line stays fast."""
    if name in ("Evaluation", "evaluate", "load_results"):
        from bench.report import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")
