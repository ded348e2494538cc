"""Published protocols beside the strongest of ours, and the four columns of the sides."""

import pytest

from bench.cards.threat import Norm, Side
from bench.report.four_columns import sides_grids
from bench.report.protocols import ball, protocols_grids
from bench.report.table import build_tables

BALL = {"norm": Norm.LINF, "eps": 8 / 255}


@pytest.fixture
def cell(make_meta, make_set):
    def made(threat, auroc, detector="msp", **more):
        return make_meta(detector, threat, sets={"letters": make_set(auroc, clean=0.9)}, **{**BALL, **more})

    return made


def rows(metas, failed=None):
    return [
        row
        for *_, grid in protocols_grids(build_tables(metas, failed or {}), failed or {})
        for block in grid.blocks
        for row in block
    ]


def test_the_strongest_of_ours_is_the_lowest_mean_in_the_same_ball_on_the_same_side(cell):
    metas = [
        cell("protocol-atd", 0.7),
        cell("pgd-linf", 0.6),
        cell("apgd-linf", 0.5),
        cell("auto-linf", 0.1, eps=0.1),
        cell("square-linf", 0.2, side=Side.ALARM),
        cell("fgsm", 0.3, detector="gat"),
        cell("pgd-l2", 0.4, norm=Norm.L2),
    ]
    assert rows(metas) == [["msp", "protocol-atd", "linf 8/255", "evade", "0.900", "0.700", "0.500", "apgd-linf"]]


def test_an_attack_that_cannot_be_believed_is_no_strongest_and_another_protocol_is_none_of_ours(cell):
    doubted = cell("apgd-linf", 0.2)
    metas = [cell("protocol-atd", 0.7), doubted, cell("protocol-halo", 0.1), cell("pgd-linf", 0.6)]
    found = {row[1]: row[5:] for row in rows(metas, {doubted.key: ("D4",), metas[2].key: ("D6",)})}
    assert found == {"protocol-atd": ["0.700", "0.600", "pgd-linf"], "protocol-halo": ["0.100!", "0.600", "pgd-linf"]}


def test_where_nothing_of_ours_was_run_the_column_is_empty(cell):
    assert [row[5:] for row in rows([cell("protocol-atd", 0.7)])] == [["0.700", "-", "-"]]
    assert rows([cell("pgd-linf", 0.7)]) == []


def test_the_ball_of_a_radius_after_normalisation_says_its_pixels(cell):
    assert ball(cell("protocol-ross", 0.7, threat_params={"units": [0.25, 0.5]})) == (
        "linf 8/255 normalised: 2 to 4/255"
    )
    assert ball(cell("protocol-ross", 0.7, threat_params={"units": [0.25]})) == "linf 8/255 normalised: 2/255"
    assert ball(cell("pgd-l2", 0.7, norm=Norm.L2, eps=0.5)) == "l2 0.5"


def test_the_sides_of_one_attack_stand_in_four_columns(cell):
    metas = [
        cell("pgd-linf", 0.6),
        cell("pgd-linf", 0.5, side=Side.ALARM),
        cell("pgd-linf", 0.2, side=Side.BOTH),
        cell("protocol-atd", 0.7, side=Side.BOTH),
    ]
    ((heading, _, grid),) = sides_grids(build_tables(metas), {})
    assert "200 images" in heading or "all images" in heading
    assert grid.header == ["detector", "attack", "ball", "clean", "alarm", "evade", "both"]
    assert grid.blocks == [
        [
            ["msp", "pgd-linf", "linf 8/255", "0.900", "0.500", "0.600", "0.200"],
            ["msp", "protocol-atd", "linf 8/255", "0.900", "-", "-", "0.700"],
        ]
    ]


def test_cells_that_spared_some_of_their_budget_have_a_row_of_their_own(cell):
    metas = [
        cell("pgd-linf", 0.6),
        cell("pgd-linf", 0.62, nested=True),
        cell("pgd-linf", 0.61, search="bf16"),
        cell("pgd-linf", 0.5, side=Side.ALARM, search="bf16"),
    ]
    ((*_, grid),) = sides_grids(build_tables(metas), {})
    assert grid.blocks == [
        [
            ["msp", "pgd-linf", "linf 8/255", "0.900", "-", "0.600", "-"],
            ["msp", "pgd-linf (bf16)", "linf 8/255", "0.900", "0.500", "0.610", "-"],
            ["msp", "pgd-linf (nested)", "linf 8/255", "0.900", "-", "0.620", "-"],
        ]
    ]
