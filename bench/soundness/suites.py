"""A worst case as the checks see it: the outcome of all its attacks, probed by the strongest that follows gradients."""

from collections.abc import Mapping
from dataclasses import replace

from bench.errors import UsageError
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import Cell
from bench.soundness.stored import Role, role_of

_OF_THE_SUITE = ("score", "last_score", "norm", "attacked_predicted")
"""Columns of the samples that say what came of all attacks together."""

_FIGURES = ("key", "sets", "mean", "groups", "fool", "notes", "leaves_out", "seconds")


def as_one_attack(planned: PlannedCell, cell: Cell, members: Mapping[str, Cell]) -> tuple[PlannedCell, Cell]:
    """The strongest member that follows gradients, with the outcome of the whole suite in the place of its own.

    Steps, restarts and step sizes are a member's; whether more of them, or something else, lowers the figure is asked
    of the suite's.

    Args:
        planned: The worst case as it was asked for, with its members.
        cell: The same, computed.
        members: The members' cells, by the keys of the planned ones.

    Raises:
        UsageError: No member follows gradients.
    """
    followers = [
        need for need in planned.needs if need.key in members and role_of(need.threat) in (Role.ITERATED, Role.ONE_STEP)
    ]
    if not followers:
        raise UsageError(
            f"no attack of '{planned.threat.name}' follows gradients on {planned.detector.name}, and the checks are "
            "about such attacks; `bench run --diagnose` makes those that are not."
        )
    chosen = min(followers, key=lambda need: cell.meta.members.get(need.threat.name, 1.0))
    own = members[chosen.key]
    if not (own.samples["id"].equals(cell.samples["id"]) and own.samples["set"].equals(cell.samples["set"])):
        raise UsageError(f"{planned.label}: its members hold other images; run it again.")
    samples = own.samples.assign(**{name: cell.samples[name] for name in _OF_THE_SUITE if name in cell.samples})
    kept = {name: values for name, values in cell.arrays.items() if name in ("images", "image_rows")}
    arrays = {name: values for name, values in own.arrays.items() if name not in ("images", "image_rows")} | kept
    meta = own.meta.model_copy(update={name: getattr(cell.meta, name) for name in _FIGURES})
    return chosen, replace(own, meta=meta, samples=samples, arrays=arrays)
