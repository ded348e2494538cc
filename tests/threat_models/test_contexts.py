"""What an attacker knows of each image goes with that image into every choice of images."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cards.threat import Side
from bench.threat_models.base import Context

COUNT = 6


def context() -> Context:
    """Everything that could be per image is, and tells which image it belongs to."""
    rows = torch.arange(COUNT)
    return Context(
        Side.EVADE,
        labels=rows,
        transferred={"one": rows.float(), "other": rows.float() + 100.0},
        pool=rows.float(),
        pool_labels=rows,
        progress=lambda share, scores: pytest.fail("a part was reported"),
    )


def test_every_field_says_whether_it_is_per_image() -> None:
    names = {field.name for field in fields(Context)}
    assert names == Context.PER_IMAGE | Context.OF_ALL | {"progress"}, "say it in PER_IMAGE or OF_ALL"
    assert not Context.PER_IMAGE & Context.OF_ALL


@given(st.lists(st.integers(0, COUNT - 1), max_size=2 * COUNT))
@settings(deadline=None)
def test_a_choice_of_images_takes_along_what_is_known_of_them_and_nothing_else_changes(rows: list[int]) -> None:
    whole, chosen = context(), torch.tensor(rows, dtype=torch.int64)
    part = whole.at(chosen)
    assert part.labels is not None and part.labels.tolist() == rows
    assert part.transferred["one"].tolist() == rows
    assert part.transferred["other"].tolist() == [row + 100 for row in rows]
    assert all(getattr(part, name) is getattr(whole, name) for name in Context.OF_ALL)
    part.progress(0.5, chosen)  # nobody hears of a part


def test_slices_and_masks_choose_as_positions_do() -> None:
    mask = torch.tensor([False, True, True, False, False, False])
    for rows in (slice(1, 3), mask):
        part = context().at(rows)
        assert part.labels is not None and part.labels.tolist() == [1, 2]
        assert part.transferred["other"].tolist() == [101.0, 102.0]


def test_what_is_not_known_stays_unknown() -> None:
    part = replace(context(), labels=None, transferred={}).at(slice(0, 2))
    assert part.labels is None and part.transferred == {}
