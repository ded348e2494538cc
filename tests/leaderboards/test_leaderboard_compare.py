"""Two rows are compared sample by sample where they scored the same images."""

import math
from dataclasses import replace

import numpy as np
import pytest
from board_rows import COUNTING, found_row, track_card

from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.compare import MOST, compare, pairs
from bench.leaderboards.ranking import rank


def standings(*rows):
    return rank(track_card(), rows).standings


def wins(ids, ood):
    """Kernel of the Mann-Whitney statistic, (n, m)."""
    return np.array([[1.0 if i > o else 0.5 if i == o else 0.0 for o in ood] for i in ids])


def naive_difference(a, b, scores_a, scores_b):
    """The mean difference over the sets and its error, by DeLong's definition in loops."""
    sets_a, sets_b = a.by_set(scores_a), b.by_set(scores_b)
    kernels = [wins(a.test, sets_a[name]) - wins(b.test, sets_b[name]) for name in COUNTING]
    mean = np.mean([kernel.mean() for kernel in kernels])
    shared = np.var(np.mean([kernel.mean(axis=1) for kernel in kernels], axis=0), ddof=1) / len(a.test)
    own = sum(np.var(kernel.mean(axis=0), ddof=1) / kernel.shape[1] for kernel in kernels) / len(kernels) ** 2
    return float(mean), math.sqrt(shared + own)


def test_a_row_does_not_differ_from_a_copy_of_itself():
    a, b = standings(found_row("a", 1), found_row("b", 1))
    for found in compare(a, b):
        assert (found.difference, found.p_value, found.paired) == (0.0, 1.0, True)


def test_the_figures_are_those_of_delong_s_definition():
    a, b = standings(found_row("a", 1, fall=1.0), found_row("b", 2, fall=1.5))
    ours, theirs = a.files.table, b.files.table
    expected = {"clean": (ours.clean, theirs.clean)}
    for key, number in (("worst case", 0), ("all-l2 at 1", 0), ("all-linf at 0.05", 1)):
        expected[key] = tuple(table.arrays[f"worst.{number}"] for table in (ours, theirs))
    found = compare(a, b)
    assert [part.figure for part in found] == list(expected)
    for part in found:
        difference, se = naive_difference(ours, theirs, *expected[part.figure])
        assert part.difference == pytest.approx(difference, abs=1e-12)
        assert part.se == pytest.approx(se, rel=1e-9)
        assert part.difference == pytest.approx(part.a - part.b, abs=1e-12)


def test_other_samples_are_compared_unpaired():
    a, b = standings(found_row("a", 1, ids=0), found_row("b", 1, ids=500))
    found = compare(a, b)
    assert not any(part.paired for part in found)
    assert all(part.se > 0 for part in found)


def test_a_comparison_turned_round_changes_only_its_sign():
    a, b = standings(found_row("a", 1), found_row("b", 2))
    for one, other in zip(compare(a, b), compare(b, a), strict=True):
        assert (one.difference, one.se, one.p_value) == pytest.approx((-other.difference, other.se, other.p_value))


def test_every_pair_comes_once_and_of_many_rows_only_the_first(monkeypatch):
    rows = standings(*(found_row(f"d{seed}", seed) for seed in range(4)))
    assert [(i, j) for i, j, _ in pairs(rows)] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    monkeypatch.setattr("bench.leaderboards.compare.MOST", 2)
    assert [(i, j) for i, j, _ in pairs(rows)] == [(0, 1)]
    assert MOST > 2


def test_rows_whose_sets_come_in_another_order_are_compared_as_if_they_did_not():
    a, b = standings(found_row("a", 1, fall=1.0), found_row("b", 2, fall=1.5))
    table, turned = b.files.table, dict(reversed(b.files.table.sets.items()))
    sets = {"test": turned.pop("test"), **turned}

    def reordered(scores):
        parts = table.by_set(scores)
        return np.concatenate([parts[name] for name in sets if name != "test"])

    count = table.sets["test"]
    arrays = {
        name: np.concatenate([own[:count], reordered(own[count:])]) if len(own) > len(table.clean) else reordered(own)
        for name, own in table.arrays.items()
    }
    other = ScoreTable(sets, tuple(reversed(table.counting)), arrays)
    evidence = replace(b.evidence, table=other)
    assert compare(a, replace(b, evidence=evidence)) == compare(a, b)
