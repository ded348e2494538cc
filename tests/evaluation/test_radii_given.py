import pytest

from bench.cards.threat import Knowledge, Norm, ThreatCard
from bench.errors import UsageError
from bench.evaluation.eps import parse_eps


def threat(norm: Norm | None) -> ThreatCard:
    return ThreatCard(
        name=f"t-{norm}".lower(),
        summary="",
        method="a:B",
        norm=norm,
        eps=(9.0,) if norm else (),
        knowledge=Knowledge.NONE,
    )


L2, LINF, NONE = threat(Norm.L2), threat(Norm.LINF), threat(None)


@pytest.mark.parametrize(
    ("given", "by_norm", "bare"),
    [
        (None, {}, ()),
        ("10", {}, (10.0,)),
        (10, {}, (10.0,)),
        ("8/255", {}, (8 / 255,)),
        ([0.5, "1"], {}, (0.5, 1.0)),
        ("l2:0.5,1,2", {Norm.L2: (0.5, 1.0, 2.0)}, ()),
        ("L2: 0.5 , 1", {Norm.L2: (0.5, 1.0)}, ()),
        ("linf:4/255,8/255", {Norm.LINF: (4 / 255, 8 / 255)}, ()),
        (["l2:1", "linf:0.1", "l2:2,1"], {Norm.L2: (1.0, 2.0), Norm.LINF: (0.1,)}, ()),
        ("l2:1,2,linf:0.1", {Norm.L2: (1.0, 2.0), Norm.LINF: (0.1,)}, ()),
        ("1e-2", {}, (0.01,)),
    ],
)
def test_radii_are_read_as_they_are_written(given, by_norm, bare):
    choice = parse_eps(given)
    assert (choice.by_norm, choice.bare) == (by_norm, bare)


@pytest.mark.parametrize(
    "given",
    [
        "",
        ",",
        "1,",
        "l2:",
        "l2:1,,2",
        "-1",
        "0",
        "l2:-0.5",
        "nan",
        "inf",
        "l2:nan",
        "1/0",
        "8/",
        "l3:1",
        "one",
        "1e999",
        "l2:1:2",
    ],
)
def test_a_radius_that_is_no_number_above_zero_is_refused_in_one_sentence(given):
    with pytest.raises(UsageError) as error:
        parse_eps(given)
    assert "allowed" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bare_radius_beside_one_with_a_norm_is_refused():
    with pytest.raises(UsageError, match="without a norm"):
        parse_eps(["1", "l2:2"])


def test_a_bare_radius_belongs_to_the_only_norm_among_the_threats():
    choice = parse_eps("2")
    choice.check([NONE, L2])
    assert choice.of(L2) == (2.0,)
    assert choice.of(NONE) == (None,)


@pytest.mark.parametrize(
    ("given", "threats", "said"),
    [
        ("1", [L2, LINF], "without a norm"),
        ("1", [NONE], "have no eps"),
        ("l2:1", [LINF], "no chosen threat has that norm"),
        ("linf:1", [NONE], "no chosen threat has that norm"),
    ],
)
def test_a_radius_that_no_threat_can_take_is_refused(given, threats, said):
    with pytest.raises(UsageError, match=said):
        parse_eps(given).check(threats)


def test_a_threat_whose_norm_got_no_radius_keeps_those_of_its_card():
    assert parse_eps("l2:1").of(LINF) == (9.0,)
    assert parse_eps(None).of(L2) == (9.0,)


def test_radii_in_l0_are_whole_numbers_of_values():
    card = ThreatCard(name="few", summary="few values", method="a:B", norm="l0", eps=(4, 8), knowledge="gradients")
    assert parse_eps("l0:4,10").of(card) == (4.0, 10.0)
    parse_eps("l0:4,10").check([card])
    for given in ("l0:2.5", "2.5", "l0:0.5"):
        with pytest.raises(UsageError, match="in l0, which counts values that change; give whole numbers: l0:10"):
            parse_eps(given).check([card])
    with pytest.raises(ValueError, match="give whole numbers such as 10"):
        ThreatCard(name="few", summary="few values", method="a:B", norm="l0", eps=(4.5,), knowledge="gradients")
