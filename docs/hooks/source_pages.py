"""The page of sources: what a card can name as the place of a set's images, and with which arguments."""

import importlib
from types import ModuleType

from card_fields import fields_table, model_section
from card_pages import cards
from explained import function_text
from writing import code, page, prose, table, value

from bench.cards.catalog import Kind
from bench.cards.track import FormSpec, TrackCard
from bench.datasets.published import BATCHES, IDX, IDX_COPIES, PublishedFile
from bench.datasets.sources import fetchable, reads_files, source_names
from bench.datasets.sources._args import SourceArgs
from bench.datasets.sources._inner import InnerForm


def sources_page() -> str:
    """One section a source, then a user's own, then what can be fetched."""
    lines = [
        "# Sources of images",
        "",
        "Each set of a [track's card](cards.md#setspec) names a `source`, and gives it `args`. Unknown arguments are "
        "errors. This page is made from the code when the site is built.",
    ]
    lines += table(
        ("source", "where its images come from", "`bench data download`"),
        [(f"[`{name}`](#{name})", _where(name), "some of them" if fetchable(name) else "-") for name in source_names()],
    )
    for name in source_names():
        lines += _source(name)
    lines += model_section(InnerForm, depth=2)
    lines += _own()
    return page([*lines, *_published()])


def args_model(name: str) -> type[SourceArgs]:
    """The arguments of a source: the class that its module defines, or else the one that it imports.

    Raises:
        ValueError: There is none, or more than one.
    """
    module = _module(name)
    kinds = [
        each for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, SourceArgs) and each is not SourceArgs
    ]  # fmt: skip
    own = [each for each in kinds if each.__module__ == module.__name__]
    (found,) = own or kinds
    return found


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.datasets.sources.{name}")


def _where(name: str) -> str:
    if any(field.annotation is InnerForm for field in args_model(name).model_fields.values()):
        return "made from the images of another source"
    if name == "folder":
        return "a folder of image files, below the data folder or anywhere"
    return "a file below the data folder" if reads_files(name) else "made or shipped: no file is needed"


def _source(name: str) -> list[str]:
    module, model = _module(name), args_model(name)
    first, *more = function_text(module.load)
    lines = ["", f"## {name}", "", prose(module.__doc__ or ""), "", prose(first), ""]
    if name == "folder":
        lines += ["", "`source: folder:PATH` gives `path` too.", ""]
    lines += fields_table(model, ("argument", "what it may hold", "default", "what it is"))
    if (example := _example(name)) is not None:
        given = {"source": example.source, **({"args": example.args} if example.args else {})}
        lines += ["", f"In a built-in card: {value(given)}.", ""]
    return [*lines, *(f"{prose(text)}\n" for text in more)]


def _example(name: str) -> FormSpec | None:
    """The first form of a set of a built-in card that is of this source."""
    for card in cards(Kind.TRACK):
        assert isinstance(card, TrackCard)
        for spec in (card.train, card.calibration, card.test, *card.ood.values(), *card.outliers):
            for form in spec.forms:
                if form.source == name:
                    return form
    return None


def _own() -> list[str]:
    return [
        "",
        "## package.module:function",
        "",
        "A function of your own, `(args, data_dir) -> RawImages`: it is given the card's `args` and the data folder, "
        "and returns [RawImages](python.md#bench.datasets.base.RawImages), uint8 images (N, H, W, 1 or 3) and int64 "
        "labels (N,), -1 where there is none. The module is looked for in what is installed, and then in the "
        "workspace; its code enters the keys of cells.",
        "",
    ]


def _published() -> list[str]:
    rows = []
    for dataset, halves in IDX.items():
        names = [name for name, (copied, _) in IDX_COPIES.items() if copied == dataset]
        wanted = [f"`torchvision`, `{{dataset: {dataset}}}`", *(f"`npz`, {code(name)}" for name in names)]
        files = [file for half in halves.values() for file in half]
        rows.append((" and ".join(wanted), *_of(files)))
    for dataset, batches in BATCHES.items():
        rows.append((f"`torchvision`, `{{dataset: {dataset}}}`", *_of([batches.archive])))
    header = ("set", "files", "MiB", "from", "held to")
    return [
        "",
        "## What can be fetched",
        "",
        "`bench data download` fetches these files over https. Each is held to its published size and digest before "
        "it gets its name; the addresses are tried in this order.",
        *table(header, rows),
    ]


def _of(files: list[PublishedFile]) -> tuple[str, str, str, str]:
    hosts = dict.fromkeys(url.split("/")[2] for file in files for url in file.urls)
    digests = dict.fromkeys(file.digest[0] for file in files)
    size = sum(file.size for file in files) / 2**20
    return str(len(files)), f"{size:.1f}", ", ".join(map(code, hosts)), ", ".join(digests)
