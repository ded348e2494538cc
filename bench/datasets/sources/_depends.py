"""What a decoded set depends on, as one hash: its files by their content, its card, the code and the libraries."""

import errno
import hashlib
import stat
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.cards.base import content_hash
from bench.cards.code.source_hash import source_hash
from bench.cards.track import FormSpec, SetSpec
from bench.datasets.forms import inner_forms
from bench.datasets.published import BATCHES
from bench.datasets.sources._walk import listing, top

LIBRARIES = ("fonttools", "matplotlib", "numpy", "pillow", "scikit-image", "scikit-learn", "torchvision")
"""What decodes and draws."""


def dependence(spec: SetSpec, form: FormSpec, data_dir: Path) -> str | None:
    """The hash of all that a set's images and labels depend on; None for a user's own source, which may read anything.

    Args:
        spec: The set.
        form: The form in which it lies on disk.
        data_dir: Where data files lie.

    Raises:
        OSError: A file cannot be read.
    """
    parts = list(_parts(form))
    if any(":" in source for source, _ in parts):
        return None
    taken = spec.model_dump(mode="json", include={"start", "stop", "exclude_labels", "crop", "pad", "grey"})
    files = [one for each in parts for one in _files(*each, data_dir)]
    modules = ("bench.datasets.track", *(f"bench.datasets.sources.{name}" for name, _ in parts))
    return content_hash([*parts[0], taken, files, source_hash(modules), _versions()])


def _parts(form: FormSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    """Source and arguments of a form and of all that it is made from; `folder:PATH` has its path as an argument."""
    source, args = form.source, form.args
    if source.startswith("folder:"):
        source, args = "folder", {**args, "path": source.removeprefix("folder:")}
    yield source, args
    for inner in inner_forms(form):
        yield from _parts(inner)


@cache
def _versions() -> list[str]:
    found = dict.fromkeys(LIBRARIES, "")
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return [f"{name} {version}" for name, version in found.items()]


def _files(source: str, args: dict[str, Any], data_dir: Path) -> list[list[str]]:
    """Name and sha256 of every file that a source reads, in order; what is drawn or ships reads none."""
    if source == "npz":
        return [["", _digest(data_dir / str(args.get("file")))]]
    if source == "folder":
        folder = data_dir / Path(str(args.get("path"))).expanduser()
        found = listing(folder)
        named = [[name, _digest(folder / name)] for name in found.files]
        return [*named, *([sentence] for sentence in found.passed.sentences("")), list(top(folder).folders)]
    if source != "torchvision":
        return []
    dataset = str(args.get("dataset"))
    if (batches := BATCHES.get(dataset)) is None:
        folder = data_dir / dataset / "raw"
        return [[path.name, _digest(path)] for path in sorted(folder.iterdir()) if path.suffix == "" and path.is_file()]
    names = batches.files["train" if args.get("train") else "test"]
    folder, archive = data_dir / batches.folder, data_dir / batches.archive.name
    if all((folder / name).is_file() for name in names):
        return [[name, _digest(folder / name)] for name in names]
    return [[archive.name, _digest(archive)]]


def _digest(path: Path) -> str:
    """Of a regular file.

    Raises:
        OSError: It cannot be read, or is a pipe or a device, which might never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
