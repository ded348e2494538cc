import json

import pytest

from bench.cards.catalog import Catalog
from bench.cards.code.source_hash import followed, source_hash
from bench.cards.detector import DetectorSpec
from bench.cards.network import RecordedSpec, WeightsSpec
from bench.errors import UsageError, WeightsError
from bench.evaluation.keys import weights_hashes
from bench.evaluation.plan import RunOptions, check_options, plan


def keys(cells):
    return [cell.key for cell in cells]


def test_each_detector_has_its_clean_cell_first_and_every_radius_once(planned):
    cells = planned(["net", "ties", "net"], ["clean", "pgd", "fgm"], "0.3,0.3,1")
    assert [cell.label for cell in cells] == [
        f"{detector} x {rest} on tiny"
        for detector in ("net", "ties")
        for rest in ("clean", "pgd l2 0.3", "pgd l2 1", "fgm l2 0.3", "fgm l2 1")
    ]
    assert all(cell.clean is None or cell.clean.threat.name == "clean" for cell in cells)


def test_without_radii_those_of_the_card_are_taken(planned):
    assert [cell.ingredients.eps for cell in planned("net", "pgd")] == [None, 0.3, 0.6]


def test_the_same_request_has_the_same_keys(planned):
    assert keys(planned()) == keys(planned())


def test_every_choice_that_changes_a_number_changes_the_key(planned, write_world, catalog):
    first = planned("net", "pgd", "1")[1].key
    others = [
        planned("net", "pgd", "2")[1].key,
        planned("ties", "pgd", "1")[1].key,
        planned("net", "fgm", "1")[1].key,
        planned("net", "pgd-inf", "1")[1].key,
        planned("net", "pgd", "1", seed=1)[1].key,
        planned("net", "pgd", "1", limit=20)[1].key,
        planned("net", "pgd", "1", side="alarm")[1].key,
        planned("net", "pgd", "1", early_stop=False)[1].key,
        planned("net", "pgd", "1", micro_batch=16)[1].key,
        planned("net", "pgd", "1", overrides={"steps": 13})[1].key,
    ]
    write_world(default_limit=50)
    others.append(plan(type(catalog)(catalog.workspace), ["net"], ["pgd"], "1", ["tiny"], micro_batch=32)[1].key)
    assert len({first, *others}) == 1 + len(others)


def test_what_changes_no_number_leaves_the_key_alone(planned, write_world, catalog):
    first = keys(planned("net", "pgd", "0.3"))
    assert keys(planned(["ties", "net"], ["fgm", "pgd"], "0.3"))[-1:] == first[-1:]
    assert keys(planned("net", "pgd", "l2:0.3", overrides={"steps": 12, "restarts": None})) == first
    write_world(summary="other words")
    again = plan(type(catalog)(catalog.workspace), ["net"], ["pgd"], ["0.3"], ["tiny"], micro_batch=32)
    assert keys(again) == first


def test_the_clean_cell_is_shared_by_sides_and_by_runs_with_and_without_early_stop(planned):
    clean = planned()[0].key
    assert planned(side="alarm", early_stop=False)[0].key == clean
    assert planned(limit=20)[0].key != clean


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 1}, "limit is 1"),
        ({"limit": -5}, "limit is -5"),
        ({"overrides": {"steps": 0}}, "steps is 0"),
        ({"overrides": {"step_size": float("nan")}}, "step_size is nan"),
        ({"overrides": {"points": 3}}, "no chosen threat has the parameter 'points'"),
        ({"threats": "rogue-box", "side": "both"}, "cannot attack the side 'both'"),
        ({"threats": "pdg"}, "did you mean pgd"),
        ({"detectors": "nett"}, "did you mean net"),
        ({"detectors": []}, "no detector was given"),
        ({"eps": "linf:0.1"}, "no chosen threat has that norm"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(planned, options, said):
    with pytest.raises(UsageError, match=said):
        planned(**options)


def test_a_parameter_may_be_zero_where_its_threat_allows_it():
    card = Catalog().threat("feature-matching-l2")
    check_options(RunOptions(overrides={"noise": 0.0}), [card])
    with pytest.raises(UsageError, match="noise is inf; allowed is a finite number"):
        check_options(RunOptions(overrides={"noise": float("inf")}), [card])


def test_an_override_applies_only_to_threats_whose_card_lists_it(planned):
    cells = planned("net", ["pgd", "fgm"], "0.3", overrides={"steps": 5})
    assert [cell.params.get("steps") for cell in cells] == [None, 5, None]
    assert cells[2].ignored == ("steps",)


class Files:
    """A catalog that knows weights files alone."""

    def names(self, kind):
        return []

    def __init__(self, root):
        self.root = root

    def weights_path(self, file):
        return self.root / file if (self.root / file).exists() else None


def spec(*weights: WeightsSpec) -> DetectorSpec:
    return DetectorSpec(
        name="d", track="tiny", version=1, method="a:B", params={}, network=None, weights=weights, training=None,
        recorded=RecordedSpec(),
    )  # fmt: skip


def test_weights_count_by_their_content(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    first = weights_hashes(spec(WeightsSpec(file="a")), Files(tmp_path))
    (tmp_path / "a").write_bytes(b"two!")
    assert weights_hashes(spec(WeightsSpec(file="a")), Files(tmp_path)) != first


def test_missing_weights_and_weights_of_another_sha256_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(WeightsError, match="'d' on track 'tiny' are missing; `bench convert FILE"):
        weights_hashes(spec(WeightsSpec(file="a")), Files(tmp_path))
    (tmp_path / "a").write_bytes(b"one")
    with pytest.raises(WeightsError, match="expects 000"):
        weights_hashes(spec(WeightsSpec(file="a", sha256="0" * 64)), Files(tmp_path))


def package(root, **modules):
    (root / "madeup").mkdir(exist_ok=True)
    (root / "madeup/__init__.py").write_text("raise RuntimeError('imported')")
    for name, text in modules.items():
        (root / f"madeup/{name}.py").write_text(text)
    return [root]


@pytest.mark.parametrize(
    "statement",
    [
        "import madeup.helper",
        "from madeup import helper",
        "from . import helper",
        "from .helper import x",
        "def f():\n    from madeup.helper import x",
    ],
)
def test_the_code_of_a_method_counts_with_all_that_it_imports_from_its_package(tmp_path, statement):
    search = package(tmp_path, method=statement, helper="x = 1", other="y = 1")
    first = source_hash(["madeup.method"], search)
    package(tmp_path, other="y = 2")
    assert source_hash(["madeup.method"], search) == first
    package(tmp_path, helper="x = 222")
    assert source_hash(["madeup.method"], search) != first


def test_the_code_of_a_threat_reaches_the_projection():
    counted = followed(["bench.threat_models.pgd"])
    assert {"bench.threat_models.geometry", "bench.threat_models.base", "bench.randomness"} <= set(counted)


def test_planning_imports_no_torch(catalog):
    import subprocess
    import sys

    code = (
        "import sys, json; from pathlib import Path; from bench.cards.catalog import Catalog; "
        "from bench.evaluation.plan import plan; from bench.evaluation.engine import run_plan; "
        "from bench.evaluation.store import Store; "
        "c = Catalog(None); n = c.names('threat'); Store(Path('nowhere')).metas(); "
        "print(json.dumps([m in sys.modules for m in ('torch', 'pandas', 'sklearn')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False, False]
