"""Columns and blocks that stand only where some detector of a table defines their figures."""

import csv
import io

import pytest

from bench.cards.detector import ThresholdSource
from bench.evaluation.results import RejectionMetrics
from bench.report.latex import render_latex
from bench.report.markdown import render_markdown
from bench.report.records import render_csv
from bench.report.table import build_tables
from bench.report.text import render_text, text_lines


def clean(make_meta, detector="gat", **fields):
    return make_meta(detector, "clean", eps=None, **fields)


def rejecting(percentile=1, *, accuracy=0.995, correct_only=True, sets=("letters", "uniform")):
    return RejectionMetrics(
        percentile=percentile,
        source=ThresholdSource.TRAIN,
        correct_only=correct_only,
        thresholds={0: 1.0},
        rejection_rate=0.03,
        accuracy=accuracy,
        detection_rates=dict.fromkeys(sets, 0.875),
    )


def with_guarantee(make_meta, value):
    meta = make_meta("ccu", reachable=0.0)
    sets = {name: figures.model_copy(update={"guaranteed_auroc": value}) for name, figures in meta.sets.items()}
    return meta.model_copy(update={"sets": sets, "mean": meta.mean.model_copy(update={"guaranteed_auroc": value})})


def rows(text, detector):
    return [line.split() for line in text.splitlines() if line.startswith(f"{detector} ")]


def test_a_table_of_clean_cells_shows_accuracy_and_bits_per_dimension(make_meta):
    metas = [clean(make_meta, "glow", bits_per_dim=1.2345, id_accuracy=None), clean(make_meta, "msp")]
    text = render_text(build_tables(metas)[0])
    assert ["ID", "ID"] in [line.split() for line in text.splitlines()]
    assert next(line.split() for line in text.splitlines() if line.startswith("detector"))[-4:] == [
        "FPR95",
        "accuracy",
        "bits/dim",
        "s",
    ]
    assert rows(text, "glow")[0][-3:-1] == ["-", "1.234"]
    assert rows(text, "msp")[0][-3:-1] == ["0.980", "-"]
    assert "bits/dim: mean negative log2-likelihood" in text


def test_columns_that_no_detector_defines_are_left_out(make_meta):
    text = render_text(build_tables([clean(make_meta, id_accuracy=None)])[0])
    assert not any(word in text for word in ("accuracy", "bits/dim", "guaranteed", "rejection"))


def test_a_table_of_clean_cells_has_no_column_about_attacks(make_meta):
    (table,) = build_tables([clean(make_meta)])
    for text in (render_text(table), render_markdown(table)):
        assert not any(word in text for word in ("ceiling", "grad"))


def test_accuracy_and_density_leave_their_place_to_attacks(make_meta):
    text = render_text(build_tables([clean(make_meta, bits_per_dim=1.5), make_meta()])[0], width=200)
    assert "bits/dim" not in text
    assert text.count("accuracy") == 1


def test_a_table_of_attacks_says_the_id_accuracy_once_for_detectors_that_share_it(make_meta):
    shared = [make_meta(name, id_accuracy=0.842) for name in ("msp", "energy")]
    metas = [*shared, make_meta("gat", id_accuracy=0.978), make_meta("glow", id_accuracy=None)]
    for text in (render_text(build_tables(metas)[0], width=300), render_markdown(build_tables(metas)[0])):
        line = next(line for line in text.splitlines() if "ID accuracy" in line)
        assert sorted(line.rstrip().split("): ")[1].split("; ")) == ["0.842 of energy, msp", "0.978 of gat"]
        assert "glow" not in line
    many = [make_meta(f"score-{n}", id_accuracy=0.842) for n in range(8)]
    assert "score-5 and 2 more" in render_text(build_tables(many)[0], width=300)
    assert "ID accuracy" not in render_text(build_tables([make_meta(id_accuracy=None)])[0])


def test_the_full_view_shows_the_bits_of_each_set_beside_those_of_the_id_images(make_meta, make_set):
    own = make_set(0.9).model_copy(update={"bits_per_dim": 2.5})
    (table,) = build_tables([clean(make_meta, sets={"letters": own}, bits_per_dim=1.5)])
    assert rows(render_text(table, full=True, width=200), "gat")[0][-4:-1] == ["1.500,", "set", "2.500"]
    assert "| 1.500, set 2.500 |" in render_markdown(table, full=True)


def test_the_guaranteed_auroc_has_a_column_where_a_detector_is_certified(make_meta):
    (table,) = build_tables([make_meta(reachable=0.0), with_guarantee(make_meta, 0.625)])
    text = render_text(table)
    assert rows(text, "ccu")[0][-4] == "0.625"
    assert rows(text, "gat")[0][-4] == "-"
    assert "guaranteed: AUROC with every OOD score raised" in text
    assert render_markdown(table).count("| 0.625 |") == 1
    assert render_markdown(table, full=True).count(" 0.625 |") == 3  # two sets and the mean


def test_classification_with_rejection_has_a_block_of_its_own(make_meta):
    figures = (rejecting(1), rejecting(2, accuracy=None, correct_only=False))
    (table,) = build_tables([clean(make_meta, "sdim", rejection=figures), clean(make_meta)])
    text = render_text(table)
    block = text[text.index("\nclassification with rejection\n") :]
    assert "rejected: share of the ID test images below the threshold" in block
    header = next(line for line in block.splitlines() if line.startswith("detector"))
    assert header.split() == ["detector", "threshold", "rejected", "accuracy", "left", "letters", "uniform*"]
    assert [line for line in block.splitlines() if line.startswith("sdim")] == [
        "sdim      1 % of train                     0.030     0.980  0.995    0.875     0.875",
        "sdim      2 % of train, wrong ones too     0.030     0.980      -    0.875     0.875",
    ]
    assert not rows(block, "gat")


def test_the_block_is_there_under_attack_too_and_once(make_meta):
    metas = [clean(make_meta, "sdim", rejection=(rejecting(),)), make_meta("sdim"), make_meta("sdim", eps=2.0)]
    assert render_text(build_tables(metas)[0]).count("1 % of train") == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_the_block_is_wider_than_the_terminal(make_meta, make_set, width):
    names = ["cifar100", "tiny-imagenet", "svhn", "dtd", "gtsrb", "xray", "retina", "uniform", "gaussian"]
    sets = {name: make_set(0.5) for name in names}
    (table,) = build_tables([clean(make_meta, sets=sets, rejection=(rejecting(sets=names),))])
    lines = text_lines(table, width=width)
    start = next(i for i, line in enumerate(lines) if line.text == "classification with rejection")
    assert max(len(line.text) for line in lines[start:]) <= width
    assert sum(line.text.count("0.875") for line in lines[start:]) == len(names)


def test_markdown_and_latex_have_the_block_as_a_second_table(make_meta):
    (table,) = build_tables([clean(make_meta, "sdim", rejection=(rejecting(),))])
    markdown = render_markdown(table).splitlines()
    start = markdown.index("**classification with rejection**")
    assert markdown[start + 2 : start + 5] == [
        "| detector | threshold | rejected | accuracy | left | letters | uniform\\* |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
        "| sdim | 1 % of train | 0.030 | 0.980 | 0.995 | 0.875 | 0.875 |",
    ]
    latex = render_latex(table)
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert r"sdim & 1 \% of train & 0.030 & 0.980 & 0.995 & 0.875 & 0.875 \\" in latex


def test_csv_has_the_guarantee_and_the_bits_of_sets_and_id_images(make_meta, make_set):
    own = make_set(0.9).model_copy(update={"bits_per_dim": 2.5})
    metas = [clean(make_meta, "glow", sets={"letters": own}, bits_per_dim=1.5), with_guarantee(make_meta, 0.625)]
    found = list(csv.DictReader(io.StringIO(render_csv(metas))))
    assert [(r["set"], r["bits_per_dim"], r["id_bits_per_dim"], r["guaranteed_auroc"]) for r in found] == [
        ("letters", "", "", "0.625"),
        ("uniform", "", "", "0.625"),
        ("mean", "", "", "0.625"),
        ("letters", "2.5", "1.5", ""),
        ("mean", "", "1.5", ""),
    ]
