"""`bench.load_detector`: a detector of the catalog, or a score on a network at hand, ready to score images."""

from pathlib import Path

import torch
from torch import nn

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.network import Base, NetworkSpec, RecordedSpec
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.detectors import loading
from bench.detectors.base import Detector
from bench.errors import UsageError
from bench.evaluation.fits import fit_or_recall


def load_detector(
    name: str,
    track: str | TrackCard | Track = "digits",
    *,
    network: str | nn.Module | None = None,
    device: str = "auto",
    workspace: Path | str | None = None,
    data_dir: Path | str | None = None,
) -> Detector:
    """A detector with its weights, frozen and in evaluation mode, to score images with.

    Its `score` takes (N, C, H, W) images in [0, 1] of the track's shape and returns (N,) scores, higher for
    in-distribution, with a gradient in the images wherever the detector has one. What it finds in training images is
    taken from the user's cache, or found now.

    Args:
        name: As `bench run --detector` takes it: "gat", "energy@oe", "glow.split".
        track: The track on which it stands: a catalog name, a card, or a `Track`, as `bench.make_track` makes one.
        network: What a score stands on, in place of the track's own: a name, or a module that is made already, from
            (N, C, H, W) images in [0, 1] to (N, K) logits, of which a copy is taken.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        workspace: A folder of cards; None for the nearest one upward.
        data_dir: Where data files lie; None for the default.

    Raises:
        UsageError: A name is wrong, the network does not fit, or weights or images are missing.
    """
    catalog = Catalog.find(None if workspace is None else Path(workspace))
    card = track.card if isinstance(track, Track) else track if isinstance(track, TrackCard) else catalog.track(track)
    images = images_of(track, card, data_dir, catalog)
    place = device_of_name(device)
    if isinstance(network, nn.Module):
        spec = score_spec(name, network, card, catalog)
        return on_network(spec, network, images, catalog, place)
    spec = catalog.detector_spec(name if network is None else f"{name}@{network}", card.name)
    detector = loading.load_detector(spec, card, catalog, place)
    if spec.fit_when_loaded:
        fit_or_recall(detector, spec, images, catalog)
    return detector


def on_network(spec: DetectorSpec, network: nn.Module, images: Track, catalog: Catalog, device: str) -> Detector:
    """A score on a network that is made already, fitted to the track's training images where it is fitted at all.

    Raises:
        UsageError: The network does not fit the track, or training images are missing.
    """
    detector = loading.score_on(network, spec, images.card, catalog, device)
    if spec.fit_when_loaded:
        detector.fit(images.training_data())
    return detector


def score_spec(name: str, network: nn.Module, track: TrackCard, catalog: Catalog) -> DetectorSpec:
    """The settings of a score on a network that is made already; `NAME@CLASS` is what tables call it.

    Raises:
        UsageError: There is no such detector, or it stands on no other network than its own.
    """
    card, variant = catalog.detector(name)
    if not card.on_network or "@" in name:
        raise UsageError(
            f"detector '{name}' is no score that stands on any network; name one, such as energy, msp, knn or vim."
        )
    kind = type(network)
    base = Base(
        kind.__name__.lower(),
        False,
        NetworkSpec(method="bench.detectors.networks.plain:PlainNetwork"),
        (),
        None,
        RecordedSpec(),
        None,
    )
    return card.on(base, track.name, variant)


def device_of_name(name: str) -> str:
    """The device that "auto" stands for; any other name is itself."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def images_of(track: object, card: TrackCard, data_dir: Path | str | None, catalog: Catalog) -> Track:
    """The track that was given, or that of its card."""
    if isinstance(track, Track):
        return track
    return Track(card, None if data_dir is None else Path(data_dir), workspace=catalog.workspace)
