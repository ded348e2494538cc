"""The OOD sets of a run: only some, all but some, and what is said where images are missing."""

import copy

import numpy as np
import pytest
import yaml

import bench
from bench.cards.catalog import Catalog
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError, UsageError
from bench.evaluation.engine import CellFailure, run_plan
from bench.evaluation.gate import identity_problem
from bench.evaluation.plan import plan
from bench.evaluation.sets import SetChoice, chosen_sets, unusable_sets
from bench.evaluation.store import MemoryStore


def test_only_the_sets_that_are_used_enter_the_key(planned):
    whole, reduced = planned(), planned(sets=SetChoice(without=("far",)))
    assert set(whole[1].ingredients.set_digests) - set(reduced[1].ingredients.set_digests) == {"far"}
    assert whole[1].ingredients.track_hash == reduced[1].ingredients.track_hash
    assert not {cell.key for cell in whole} & {cell.key for cell in reduced}
    assert [cell.without for cell in reduced] == [("far",)] * len(reduced)
    same = planned(sets=SetChoice(only=("noise", "near")))
    assert [cell.key for cell in same] == [cell.key for cell in reduced]
    assert [cell.key for cell in planned(sets=SetChoice(only=("near", "far", "noise")))] == [c.key for c in whole]


def test_a_reduced_run_has_the_figures_of_its_sets_and_says_what_is_left_out(cells):
    (_, whole), (_, reduced) = cells("net", "pgd", "0.3"), cells("net", "pgd", "0.3", sets=SetChoice(without=("far",)))
    assert list(reduced.meta.sets) == ["near", "noise"] and reduced.meta.without == ("far",) and not whole.meta.without
    assert reduced.meta.mean.sets == ("near",) and reduced.meta.mean.auroc == reduced.meta.sets["near"].auroc
    assert reduced.meta.sets["near"] == whole.meta.sets["near"]  # the attack on a set knows nothing of the others
    kept = whole.samples[whole.samples["set"] != "far"].reset_index(drop=True)
    assert np.array_equal(kept["score"], reduced.samples["score"])


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            SetChoice(only=("nera",)),
            "unknown OOD set 'nera': did you mean near.* the sets of tiny are near, far, noise",
        ),
        (SetChoice(without=("test",)), "unknown OOD set 'test'"),
        (SetChoice(without=("near", "far", "noise")), "--without near,far,noise leaves no OOD set of track 'tiny'"),
        (SetChoice(only=("near",), without=("far",)), "give one of the two"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(planned, choice, said):
    with pytest.raises(UsageError, match=said):
        planned(sets=choice)


def test_no_set_at_all_is_no_choice():
    with pytest.raises(UsageError, match="empty list"):
        chosen_sets([], None)
    with pytest.raises(UsageError, match="empty list"):
        chosen_sets(" , ", None)
    assert chosen_sets("a, b,a", ["c"]) == SetChoice(("a", "b"), ("c",))


def test_the_mean_that_a_card_records_is_not_held_against_a_part_of_it(planned, cells):
    clean = cells("misrecorded", "clean")[0]
    assert identity_problem(planned("misrecorded")[0], clean.meta)
    some = SetChoice(only=("far",))
    clean = cells("misrecorded", "clean", sets=some)[0]
    assert identity_problem(planned("misrecorded", sets=some)[0], clean.meta) is None


def lost(write_world, **track):
    """The tiny world with two OOD sets whose files are not there, with or without a digest in the card."""
    root = write_world()
    path = root / "datasets/tiny.yaml"
    card = yaml.safe_load(path.read_text())
    for name in ("gone", "lost"):
        card["ood"][name] = {"source": "npz", "args": {"file": f"{name}.npz"}, **copy.deepcopy(track)}
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return Catalog(root)


@pytest.mark.parametrize("digest", [{}, {"digest": "0" * 64}], ids=["any content", "one digest"])
def test_missing_sets_are_all_named_up_front_with_both_ways_out(write_world, tmp_path, digest):
    cards = lost(write_world, **digest)
    with pytest.raises(DataError) as caught:
        cells = plan(cards, ["net", "ties"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path)
        list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    said = str(caught.value)
    assert "'gone' (gone.npz is missing" in said and "'lost' (lost.npz is missing" in said
    assert "`bench data download --track tiny`" in said and "`--without gone,lost`" in said
    assert said.count(".npz is missing") == 2


def test_without_the_missing_sets_the_run_goes_on(write_world, tmp_path):
    cards = lost(write_world, digest="0" * 64)
    some = SetChoice(without=("gone", "lost"))
    cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path, sets=some)
    outcomes = list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    assert [list(one.meta.sets) for one in outcomes] == [["near", "far", "noise"]] * 2


def test_a_set_of_other_content_than_its_card_says_is_named_alike(write_world, tmp_path):
    cards = lost(write_world, digest="0" * 64)
    images = np.zeros((4, 6, 6, 1), np.uint8)
    for name in ("gone", "lost"):
        np.savez(tmp_path / f"{name}.npz", images=images)
    cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path)
    with pytest.raises(DataError, match=r"'gone' \(set 'gone' of track 'tiny' has content .*--without gone,lost"):
        list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))


def test_where_the_id_images_are_missing_leaving_sets_out_is_no_way_out(write_world, tmp_path):
    gone = {"source": "npz", "args": {"file": "gone.npz"}, "digest": "0" * 64}
    cards = Catalog(write_world(test=gone))
    cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path)
    with pytest.raises(DataError, match=r"'test' \(gone.npz is missing") as caught:
        list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    assert "--without" not in str(caught.value)


def test_what_the_store_holds_needs_no_images(write_world, tmp_path, monkeypatch):
    cards, store = lost(write_world, digest="0" * 64), MemoryStore()
    some = SetChoice(without=("gone", "lost"))
    cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path, sets=some)
    list(run_plan(cells, store, cards, data_dir=tmp_path))
    monkeypatch.setattr("bench.evaluation.images.Images.of", lambda *_: pytest.fail("images were loaded"))
    assert all(one.from_store for one in run_plan(cells, store, cards, data_dir=tmp_path))


def test_a_track_that_lacks_images_does_not_stop_another_one(write_world, tmp_path):
    cards = Catalog(write_world())
    card = yaml.safe_load((cards.workspace / "datasets/tiny.yaml").read_text())
    card["ood"]["gone"] = {"source": "npz", "args": {"file": "gone.npz"}, "digest": "0" * 64}
    (cards.workspace / "datasets/second.yaml").write_text(yaml.safe_dump({**card, "name": "second"}))
    net = cards.workspace / "detectors/net.yaml"
    net.write_text(net.read_text().replace("tiny: {}", "tiny: {}\n  second: {}"))
    cards = Catalog(cards.workspace)
    cells = plan(cards, ["net"], ["pgd"], "0.3", ["second", "tiny"], micro_batch=32, data_dir=tmp_path)
    outcomes = list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    assert [isinstance(one, CellFailure) for one in outcomes] == [True, True, False, False]
    assert "--without gone" in str(outcomes[0].error) and outcomes[0].usage


def test_python_takes_the_same_choice(catalog):
    found = bench.evaluate("net", "pgd", "tiny", eps=0.3, without="far", workspace=catalog.workspace, micro_batch=32)
    assert [cell.meta.without for cell in found.cells] == [("far",)] * 2
    some = bench.evaluate("net", "pgd", "tiny", eps=0.3, ood=["near"], workspace=catalog.workspace, micro_batch=32)
    assert list(some.metas[1].sets) == ["near"]
    with pytest.raises(UsageError, match="did you mean near"):
        bench.evaluate("net", "pgd", "tiny", eps=0.3, ood=["nera"], workspace=catalog.workspace)


def test_a_track_that_is_given_as_an_object_is_reduced_too(catalog):
    from bench.datasets.track import Track

    track = Track(catalog.track("tiny"), workspace=catalog.workspace)
    found = bench.evaluate("net", "pgd", track, eps=0.3, without=["far"], workspace=catalog.workspace, micro_batch=32)
    assert list(found.metas[1].sets) == ["near", "noise"] and "far" not in track._sets


@pytest.mark.parametrize("names", ["test", "gone", "gone,test"])
def test_only_what_is_absent_is_advised_to_be_downloaded(write_world, tmp_path, names):
    card = lost(write_world).track("tiny")
    problems = {
        "gone": MissingDataError("gone.npz is missing, looked for in x: do this."),
        "test": DataError("set 'test' of track 'tiny' has labels up to 7: correct its labels."),
    }
    said = str(unusable_sets(card, {name: problems[name] for name in names.split(",")}))
    assert ("bench data download" in said) == ("gone" in names)
    assert (
        "has sets that cannot be used: 'test' (set 'test' of track 'tiny' has labels up to 7: correct its labels)"
        in said
    ) == ("test" in names)
    assert ("`--without gone` runs without" in said) == (names == "gone")


def test_wrong_labels_are_not_said_to_be_lacking(write_world, tmp_path):
    root = write_world()
    path = root / "datasets/tiny.yaml"
    card = yaml.safe_load(path.read_text())
    card["test"] = {"source": "npz", "args": {"file": "mine.npz"}}
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 6, 6, 1), np.uint8), labels=np.full(4, 900))
    cards = Catalog(root)
    with pytest.raises(DataError) as caught:
        cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path)
        list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    assert "download" not in str(caught.value) and "lacks" not in str(caught.value)
    assert "900" in str(caught.value) and "label" in str(caught.value)


def test_a_folder_that_is_absent_is_not_advised_to_be_downloaded(write_world, tmp_path):
    cards = lost(write_world, source="folder:photos", args={"shape": [1, 6, 6]})
    with pytest.raises(DataError) as caught:
        cells = plan(cards, ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=32, data_dir=tmp_path)
        list(run_plan(cells, MemoryStore(), cards, data_dir=tmp_path))
    assert "download" not in str(caught.value)
    assert "put the images there, or correct the path" in str(caught.value) and "--without gone,lost" in str(
        caught.value
    )
