"""No figure of a stored cell that was changed is read as it stands."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from test_store_of_cells import folder, make_cell

from bench import load_results
from bench.evaluation.results import Cell
from bench.evaluation.store import Store
from bench.seals import SealError, sealed_json, unsealed_json

KEY = make_cell(1).meta.key


@pytest.fixture
def store(tmp_path):
    """One small cell with an array."""
    plain = make_cell(1, samples=3)
    store = Store(tmp_path / "runs")
    store.put(Cell(plain.meta, plain.samples, {"trace": np.zeros((3, 2), np.float32)}))
    return store


def noticed(root: Path, key: str = KEY) -> bool:
    """Whether neither a table nor a run takes the cell, and the table says so."""
    listing = Store(root)
    return not listing.metas() and bool(listing.notices) and Store(root).get(key) is None


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_the_figures_breaks_their_seal(store):
    whole = (folder(store, 1) / "cell.json").read_bytes()
    for bit in range(8 * len(whole)):
        with pytest.raises(SealError):
            unsealed_json(flipped(whole, bit))


@pytest.mark.parametrize("name", ["cell.json", "samples.parquet", "arrays.safetensors"])
def test_flipped_bits_of_any_file_are_noticed(store, name):
    file = folder(store, 1) / name
    whole = file.read_bytes()
    assert Store(store.root).meta(KEY) is not None
    unnoticed = []
    for bit in range(0, 8 * len(whole), 8 * len(whole) // 120):
        file.write_bytes(flipped(whole, bit))
        if Store(store.root).meta(KEY) is not None:
            unnoticed.append(bit)
        for moved in store.root.glob("broken/*"):
            moved.rename(file.parent)
    assert unnoticed == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"gradients": 1', '"gradients": 2'),
        lambda text: text.replace('"gradients": 1', '"gradients": 1, "gradients": 1'),
        lambda text: text.replace('"seal": "', '"seal": "0'),
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps({**json.loads(text), "seal": ""}),
        lambda text: json.dumps({**json.loads(text), "seal": None}),
        lambda text: text + " ",
        lambda text: text + text,
    ],
)
def test_an_edited_cell_is_moved_aside_and_computed_again(store, edit):
    file = folder(store, 1) / "cell.json"
    file.write_text(edit(file.read_text()))
    assert noticed(store.root)
    assert len(list((store.root / "broken").iterdir())) == 1
    store.put(make_cell(1))
    assert Store(store.root).meta(KEY).gradients == 1


def test_a_cell_without_a_seal_is_left_as_it_is_and_counts_as_not_there(store):
    file = folder(store, 1) / "cell.json"
    content = unsealed_json(file.read_bytes())
    file.write_text(json.dumps(content, indent=1))
    unsealed = file.read_bytes()
    assert noticed(store.root)
    assert file.read_bytes() == unsealed
    listing = Store(store.root)
    listing.metas()
    assert listing.notices == [
        "cells without a seal, whose figures anybody may have changed, are left where they are, and not shown: 1."
    ]
    store.put(make_cell(1))
    assert Store(store.root).meta(KEY) is not None
    assert len(list((store.root / "broken").iterdir())) == 1


def test_tables_from_python_go_through_the_same_check(store):
    store.put(make_cell(2))
    file = folder(store, 1) / "cell.json"
    file.write_text(file.read_text().replace('"gradients": 1', '"gradients": 2'))
    with pytest.warns(UserWarning, match="differs from its seal"):
        found = load_results(store.root)
    assert [meta.key for meta in found.metas] == [make_cell(2).meta.key]


def test_a_cell_sealed_under_another_key_is_not_taken(store):
    file = folder(store, 1) / "cell.json"
    file.write_bytes(sealed_json(unsealed_json(file.read_bytes()) | {"key": "2" * 64}))
    assert noticed(store.root)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["cell.json", "samples.parquet", "arrays.safetensors"])
def test_what_is_no_file_in_the_place_of_one_is_damage_and_nobody_waits_for_it(store, name, make):
    file = folder(store, 1) / name
    file.unlink()
    make(file)
    assert noticed(store.root)
