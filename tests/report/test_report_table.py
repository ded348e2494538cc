import random

from bench.cards.threat import Norm, Side
from bench.report.table import Choice, build_tables, mean_auroc


def labels(section):
    return [row.label for row in section.rows]


def test_rows_are_ranked_by_the_attacked_mean_and_then_by_name(make_meta, make_set):
    aurocs = {"oe": 0.3, "msp": 0.7, "gat": 0.3}
    metas = [make_meta(name, sets={"letters": make_set(value)}) for name, value in aurocs.items()]
    (table,) = build_tables(metas)
    assert labels(table.sections[0]) == ["msp", "gat", "oe"]


def test_the_order_of_the_cells_does_not_change_the_table(make_meta):
    metas = [make_meta(d, t, eps=e) for d in ("gat", "msp") for t in ("pgd-l2", "fgm-l2") for e in (0.5, 1.0, 10.0)]
    metas += [make_meta(d, "clean", eps=None) for d in ("gat", "msp")]
    expected = build_tables(metas)
    random.Random(0).shuffle(metas)
    assert build_tables(metas) == expected


def test_clean_stands_first_then_norm_threat_and_radius_by_size(make_meta):
    metas = [make_meta(threat="pgd-linf", norm=Norm.LINF, eps=0.1), make_meta(threat="pgd-l2", eps=10.0)]
    metas += [
        make_meta(threat="pgd-l2", eps=2.0),
        make_meta(threat="fgm-l2", eps=2.0),
        make_meta(threat="clean", eps=None),
    ]
    (table,) = build_tables(metas)
    order = [(s.threat, s.eps) for s in table.sections]
    assert order == [("clean", None), ("fgm-l2", 2.0), ("pgd-l2", 2.0), ("pgd-l2", 10.0), ("pgd-linf", 0.1)]


def test_sets_of_the_mean_stand_first_and_the_others_have_a_star(make_meta, make_set):
    sets = {"uniform": make_set(0.9, counts=False), "letters": make_set(0.8)}
    (table,) = build_tables([make_meta(sets=sets)])
    assert [column.title for column in table.columns] == ["letters", "uniform*"]


def test_each_attacked_side_and_each_limit_has_a_table_of_its_own(make_meta):
    metas = [make_meta(side=side, limit=limit) for side in (Side.EVADE, Side.ALARM) for limit in (100, None)]
    tables = build_tables(metas)
    assert {(t.side, t.limit) for t in tables} == {(s, n) for s in (Side.EVADE, Side.ALARM) for n in (100, None)}


def test_a_clean_cell_stands_in_the_table_of_every_side(make_meta):
    clean = make_meta(threat="clean", eps=None)
    tables = build_tables([clean, make_meta(side=Side.ALARM), make_meta(side=Side.BOTH)])
    assert [t.side for t in tables] == [Side.ALARM, Side.BOTH]
    assert all(t.sections[0].rows[0].meta == clean for t in tables)


def test_tracks_of_one_name_and_another_content_are_not_mixed(make_meta):
    assert len(build_tables([make_meta(), make_meta("msp", track_hash="other")])) == 2


def test_seeds_are_told_apart_and_clean_scores_are_shown_once(make_meta):
    metas = [make_meta(seed=seed) for seed in (0, 1)] + [make_meta(threat="clean", eps=None, seed=s) for s in (0, 1)]
    (table,) = build_tables(metas)
    assert labels(table.sections[0]) == ["gat"]
    assert labels(table.sections[1]) == ["gat seed 0", "gat seed 1"]


def test_settings_of_a_threat_are_named_where_they_differ(make_meta):
    other = {"threat_params": {"steps": 20, "restarts": 5}, "threat_hash": "f" * 64}
    (table,) = build_tables([make_meta(), make_meta(**other)])
    assert sorted(s.threat for s in table.sections) == ["pgd-l2 (steps 100)", "pgd-l2 (steps 20)"]


def test_settings_that_differ_are_named_in_the_order_of_the_alphabet_and_others_are_not(make_meta):
    names = ["steps", "restarts", "loss", "alpha", "schedule", "momentum", "draws"]
    metas = [
        make_meta(threat_params={"same": 7, **dict.fromkeys(names, number)}, threat_hash=f"{number}")
        for number in (1, 2)
    ]
    (table,) = build_tables(metas)
    said = ", ".join(f"{name} 1" for name in sorted(names))
    assert sorted(section.threat for section in table.sections)[0] == f"pgd-l2 ({said})"


def test_cells_that_differ_in_nothing_visible_get_the_start_of_their_key(make_meta):
    (table,) = build_tables([make_meta(key="a" * 64), make_meta(key="b" * 64)])
    assert labels(table.sections[0]) == ["gat #aaaaaa", "gat #bbbbbb"]


def test_the_same_cell_twice_is_one_row(make_meta):
    (table,) = build_tables([make_meta(), make_meta()])
    assert len(table.metas) == 1


def test_without_sets_that_count_rows_are_ranked_by_the_mean_of_all(make_meta, make_set):
    meta = make_meta(sets={"a": make_set(0.4, counts=False), "b": make_set(0.6, counts=False)})
    assert mean_auroc(meta) == 0.5


def test_a_choice_keeps_the_clean_scores_of_its_detectors(make_meta):
    choice = Choice(detectors=["gat"], threats=["pgd-l2"])
    assert choice(make_meta("gat", "clean", eps=None))
    assert choice(make_meta("gat", "pgd-l2"))
    assert not choice(make_meta("gat", "fgm-l2"))
    assert not choice(make_meta("msp", "pgd-l2"))


def test_no_cells_make_no_table():
    assert build_tables([]) == ()
