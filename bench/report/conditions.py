"""Under which conditions a cell's figures were measured: only cells that agree in all of them can be averaged."""

from bench.evaluation.results import CellMeta

QUIET_STATUSES = ("", "completed", "stopped")
"""How attacks end that need no word; one that stopped early had reached all that counts."""

COLUMNS = ("steps", "restarts", "params", "evidence", "status", "without", "left_out", "failed_parts")
"""What `conditions_of` tells."""


def conditions_of(meta: CellMeta) -> dict[str, object]:
    """The attack's parameters in force, how it ended, and what is missing of it; beside eps, side, limit and seed.

    Args:
        meta: The cell.

    Returns:
        "steps" and "restarts", None where the threat has none; "params", all parameters in one text;
        "evidence", on what evidence some images had less than the full budget, and "" where all had it; "status",
        "completed" or else how many images ended how; "without", OOD sets that were left out; "left_out", parts of
        the attack that cannot be run on the detector; "failed_parts", parts that were to be run and failed.
    """
    found, params = meta.evidence, dict(sorted(meta.threat_params.items()))
    return {
        "steps": params.get("steps"),
        "restarts": params.get("restarts"),
        "params": " ".join(f"{name}={value}" for name, value in params.items()),
        "evidence": "" if found is None else f"tolerance={found.tolerance:g} audit={found.audit:g}",
        "status": status_of(meta),
        "without": " ".join(meta.without),
        "left_out": " ".join(meta.left_out),
        "failed_parts": " ".join(meta.failed_needs),
    }


def budget_of(meta: CellMeta) -> str:
    """In words, which images had the threat's whole budget; "" where all of them had it and nothing else was asked."""
    found = meta.evidence
    if found is None:
        return ""
    whole = f"whole on {found.audited:,} audited images of {found.attacked:,} (tolerance {found.tolerance:g})"
    form = ", ".join(f"{name} {value}" for name, value in found.params.items())
    return f"{whole}; {form} on the others" if form else f"{whole}, and then on all"


def status_of(meta: CellMeta) -> str:
    """How the attacks ended: "completed" where all did, else how many ended how: "completed 3, no-gradient 7"."""
    ended = {status: count for status, count in sorted(meta.statuses.items()) if status and count}
    if set(ended) <= set(QUIET_STATUSES):
        return "completed"
    return ", ".join(f"{status} {count}" for status, count in ended.items())


def parts_of(meta: CellMeta) -> str:
    """How many of a suite's attacks its worst case is taken over, "(6 of 7)"; "" where it is all of them."""
    absent = {**meta.left_out, **meta.failed_needs}
    if not meta.members or not absent:
        return ""
    every = {*meta.members, *absent}
    return f"({len(every) - len(absent)} of {len(every)})"
