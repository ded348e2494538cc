"""In which of its accepted forms a set lies on disk: the first that is present is used, and outputs name it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cards.track import FormSpec, SetSpec
from bench.datasets.published import BATCHES
from bench.errors import DataError
from bench.places import expanded, user_cache


def default_data_dir() -> Path:
    """The folder of data files: `ROBUSTOOD_DATA`, or `data` in the user's cache folder.

    Raises:
        DataError: Neither is known, as without a home folder.
    """
    if given := os.environ.get("ROBUSTOOD_DATA"):
        return expanded(given, "ROBUSTOOD_DATA")
    cache = user_cache()
    if cache is None:
        raise DataError("no folder of data files is known, since there is no home folder: name one by ROBUSTOOD_DATA.")
    return cache / "data"


MADE_FROM_OTHERS = ("background", "corrupted")
"""The sources that make their images from those of other sources."""


def inner_forms(form: FormSpec) -> tuple[FormSpec, ...]:
    """What a form is made from: the arguments of some sources that name a source themselves; () for most."""
    if form.source not in MADE_FROM_OTHERS:
        return ()
    found = []
    for value in form.args.values():
        if isinstance(value, dict) and "source" in value:
            with suppress(ValidationError):  # its source says what is wrong with it
                found.append(FormSpec.model_validate(value))
    return tuple(found)


def form_name(form: FormSpec) -> str:
    """What a form is called in outputs: its file, torchvision's class, its folder or its source; or what that takes."""
    if inner := inner_forms(form):
        return " and ".join(map(form_name, inner))
    if form.source == "torchvision":
        return f"torchvision's {form.args.get('dataset')}"
    if form.source == "folder":
        return f"folder:{form.args.get('path')}"
    return str(form.args.get("file") or form.source) if form.source == "npz" else form.source


def chosen_form(spec: SetSpec, data_dir: Path | None) -> FormSpec | None:
    """The first form of a set that is present; its only one also where it is not. None where none is.

    Args:
        spec: The set.
        data_dir: Where data files lie; None where no folder is known.
    """
    if not spec.also:
        return spec.forms[0]
    return next((form for form in spec.forms if is_present(form, data_dir)), None)


def form_at_hand(spec: SetSpec, data_dir: Path | None) -> FormSpec | None:
    """`chosen_form` in a data folder, or in the default one where that is None."""
    try:
        return chosen_form(spec, data_dir or default_data_dir())
    except DataError:
        return chosen_form(spec, None)


def declared_digest(spec: SetSpec, data_dir: Path | None) -> str | None:
    """The content that a card fixes for the form at hand; None where only the files can tell.

    Where none of several forms is present, it is the only content that the card names, if there is one.
    """
    form = form_at_hand(spec, data_dir)
    digests = {digest for one in (spec.forms if form is None else (form,)) for digest in one.digests()}
    return digests.pop() if len(digests) == 1 else None


def is_pinned(form: FormSpec) -> bool:
    """Whether a form has known content alone: by digests of the card, or by torchvision's md5 of CIFAR's files."""
    if inner := inner_forms(form):
        return bool(form.digests()) or all(map(is_pinned, inner))
    return bool(form.digests()) or (form.source == "torchvision" and form.args.get("dataset") in BATCHES)


def is_present(form: FormSpec, data_dir: Path | None) -> bool:
    """Whether something lies where a form is read from, damaged or not.

    What ships, is drawn, or is read by a function of the user's own counts as present; what is made from other forms
    where all of them are.
    """
    if form.source.startswith("folder:") or form.source == "folder":
        given = form.source.partition(":")[2] or str(form.args.get("path", ""))
        folder = expanded(given, f"folder '{given}'") if given[:1] in ("~", "/") else data_dir and data_dir / given
        return folder is not None and folder.is_dir()
    if form.source == "npz":
        return data_dir is not None and os.path.lexists(data_dir / str(form.args.get("file", "")))
    if form.source == "torchvision":
        return data_dir is not None and _has_torchvisions(form.args, data_dir)
    return all(is_present(inner, data_dir) for inner in inner_forms(form))


def _has_torchvisions(args: dict[str, Any], data_dir: Path) -> bool:
    dataset = str(args.get("dataset", ""))
    if (batches := BATCHES.get(dataset)) is None:
        return (data_dir / dataset / "raw").is_dir()
    names = batches.files["train" if args.get("train") else "test"]
    unpacked = all(os.path.lexists(data_dir / batches.folder / name) for name in names)
    return unpacked or os.path.lexists(data_dir / batches.archive.name)
