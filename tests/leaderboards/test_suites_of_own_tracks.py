"""One rule for the suites of own tracks: `validate`, `submit`, `verify` and the boards agree."""

import json

import numpy as np
import pytest
from row_tampering import reseal, with_scores
from row_world import bench, put, rows, submit, verify
from safetensors.numpy import load

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation import spending
from bench.evaluation.store import Store
from bench.leaderboards.row import SCORES_SUFFIX, read_row
from bench.leaderboards.suite import find_suite, suite_problems

PLAIN = [{"threat": "climb-l2", "eps": 0.3}, {"threat": "static-l2", "eps": 0.3}]


def with_suite(root, suite, **more):
    path = root / "datasets/small.yaml"
    put(path, json.dumps({**json.loads(path.read_text()), "suite": suite, **more}))
    return root


def with_threat(root, name, **card):
    content = {"name": name, "summary": "a small one", "knowledge": "gradients", "norm": "l2", "eps": [0.3], **card}
    put(root / f"threat_models/{name}.yaml", json.dumps(content))
    return root


def attack(root, threats, detector="bent", *more):
    return bench(
        "run", "--workspace", root, "--out", root / "runs", "--track", "small", "--detector", detector, "--device",
        "cpu", "--threat", threats, "--eps", "l2:0.3", "-q", *more,
    )  # fmt: skip


def run_suite(root, *more):
    return bench(
        "run", "--suite", "--workspace", root, "--out", root / "runs", "--track", "small", "--detector", "bent",
        "--device", "cpu", "-q", *more,
    )  # fmt: skip


@pytest.mark.parametrize("detector", ["bent", "shaken"])
def test_a_row_of_plain_threats_is_built_and_verified(fresh_world, detector):
    root = with_suite(fresh_world(), PLAIN)
    assert attack(root, "climb-l2,static-l2", detector).exit_code == 0
    built = submit(root, detector)
    assert built.exit_code == 0, built.output
    (path,) = rows(root)
    done = verify(root, path, "re-scored")
    assert done.exit_code == 0, done.output
    row = read_row(path)
    assert [(entry.threat, entry.members) for entry in row.entries] == [("climb-l2", {}), ("static-l2", {})]
    assert row.gradients == sum(cell.gradients for cell in (row.clean_cell, *(e.cell for e in row.entries)))
    board = bench("leaderboard", "--track", "small", "--workspace", root)
    assert board.exit_code == 0 and detector in board.stdout


def test_a_row_of_a_worst_case_and_a_plain_threat_survives_fresh_attacks(fresh_world):
    root = with_suite(fresh_world(), [{"threat": "all-l2", "eps": 0.3}, {"threat": "climb-l2", "eps": 0.3}])
    assert attack(root, "all-l2,climb-l2").exit_code == 0
    assert submit(root).exit_code == 0
    (path,) = rows(root)
    done = verify(root, path, "re-attacked")
    assert done.exit_code == 0, done.output


def test_scores_of_a_plain_threat_below_the_clean_ones_are_refused(fresh_world):
    root = with_suite(fresh_world(), PLAIN)
    attack(root, "climb-l2,static-l2")
    submit(root)
    (path,) = rows(root)
    row = read_row(path)
    arrays = dict(load(path.with_name(row.scores.file).read_bytes()))
    arrays["worst.0"] = arrays["worst.0"].copy()
    arrays["worst.0"][0] = arrays["clean"][40] - 1.0
    forged, scores = with_scores(row, arrays)
    path = reseal(path, forged, {SCORES_SUFFIX: scores})
    done = verify(root, path, "claimed")
    assert done.exit_code == 1 and "lie below the clean ones" in done.stderr


CASES = {
    "nearest": ([{"threat": "near", "eps": 0.3}], {"near": {"min_norm": True}}, "looks for the nearest image"),
    "no norm": ([{"threat": "walk", "eps": 0.3}], {"walk": {"norm": None, "eps": []}}, "it has no norm"),
    "side": ([{"threat": "alarms", "eps": 0.3}], {"alarms": {"sides": ["alarm"]}}, "a row is about evade"),
    "twice": ([*PLAIN, PLAIN[0]], {}, "'climb-l2' at 0.3 is in the suite twice"),
    "unknown": ([{"threat": "climb-l3", "eps": 0.3}], {}, "unknown threat 'climb-l3': did you mean climb-l2"),
    "member": (
        [{"threat": "both", "eps": 0.3}],
        {"near": {"min_norm": True}, "both": {"method": None, "sides": ["evade"], "members": {"evade": ["near"]}}},
        "threat 'near' of 'both' cannot stand in a suite",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_suite_that_makes_no_rows_is_refused_alike_by_all(world, case):
    suite, threats, said = CASES[case]
    (path,) = rows(world)
    for name, card in threats.items():
        with_threat(world, name, **{"method": "bench.threat_models.pgd:PGD", **card})
    with_suite(world, suite)
    results = [
        bench("validate", world / "datasets/small.yaml", "--workspace", world),
        submit(world),
        verify(world, path),
        bench("leaderboard", "--track", "small", "--workspace", world),
    ]
    for done in results:
        assert done.exit_code in (1, 2), done.output
        assert said in done.output, done.output


def test_validate_names_the_line_of_the_track(world):
    with_suite(world, PLAIN)
    done = bench("validate", world / "datasets/small.yaml", "--workspace", world)
    assert done.exit_code == 0, done.output
    put(
        world / "datasets/small.yaml",
        (world / "datasets/small.yaml").read_text().replace('"suite"', '\n"suite"').replace("static-l2", "statik-l2"),
    )
    done = bench("validate", world / "datasets/small.yaml", "--workspace", world)
    assert done.exit_code != 0 and "small.yaml:2: unknown threat 'statik-l2'" in done.output


@pytest.mark.parametrize("field", ["suite_limit", "default_limit"])
def test_a_row_of_one_image_is_refused_by_the_same_rule(world, field):
    with_suite(world, PLAIN, **{field: 1})
    problems = [sentence for _, sentence in suite_problems(Catalog(world).track("small"), Catalog(world))]
    assert problems == [f"{field} is 1, and a row is about 2 or more images of a set"]
    assert f"{field} is 1" in submit(world).stderr


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (["gone"], "'gone' is no OOD set of the track; leave it out"),
        (["near"], "'near' enters the track's mean, and a row needs it; leave it out"),
    ],
)
def test_a_suite_leaves_out_no_set_that_is_not_there_or_that_enters_the_mean(world, left_out, said):
    with_suite(world, PLAIN, suite_without=left_out)
    problems = [sentence for _, sentence in suite_problems(Catalog(world).track("small"), Catalog(world))]
    assert problems == [said]
    assert said in submit(world).stderr


def test_a_track_without_a_suite_is_no_problem(world):
    with_suite(world, [], default_limit=1)
    assert not list(suite_problems(Catalog(world).track("small"), Catalog(world)))


STRANDED = {
    "method": "bench.threat_models.transfer:Transfer",
    "knowledge": "scores",
    "source": {"threat": "climb-l2", "params": {"steps": 2, "restarts": 1}, "detectors": ["msp", "stepped"]},
}


def test_a_member_that_cannot_apply_on_the_track_is_left_out_of_the_row_and_verified(fresh_world):
    root = with_threat(
        fresh_world(), "borrowed", **{**STRANDED, "source": {**STRANDED["source"], "detectors": ["msp"]}}
    )
    with_threat(root, "mixed", sides=["evade"], members={"evade": ["climb-l2", "borrowed"]})
    with_suite(root, [{"threat": "mixed", "eps": 0.3}])
    assert attack(root, "mixed").exit_code == 0
    built = submit(root)
    assert built.exit_code == 0, built.output
    (path,) = rows(root)
    assert set(read_row(path).entries[0].left_out) == {"borrowed"}
    assert verify(root, path, "re-attacked").exit_code == 0
    # Once a source has settings on the track the row lacks an attack that applies.
    with_threat(root, "borrowed", **{**STRANDED, "source": {**STRANDED["source"], "detectors": ["stepped"]}})
    done = verify(root, path, "claimed")
    assert done.exit_code == 1 and "mixed lacks the attack borrowed" in done.stderr


def test_a_row_that_lacks_an_attack_which_applies_is_refused_by_name(fresh_world):
    root = with_threat(fresh_world(), "borrowed", **STRANDED)
    with_threat(root, "mixed", sides=["evade"], members={"evade": ["climb-l2", "borrowed"]})
    with_suite(root, [{"threat": "mixed", "eps": 0.3}])
    card = root / "detectors/stepped.yaml"
    put(card, card.read_text().replace("bent.safetensors", "absent.safetensors"))  # it has settings, and no weights
    assert attack(root, "mixed").exit_code == 0
    done = submit(root)
    assert done.exit_code == 2
    assert "lacks the attack 'borrowed'" in done.stderr and "a row needs all of the suite" in done.stderr


def test_a_reduced_run_makes_no_row(fresh_world):
    root = with_suite(fresh_world(), PLAIN)
    assert attack(root, "climb-l2,static-l2", "bent", "--without", "far").exit_code == 0
    done = submit(root)
    assert done.exit_code == 2
    assert "was run without far, and a row needs all OOD sets of the track; compute it again: bench run" in done.stderr


def test_a_suite_is_run_by_one_word_with_the_limit_and_the_sets_of_the_card(fresh_world):
    root = with_suite(fresh_world(), PLAIN, suite_limit=3, suite_without=["static"])
    done = run_suite(root)
    assert done.exit_code == 0, done.output
    metas = Store(root / "runs").metas()
    assert {(meta.limit, meta.without) for meta in metas} == {(3, ("static",))}
    assert {(meta.threat, meta.eps) for meta in metas} == {("clean", None), *((e["threat"], e["eps"]) for e in PLAIN)}
    assert submit(root).exit_code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--eps", "1", "--limit", "3"],
            "--suite takes threats, radii, images and sets from the track's card; leave out --eps and --limit.",
        ),
        ([], "track 'small' has no suite"),
    ],
)
def test_a_suite_is_run_as_the_card_says_or_not_at_all(world, more, said):
    with_suite(world, [])
    done = run_suite(world, *more)
    assert done.exit_code == 2 and said in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {"bench": "0.1.0"}}, "the version of bench (0.1.0) differs; compute it again: bench run"),
        ({"versions": {}}, "the version of bench (unknown) differs"),
        ({"source_hash": "0"}, "than there is now: the code differs"),
        ({"source_hash": "0", "micro_batch": 3}, "than there is now: the code and the batch shape differs"),
        ({"search": "bf16"}, "than there is now: what the attack searched with (--precision bf16) differs"),
        ({"nested": True}, "than there is now: that it is one of nested radii (--nested) differs"),
    ],
)
def test_a_cell_of_other_content_is_told_by_what_differs(finished, changes, said):
    cards, metas = Catalog(finished), Store(finished / "runs").metas()
    track = cards.track("small")
    stale = [
        meta.model_copy(update={"key": "0" * 64, **changes}) if meta.threat == "all-l2" else meta for meta in metas
    ]
    find_suite(cards, metas, "bent", track, run="runs", data_dir=None)
    with pytest.raises(UsageError) as refused:
        find_suite(cards, stale, "bent", track, run="runs", data_dir=None)
    assert str(refused.value).startswith("bent x all-l2 l2 0.3 on small was run with other content than there is now: ")
    assert said in str(refused.value)


def test_a_suite_whose_member_failed_makes_no_row(fresh_world):
    root = fresh_world()
    module = next(path.stem for path in root.glob("row_methods_*.py"))
    source = (root / f"{module}.py").read_text()
    put(
        root / f"{module}.py",
        source + "\n\nfrom bench.threat_models.base import Threat\n\n\nclass Broken(Threat):\n"
        "    def attack(self, detector, x, *, ids, budget, context):\n        raise RuntimeError('it broke')\n",
    )
    with_threat(root, "broken", method=f"{module}:Broken")
    with_threat(root, "fragile", sides=["evade"], members={"evade": ["climb-l2", "broken"]})
    with_suite(root, [{"threat": "fragile", "eps": 0.3}])
    assert attack(root, "fragile").exit_code == 1
    done = submit(root)
    assert done.exit_code == 2
    assert "was run without broken, which failed (RuntimeError" in done.stderr and "bench run" in done.stderr


def test_of_one_threat_at_two_radii_images_beat_the_entry_that_they_are_about(fresh_world):
    root = with_suite(fresh_world(), [{"threat": "climb-l2", "eps": 0.3}, {"threat": "climb-l2", "eps": 0.1}])
    assert attack(root, "climb-l2", "bent", "--eps", "l2:0.1").exit_code == 0
    assert submit(root).exit_code == 0
    (path,) = rows(root)
    row = read_row(path)
    ids = load(path.with_name(row.scores.file).read_bytes())["ids"][40:]
    assert row.worst_entry.eps == 0.3 and len(ids) == 70
    from bench.leaderboards.adversarials import _entry_number

    assert row.entries[_entry_number(row, "climb-l2")].eps == 0.3
    swapped = row.model_copy(update={"entries": row.entries[::-1]})
    assert swapped.entries[_entry_number(swapped, "climb-l2")].eps == 0.3
    assert np.isfinite(row.worst.auroc)


def test_a_row_needs_the_whole_budget_on_all_images(fresh_world, monkeypatch):
    monkeypatch.setattr(spending, "_LEAST", 2)
    params = {"steps": 40, "restarts": 2, "step_size": 0.5}
    root = with_threat(fresh_world(), "costly-l2", method="bench.threat_models.pgd:PGD", params=params)
    with_suite(root, [{"threat": "costly-l2", "eps": 0.3}])
    assert attack(root, "costly-l2", "bent", "--audit", 0.1, "--tolerance", 0.1).exit_code == 0
    refused = submit(root)
    assert refused.exit_code == 2
    assert "was run with the whole budget on" in refused.stderr
    assert "bench run --suite --detector bent" in refused.stderr
    assert attack(root, "costly-l2", "bent", "--no-evidence").exit_code == 0
    assert submit(root).exit_code == 0


def test_a_baseline_of_audited_cells_is_checked_by_the_same_audit(fresh_world, monkeypatch, tmp_path):
    monkeypatch.setattr(spending, "_LEAST", 2)
    params = {"steps": 40, "restarts": 2, "step_size": 0.5}
    root = with_threat(fresh_world(), "costly-l2", method="bench.threat_models.pgd:PGD", params=params)
    assert attack(root, "costly-l2", "bent", "--audit", 0.1, "--tolerance", 0.1).exit_code == 0
    base = tmp_path / "base.json"
    assert bench("baseline", root / "runs", "--to", base, "--workspace", root).exit_code == 0
    cell = next(cell for cell in json.loads(base.read_text())["cells"] if cell["identity"]["threat"] == "costly-l2")
    assert cell["provenance"]["evidence"] == {"tolerance": 0.1, "audit": 0.1}
    again = bench("check", "--baseline", base, "--workspace", root, "--out", tmp_path / "again", "--device", "cpu")
    assert again.exit_code == 0, again.output
    (key,) = {meta.key for meta in Store(root / "runs").metas() if meta.threat == "costly-l2"}
    assert key in set(Store(tmp_path / "again").keys())
    assert attack(root, "costly-l2", "bent", "--no-evidence", "--out", tmp_path / "full").exit_code == 0
    other = bench("check", "--baseline", base, "--run", tmp_path / "full", "--workspace", root)
    assert "spent on all" in other.output
