"""`bench show`: one card as it is in force."""

import difflib
from typing import Annotated, Any

import typer
import yaml

from bench.cards.base import content_hash
from bench.cards.catalog import Catalog, Kind
from bench.cards.detector import DetectorCard
from bench.cards.detector_names import is_adapted, split_network
from bench.cards.threat import ThreatCard
from bench.cards.threat_names import is_adapted_threat
from bench.cards.track import TrackCard
from bench.cli.common import WorkspaceOption, catalog
from bench.datasets.forms import form_at_hand, form_name
from bench.errors import BenchError, UsageError, shorten, unknown_name
from bench.lazy import lazily

with lazily():
    from bench.detectors import loading
    from bench.detectors.networks import plain

EXAMPLES = (
    "bench show gat",
    "bench show energy@resnet20",
    "bench show gat --track digits",
    "bench show pgd-l2",
    "bench show foolbox:LinfPGD",
)

_PLAIN = "msp"
"""A score that asks nothing of a network, to build one by."""


def command(
    name: Annotated[str, typer.Argument(help="A detector, NAME.VARIANT, NAME@NETWORK, a network, a threat, a track.")],
    track: Annotated[str | None, typer.Option(help="Show a detector's settings in force on this track.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print a card as YAML with every default written out, its hash, and the file it was found in."""
    found = catalog(workspace)
    score, network = split_network(name)
    kinds = _kinds(found, name)
    if network is not None and network.partition(".")[0] not in found.bases():
        raise unknown_name("network", network[:80], found.bases())
    if network is not None and track is None and network in found.names(Kind.NETWORK):
        track = found.network(network).track
    elif network is not None and track is None:
        raise UsageError(f"{shorten(name)} stands on another network on each track; name one by --track.")
    if track is not None and Kind.DETECTOR not in kinds:
        raise UsageError(f"{shorten(name)} is a {kinds[0]}, and --track goes with a detector; leave it out.")
    for kind in kinds if track is None else [Kind.DETECTOR]:
        spec = found.detector_spec(name, track) if track else None
        content = spec.model_dump(mode="json") if spec else resolved(found, kind, name)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        typer.echo(f"# {kind} {name}{f' on {track}' if track else ''}")
        typer.echo(f"# hash: {spec.content_hash() if spec else content_hash(content)}")
        if not is_adapted(name):
            typer.echo(f"# file: {found.where(kind, score)}")
            typer.echo(f"# origin: {found.origin(kind, score)}")
        if kind is Kind.TRACK:
            for line in _forms(found.track(name)):
                typer.echo(f"# {line}")
        if kind is Kind.NETWORK:
            for line in _parts(found, f"{_PLAIN}@{name}", found.network(name).track):
                typer.echo(f"# {line}")
        elif network is not None and track is not None:
            for line in _parts(found, name, track):
                typer.echo(f"# {line}")
        typer.echo(text)


def resolved(found: Catalog, kind: Kind, name: str) -> dict[str, Any]:
    """The content of a card with its defaults; of `NAME.VARIANT`, the detector's with the variant's laid over it."""
    if is_adapted(name):
        return (found.threat(name) if kind is Kind.THREAT else found.detector(name)[0]).model_dump(mode="json")
    card = found.read(kind, found.where(kind, name))
    content = card.model_dump(mode="json")
    if isinstance(card, TrackCard):
        content |= card.suite_content()  # no dump of the card holds it, but its hash does
    if isinstance(card, ThreatCard) and card.misses is not None:
        content["misses"] = card.misses  # no part of its hash
    variant = found.detector(name)[1] if isinstance(card, DetectorCard) else None
    if variant is not None:
        chosen = content["variants"][variant]
        content["name"] = name
        content["summary"] = chosen["summary"]
        content["params"] |= chosen["params"]
        content["thresholds"] = chosen["thresholds"] or content["thresholds"]
        content["tracks"] = chosen["tracks"] or content["tracks"]
        content["variants"] = {}
    return content


def _parts(found: Catalog, name: str, track: str) -> list[str]:
    """What gives the activations of a network, found by building it; or why it cannot be built."""
    try:
        network = loading.build_detector(found.detector_spec(name, track), found.track(track), found).network
    except BenchError as error:
        return [f"found in the network: nothing, for {error}"]
    if network is None:
        return []
    inside = network.network
    if isinstance(inside, plain.PlainNetwork):
        return [f"{part}: {what}" for part, what in plain.found_parts(inside).items()]
    return [f"layers: {', '.join(inside.layers)}"]


def _forms(card: TrackCard) -> list[str]:
    """Which form of each set lies in the data folder, of the sets whose card accepts several."""
    own = {"train": card.train, "calibration": card.calibration, "test": card.test}
    outliers = {f"outliers-{number}": spec for number, spec in enumerate(card.outliers, start=1)}
    lines = []
    for name, spec in {**own, **card.ood, **outliers}.items():
        if spec.also:
            found = form_at_hand(spec, None)
            lines.append(f"{name}: {form_name(found)}" if found else f"{name}: none of its forms is there")
    return lines


def _kinds(found: Catalog, name: str) -> list[Kind]:
    """The kinds of card that have this name: nearly always one."""
    if is_adapted(name):
        return [Kind.THREAT if is_adapted_threat(name) else Kind.DETECTOR]
    score, network = split_network(name)
    stem = score.partition(".")[0]
    if network is not None and stem in found.names(Kind.NETWORK) and stem not in found.names(Kind.DETECTOR):
        raise UsageError(f"{shorten(stem)} is a network, and before the @ stands a score: give energy@{stem}, say.")
    kinds = [kind for kind in Kind if (stem if kind is Kind.DETECTOR else name) in found.names(kind)]
    if not kinds:
        near = difflib.get_close_matches(
            score[:80], [other for kind in Kind for other in found.names(kind)], cutoff=0.5
        )
        hint = f"did you mean {' or '.join(near)}?" if near else "give one of the names that `bench list` shows."
        raise UsageError(f"there is no detector, threat or track {shorten(name)}; {hint}")
    return kinds
