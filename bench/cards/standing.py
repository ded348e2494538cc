"""Names of detectors with a network added: what `--network` means."""

from collections.abc import Iterable

from bench.cards.catalog import Catalog
from bench.cards.detector_names import split_network
from bench.errors import UsageError, unknown_name


def standing_on(catalog: Catalog, names: Iterable[str], network: str | None, *, wildcards: bool = False) -> list[str]:
    """The names of detectors with a network added to those that are scores and name none.

    Args:
        catalog: Where the cards are.
        names: Of detectors.
        network: What scores stand on; None for what each track says.
        wildcards: Leave out detectors that stand on no network, since nobody named them.

    Raises:
        UsageError: There is no such network, or a detector is named that stands on none.
    """
    if network is None:
        return list(names)
    if network not in catalog.bases():
        raise unknown_name("network", network[:80], catalog.bases())
    placed = []
    for name in names:
        on_network, own = catalog.detector(name)[0].on_network, split_network(name)[1]
        if on_network:
            placed.append(name if own is not None else f"{name}@{network}")
        elif not wildcards:
            raise UsageError(
                f"detector '{name}' is trained as a whole and does not stand on the network '{network}'; "
                "leave it or --network out."
            )
    if not placed:
        raise UsageError(f"none of these detectors stands on a network; scores do: {', '.join(catalog.scores())}.")
    return placed
