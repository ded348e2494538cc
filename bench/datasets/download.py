"""Fetching public data sets into the data folder; only this and `transfer` use the network."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.cards.track import FormSpec, OtherForm, SetSpec
from bench.datasets.base import content_digest
from bench.datasets.forms import chosen_form, inner_forms
from bench.datasets.published import BATCHES, IDX, IDX_COPIES, PublishedFile
from bench.datasets.sources import load_source
from bench.datasets.sources._files import MissingDataError
from bench.datasets.transfer import HTTPS, Told, fetch_file, no_progress
from bench.datasets.unpacking import damaged, unpack_gzip
from bench.errors import DataError
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from torchvision.datasets import mnist


@dataclass(frozen=True)
class Fetching:
    """How files are fetched: what hears of it, and in tests whether plain http will do."""

    told: Told = no_progress
    _schemes: tuple[str, ...] = HTTPS
    brought: set[str] = field(default_factory=set)  # what is there because an earlier set needed it
    _lost: set[Path] = field(default_factory=set)  # what could not be had is not asked for again by the next set

    def files(self, wanted: list[PublishedFile], folder: Path) -> list[str]:
        """Fetch all of them, also where one fails, and unpack those that are packed by gzip.

        Returns:
            What is to be said of them.

        Raises:
            DataError: Some could not be had: a sentence for each, on a line of its own.
        """
        notes, problems = [], []
        for file in wanted:
            try:
                notes += self.file(file, folder)
            except DataError as error:
                self._lost.add(folder / file.name)
                problems.append(str(error))
        if problems:
            raise DataError("\n".join(problems))
        return notes

    def file(self, file: PublishedFile, folder: Path) -> list[str]:
        """Fetch one file, and unpack it where it is packed by gzip; the packed one is not kept.

        Returns:
            What is to be said of it, nothing for the most part.

        Raises:
            DataError: It could not be had.
        """
        if folder / file.name in self._lost:
            raise DataError(f"{file.name} could not be had, as said above.")
        final = folder / file.name.removesuffix(".gz")
        if file.unpacked is not None and os.path.lexists(final):
            if final.is_file() and final.stat().st_size == file.unpacked:
                return []
            raise DataError(
                f"{final} is there and is another file than was published: move it away and run this again."
            )
        path = fetch_file(file, folder, told=self.told, _schemes=self._schemes)
        if file.unpacked is not None:
            unpack_gzip(path, final, file.unpacked)
            path.unlink()
        if file.digest[0] == "md5":
            return [f"{file.name} was compared by md5 alone, which tells damage and not a forgery."]
        return []


def fetch(spec: SetSpec, data_dir: Path, fetching: Fetching | None = None) -> list[str]:
    """Fetch the files of one set unless it is there in a form that its card accepts.

    Returns:
        Sentences: that they are there, were fetched, or have to be put there by hand, and where; none where another
        set brought them already.

    Raises:
        DataError: They could not be downloaded, or are not what was published: a line for each file.
    """
    fetching = fetching or Fetching()
    form = chosen_form(spec, data_dir) or next(filter(_is_published, spec.forms), spec.forms[0])
    name = _what(form)
    try:
        load_source(form.source, form.args, data_dir)
    except MissingDataError:
        pass
    else:
        return [] if name in fetching.brought else [f"{name} is there already."]
    if not _is_published(form):
        ways = " or ".join(_what(other) for other in spec.forms)
        return [
            f"{ways} cannot be fetched: put it into {data_dir}, an .npz of 'images' (uint8, N,H,W,C) and 'labels' "
            "(int64), as the card's note describes; `bench data check` then says whether it is the same."
        ]
    if form.source == "torchvision":
        notes = _torchvisions(form, data_dir, fetching)
    else:
        images, labels, notes = _idx_copy(*IDX_COPIES[name], data_dir, fetching)
        content = io.BytesIO()
        np.savez_compressed(content, images=images, labels=labels)
        write_file(data_dir / name, content.getvalue(), through_links=False, error=DataError)
        digest = content_digest(images, labels)
        if form.digests() and digest not in form.digests():
            return [
                f"{name} was fetched into {data_dir}, but its content {digest} is not the copy that this track was "
                "measured with: write a track card of your own that gives this digest.",
                *notes,
            ]
    fetching.brought.add(name)
    return [f"{name} was fetched into {data_dir}.", *notes]


def _torchvisions(form: FormSpec, data_dir: Path, fetching: Fetching) -> list[str]:
    """Fetch what torchvision reads of one of its data sets: MNIST's four files, or CIFAR's archive as it is."""
    name = _what(form)
    if name in BATCHES:
        notes = fetching.files([BATCHES[name].archive], data_dir)
    else:
        halves = IDX[name].values()  # both: torchvision opens neither without the other
        notes = fetching.files([file for half in halves for file in half], data_dir / name / "raw")
    load_source(form.source, form.args, data_dir)
    return notes


def _is_published(form: FormSpec) -> bool:
    """Whether the files of a form have a public home that is known here."""
    return form.source == "torchvision" or (form.source == "npz" and _what(form) in IDX_COPIES)


def _what(form: FormSpec) -> str:
    return str(form.args.get("file") or form.args.get("dataset") or form.args.get("path") or form.source)


def _idx_copy(dataset: str, half: str, data_dir: Path, fetching: Fetching) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One half of an MNIST-like set, without the other: (N, 28, 28, 1) images and labels."""
    folder = data_dir / dataset / "raw"
    notes = fetching.files(IDX[dataset][half], folder)
    try:
        images = mnist.read_image_file(str(folder / f"{half}-images-idx3-ubyte")).numpy()[..., None]
        labels = mnist.read_label_file(str(folder / f"{half}-labels-idx1-ubyte")).numpy().astype(np.int64)
    except Exception as error:  # whatever the parser makes of it
        raise damaged(folder / f"{half}-images-idx3-ubyte", type(error).__name__) from error
    return images, labels, notes


def read_by(spec: SetSpec) -> Iterator[SetSpec]:
    """The sets whose files a set needs: itself, or those that its images are made from."""
    made_from = [inner_forms(form) for form in spec.forms]
    if not any(made_from):
        yield spec
    for number in range(max(map(len, made_from))):
        first, *others = [inner[number] for inner in made_from if number < len(inner)]
        yield SetSpec(**first.model_dump(), also=tuple(OtherForm(**other.model_dump()) for other in others))


def distinct(specs: Iterator[SetSpec]) -> Iterator[SetSpec]:
    """The specs whose files differ: train and calibration are often parts of one file, train and test of one class."""
    seen: set[tuple[str, ...]] = set()
    for spec in specs:
        key = tuple(f"{form.source} {_what(form)}" for form in spec.forms)
        if key not in seen:
            seen.add(key)
            yield spec
