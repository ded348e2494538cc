from bench.cards.threat import Norm, Side
from bench.report.captions import caption, needs_radii
from bench.report.lines import sentence_lines
from bench.report.table import build_tables
from bench.report.text import render_text, text_lines

GOLDEN = """\
digits, side evade: the OOD images are attacked to look in-distribution, the ID images stay as they are
400 ID test images against 200 of each OOD set; limit 200; seed 0
mean: AUROC clean → attacked [95 % interval over the samples; the ID images are shared by the sets]; sets: AUROC under
  attack; at 0 or 1 the interval alone
mean over letters (* does not enter it)
ceiling: mean AUROC that no detector can exceed at this radius; FPR95: mean share of OOD images accepted where 95 % of
  ID images are; grads, queries: gradients and scores asked for, on all images together; s: seconds
ID accuracy (share of the ID test images that are classified correctly): 0.980 of gat, msp

                            mean AUROC
detector       clean → attacked [95 %]  ceiling     letters  uniform*  FPR95  grads  queries    s
-- clean
gat               0.950 [0.930, 0.970]        -       0.940     0.990  0.300      0        0  3.2
-- pgd-l2, l2 eps 1 (255 on the 0-255 scale)
gat       0.950 → 0.800 [0.760, 0.840]    1.000       0.800     0.990  0.300  12.3k        0  3.2
msp                 0.950 → [0, 0.015]    1.000  [0, 0.015]     0.990  0.300  12.3k        0  3.2
"""


def small_table(make_meta, make_set):
    noise = make_set(0.99, counts=False)
    metas = [
        make_meta("gat", "clean", eps=None, sets={"letters": make_set(0.94), "uniform": noise}),
        make_meta("msp", sets={"letters": make_set(0.0), "uniform": noise}, reachable=0.0),
        make_meta("gat", reachable=0.0),
    ]
    return build_tables(metas)[0]


def test_a_small_table_reads_as_written_here(make_meta, make_set):
    assert render_text(small_table(make_meta, make_set)) == GOLDEN


def test_a_table_without_an_attack_says_what_its_figures_are(make_meta, make_set):
    (table,) = build_tables([make_meta("gat", "clean", eps=None)])
    assert "\nAUROC [95 % interval over the samples]; at 0 or 1 the interval alone\n" in render_text(table)


def test_sets_that_do_not_fit_follow_in_panels_and_no_line_is_wider_than_the_terminal(make_meta, make_set):
    names = ["cifar100", "tiny-imagenet", "svhn", "dtd", "gtsrb", "xray", "retina", "uniform", "gaussian"]
    sets = {name: make_set(0.5) for name in names}
    (table,) = build_tables(
        [make_meta("mahalanobis.logistic", sets=sets), make_meta(threat="clean", eps=None, sets=sets)]
    )
    for width in (80, 100, 120):
        lines = text_lines(table, width=width)
        assert max(len(line.text) for line in lines) <= width
        headers = " ".join(line.text for line in lines if line.kind == "header")
        assert set(names) <= {title.strip("*") for title in headers.split()}  # each name in one piece
    full = text_lines(table, width=80, full=True)
    assert max(len(line.text) for line in full) <= 80


def test_the_full_view_has_a_row_for_each_set(make_meta, make_set):
    lines = text_lines(small_table(make_meta, make_set), full=True, width=150)
    rows = [line.text.split()[:2] for line in lines if line.kind == "row"]
    assert rows == [[d, s] for d in ("gat", "gat", "msp") for s in ("letters", "uniform*")]


def test_the_full_view_says_which_threshold_the_detection_rates_are_of(make_meta):
    def said(*metas):
        lines = render_text(build_tables(metas)[0], full=True, width=400).splitlines()
        return [line.partition("95 % of the clean ID ")[2] for line in lines if line.startswith("detected: ")]

    own = make_meta("gat", thresholds={"calibration_tpr95": 0.5})
    by_class = make_meta("msp", thresholds={"train_tpr95": 0.5, "train_tpr95/0": 0.5, "train_tpr95/1": 0.4})
    assert said(own) == ["calibration images"]
    assert said(own, by_class) == ["calibration images for gat; train images predicted to be of the same class for msp"]
    assert "detected: " not in render_text(build_tables([own])[0])


def test_the_full_view_names_the_recall_of_each_card(make_meta):
    usual, every = (
        make_meta("msp", thresholds={"calibration_tpr95": 0.5}),
        make_meta("glow", thresholds={"train_tpr100": 0}),
    )
    for metas, words in (
        ([every], "accepts 100 % of the clean ID train images"),
        (
            [usual, every],
            "accepts 100 % of the clean ID train images for glow; 95 % of the clean ID calibration images for msp",
        ),
    ):
        text = render_text(build_tables(metas)[0], full=True, width=400)
        assert any(line.startswith("detected: ") and line.endswith(words) for line in text.splitlines())


def test_the_heading_names_the_attacked_side(make_meta):
    for side, words in ((Side.ALARM, "ID images are attacked"), (Side.BOTH, "ID and OOD images are attacked")):
        assert words in render_text(build_tables([make_meta(side=side)])[0]).splitlines()[0]


def test_a_radius_that_reaches_id_images_is_said_with_radii_to_use_instead(make_meta, make_set):
    sets = {"letters": make_set(0.3, reachable=0.97)}
    (table,) = build_tables([make_meta(name, eps=10.0, sets=sets, reachable=0.97) for name in ("gat", "msp")])
    radii = {Norm.L2: 1.8}
    said = [line.text for line in text_lines(table, width=1000, radii=radii) if line.kind == "remark" and line.text]
    assert said == [
        "l2 eps 10 is too large to tell detectors apart: 97 % of the OOD images can be turned into an ID image within "
        "it, so no detector can exceed an AUROC of 0.515 there; up to eps 1.8 at most 5 % can: "
        "try `--eps l2:0.23,0.45,0.9,1.8`."
    ]


def test_without_proposals_the_smaller_radii_of_the_table_are_named(make_meta):
    (table,) = build_tables([make_meta(eps=10.0, reachable=0.97), make_meta(eps=1.0, reachable=0.0)])
    assert "of the radii shown, 1 are small enough" in render_text(table, width=1000)


def test_a_reach_of_5_per_cent_needs_no_word(make_meta):
    (table,) = build_tables([make_meta(reachable=0.05)])
    assert "too large" not in render_text(table)


def test_attacks_that_ended_badly_are_counted(make_meta):
    (table,) = build_tables([make_meta(statuses={"completed": 90, "no-gradient": 10})])
    said = render_text(table)
    assert "gat: the attack on 10 of 100 images ended as no-gradient (pgd-l2 eps 1); where it found nothing" in said


def test_what_images_count_as_that_no_attack_moved_is_said_with_their_number(make_meta):
    for status, counts in (("failed", "they count"), ("non-finite", "where it found nothing, they count")):
        metas = [make_meta(eps=eps, statuses={"completed": 97, status: 3}) for eps in (1.0, 2.0)]
        said = render_text(build_tables(metas)[0], width=400)
        where = "(pgd-l2 eps 1, pgd-l2 eps 2)"
        assert f"the attack on 6 of 200 images ended as {status} {where}; {counts} at their clean scores." in said


def test_a_note_of_a_cell_is_printed_once(make_meta):
    (table,) = build_tables(
        [make_meta(notes=("ID accuracy is low.",)), make_meta(eps=2.0, notes=("ID accuracy is low.",))]
    )
    assert render_text(table, width=1000).count("ID accuracy is low.") == 1


def test_three_attacks_or_more_have_an_overview_ranked_by_the_average(make_meta, make_set):
    metas = [make_meta(d, "clean", eps=None) for d in ("gat", "msp")]
    for eps, gat, msp in ((0.5, 0.9, 0.95), (1.0, 0.8, 0.2), (2.0, 0.7, 0.1)):
        metas += [make_meta(d, eps=eps, sets={"letters": make_set(v)}) for d, v in (("gat", gat), ("msp", msp))]
    lines = [line.text for line in text_lines(build_tables(metas)[0])]
    start = lines.index("mean AUROC under each attack, by eps")
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["pgd-l2", "pgd-l2", "pgd-l2"],
        ["detector", "clean", "0.5", "1", "2"],
        ["gat", "0.800", "0.900", "0.800", "0.700"],
        ["msp", "0.800", "0.950", "0.200", "0.100"],
    ]


def test_an_overview_without_a_mean_has_that_of_all_sets(make_meta, make_set):
    def sets(auroc):
        return {"uniform": make_set(auroc, counts=False), "noise": make_set(auroc - 0.1, counts=False)}

    metas = [make_meta(eps=eps, sets=sets(auroc)) for eps, auroc in ((0.5, 0.9), (1.0, 0.8), (2.0, 0.7))]
    lines = [line.text.split() for line in text_lines(build_tables(metas)[0])]
    assert ["gat", "-", "0.850", "0.750", "0.650"] in lines


def test_an_overview_that_does_not_fit_is_broken_into_panels(make_meta):
    metas = [make_meta(eps=float(eps)) for eps in range(1, 30)]
    lines = text_lines(build_tables(metas)[0], width=80)
    assert max(len(line.text) for line in lines) <= 80
    assert sum(line.text.startswith("detector  clean") and "ceiling" not in line.text for line in lines) == 4


def test_the_caption_of_a_reduced_run_says_what_was_left_out_and_lists_names_and_numbers_in_order(make_meta, make_set):
    sets = {"letters": make_set(0.8), "photos": make_set(0.9, n_ood=50), "noise": make_set(0.7, counts=False)}
    metas = [make_meta(f"d{seed}", seed=seed, sets=sets, without=("far", "xray")) for seed in (64, 3, 11, 33, 5)]
    (table,) = build_tables(metas)
    lines = caption(table)
    assert lines[0] == (
        "400 ID test images against 200 of letters, noise; 50 of photos; limit 200; seed 3, 5, 11, 33, 64"
    )
    assert lines[1].startswith("mean: AUROC clean → attacked")
    assert lines[2] == (
        "mean over letters, photos (* does not enter it); the run left out far, xray, so this is not the mean of the "
        "track"
    )


def test_attacks_that_ended_in_several_bad_ways_have_a_line_for_each_in_the_order_of_the_alphabet(make_meta):
    unusual = ["non-finite", "failed", "no-gradient", "a-way-of-its-own", "zz", "b", "m"]
    statuses = {"completed": 90, **dict.fromkeys(unusual, 2), "": 5, "never": 0}
    (table,) = build_tables([make_meta(statuses=statuses)])
    said = [line for line in render_text(table, width=400).splitlines() if " ended as " in line]
    assert said == [
        f"gat: the attack on 2 of 104 images ended as {status} (pgd-l2 eps 1); "
        f"{'they' if status == 'failed' else 'where it found nothing, they'} count at their clean scores."
        for status in sorted(unusual)
    ]


def test_radii_are_looked_for_in_the_norms_alone_in_which_more_than_a_twentieth_can_become_id_images(make_meta):
    metas = [
        make_meta("a", eps=1.0, reachable=0.05),
        make_meta("b", "pgd-linf", norm=Norm.LINF, eps=0.1, reachable=0.0501),
        make_meta("c", "clean", eps=None),
    ]
    assert needs_radii(build_tables(metas)[0]) == {Norm.LINF}


def test_a_word_that_is_longer_than_a_line_stays_whole():
    assert [line.text for line in sentence_lines(f"a {'b' * 30}", 10, "caption")] == ["a", f"  {'b' * 30}"]
