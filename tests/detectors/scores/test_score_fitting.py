"""How scores are fitted, loaded and refused."""

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorCard
from bench.cards.track import TrackCard
from bench.detectors.energy import Energy
from bench.detectors.loading import build_detector, load_detector
from bench.detectors.scores import base, shaping, training_features
from bench.detectors.scores.knn import KNN
from bench.detectors.scores.vim import ViM
from bench.detectors.weights import save_tensors
from bench.errors import CardError, InputError, UsageError, WeightsError
from bench.testing import check_detector

REACT = {"kind": "react", "percentile": 80}


def test_an_unfitted_score_says_so_and_gives_no_number(make_detector, images):
    for detector in (make_detector(KNN), make_detector(Energy, shaping=REACT)):
        with pytest.raises(InputError, match=r"must be fitted before it scores.*fit_when_loaded: true"):
            detector.score(images)


def test_statistics_are_nan_before_a_fit_and_the_whole_state_after_it(make_detector, training_data, images):
    one, two = make_detector(ViM, shaping=REACT), make_detector(ViM, shaping=REACT)
    names = [name for name in one.state_dict() if name.startswith("statistics.")]
    assert all(bool(one.state_dict()[name].isnan().all()) for name in names)
    one.fit(training_data)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.score(images), two.score(images))


def test_a_second_fit_gives_the_same_statistics(make_detector, training_data, images):
    detector = make_detector(ViM, shaping=REACT).fit(training_data)
    before = detector.score(images)
    assert torch.equal(detector.fit(training_data).score(images), before)


def test_features_that_are_too_many_to_be_kept_are_made_anew(make_detector, training_data, images, monkeypatch):
    kept = make_detector(ViM, shaping=REACT).fit(training_data)
    again = make_detector(ViM, shaping=REACT)
    again.load_state_dict(kept.state_dict())
    monkeypatch.setattr(training_features, "KEPT_NUMBERS", 0)
    torch.testing.assert_close(again.fit(training_data).score(images), kept.score(images))


def test_a_fit_counts_every_image_once_however_many_passes_it_takes(make_detector, training_data, monkeypatch):
    for limit in (1 << 27, 0):
        monkeypatch.setattr(training_features, "KEPT_NUMBERS", limit)
        seen = []
        make_detector(ViM, shaping=REACT).fit(training_data, progress=lambda *told, seen=seen: seen.append(told[:2]))
        assert seen == [(250, 600), (500, 600), (600, 600)]


def test_a_fit_leaves_the_network_and_its_mode_alone(make_detector, training_data):
    detector = make_detector(ViM, shaping=REACT).train()
    before = {k: v.clone() for k, v in detector.network.state_dict().items()}
    detector.fit(training_data)
    assert detector.training and detector.network.training
    assert all(torch.equal(v, before[k]) for k, v in detector.network.state_dict().items())


def test_a_fit_never_sees_calibration_images_or_outliers_unless_it_says_so(make_detector, training_data, images):
    other = replace(training_data, calibration=training_data.train.limited(3), outliers=None)
    one, two = (make_detector(ViM, shaping=REACT) for _ in range(2))
    two.load_state_dict(one.state_dict())
    two.network.load_state_dict(one.network.state_dict())
    assert torch.equal(one.fit(training_data).score(images), two.fit(other).score(images))


def test_a_fit_on_a_part_of_the_images_says_so(make_detector, training_data, monkeypatch):
    monkeypatch.setattr(base, "FIT_IMAGES", 500)
    detector = make_detector(ViM).fit(training_data)
    assert detector.remarks == ("its statistics come from 500 of 600 images of 'train'",)
    recalled = make_detector(ViM)
    recalled.load_state_dict(detector.state_dict())
    assert recalled.remarks == detector.remarks
    assert make_detector(ViM).remarks == make_detector(Energy).remarks == ()


def test_percentiles_come_from_a_bounded_number_of_images(make_detector, training_data, monkeypatch):
    whole = make_detector(Energy, shaping=REACT)
    part = make_detector(Energy, shaping=REACT)
    part.network.load_state_dict(whole.network.state_dict())
    monkeypatch.setattr(shaping, "QUANTILE_IMAGES", 300)
    whole.fit(replace(training_data, train=replace(training_data.train, **first(training_data.train, 300))))
    part.fit(training_data)
    assert torch.equal(whole.shaping.threshold, part.shaping.threshold)


def first(images, count):
    return {"images": images.images[:count], "labels": images.labels[:count], "ids": images.ids[:count]}


def test_a_bank_smaller_than_k_is_refused(make_detector, training_data):
    for params in ({"k": 601}, {"k": 21, "bank": 20}):
        with pytest.raises(UsageError, match="choose a smaller k, or a larger bank"):
            make_detector(KNN, **params).fit(training_data)


def test_a_shaping_of_the_last_layer_is_refused_where_nothing_looks_at_it(make_detector):
    with pytest.raises(UsageError, match="shaping 'dice' changes the last layer alone, and KNN does not look"):
        make_detector(KNN, shaping={"kind": "dice"})


def test_a_shaping_of_lengths_is_refused_where_directions_alone_count(make_detector):
    with pytest.raises(UsageError, match="shaping 'scale' changes the length of features alone, and KNN looks at"):
        make_detector(KNN, shaping={"kind": "scale"})


def test_a_shaping_that_leaves_constants_is_refused(make_detector):
    with pytest.raises(UsageError, match="KNN would be constant between jumps"):
        make_detector(KNN, shaping={"kind": "ash-b"})


def test_a_network_without_a_linear_last_layer_is_refused_only_where_it_is_needed(make_detector, training_data):
    class Bent(type(make_detector(Energy).network.network)):
        def activations(self, x):
            found = super().activations(x)
            return {**found, "logits": found["logits"] ** 3}

    assert make_detector(Energy, network=Bent).score(torch.rand(2, 1, 8, 8)).shape == (2,)
    make_detector(KNN, network=Bent).fit(training_data)
    for method, params in ((ViM, {}), (Energy, {"shaping": REACT})):
        with pytest.raises(UsageError, match="no linear layer of its penultimate features"):
            make_detector(method, network=Bent, **params)


# --------------------------------------------------------------------------- from cards

NETWORK = {"method": "bench.detectors.networks.convnet28:ConvNet28", "args": {"classes": 3}, "crop": 28}


@pytest.fixture
def track() -> TrackCard:
    part = {"source": "none"}
    return TrackCard(
        name="toy", summary="", shape=(1, 32, 32), classes=3,
        train=part, calibration=part, test=part, ood={"other": part},
    )  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "builtin").mkdir()
    (tmp_path / "workspace" / "detectors").mkdir(parents=True)
    return Catalog(tmp_path / "workspace", builtin=tmp_path / "builtin")


def spec(method="bench.detectors.scores.vim:ViM", params=None, fit=True, **settings):
    tracks = {"toy": {"network": NETWORK, **settings}}
    card = DetectorCard(name="mine", summary="", method=method, params=params or {}, fit_when_loaded=fit, tracks=tracks)
    return card.on_track("toy")


def saved(catalog, card, track, file, keep):
    state = {name: torch.rand_like(value) for name, value in build_detector(card, track, catalog).state_dict().items()}
    save_tensors(catalog.weights_dir_for_writing() / file, {k: v for k, v in state.items() if keep(k)})


def test_the_classifiers_weights_alone_are_enough_for_a_score_that_is_fitted_when_loaded(catalog, track):
    card = spec(weights=[{"file": "net.safetensors"}], params={"shaping": {"kind": "dice"}})
    saved(catalog, card, track, "net.safetensors", lambda name: name.startswith("network."))
    detector = load_detector(card, track, catalog)
    assert bool(detector.fitted["alpha"].isnan()) and not detector.training
    with pytest.raises(InputError, match="must be fitted"):
        detector.score(torch.rand(1, 1, 32, 32))


def test_weights_may_hold_the_statistics_too(catalog, track):
    card = spec(fit=False, weights=[{"file": "net.safetensors"}, {"file": "statistics.safetensors"}])
    saved(catalog, card, track, "net.safetensors", lambda name: name.startswith("network."))
    saved(catalog, card, track, "statistics.safetensors", lambda name: not name.startswith("network."))
    detector = load_detector(card, track, catalog)
    assert bool(detector.score(torch.rand(2, 1, 32, 32)).isfinite().all())


def test_a_part_of_the_statistics_is_not_taken_for_the_whole(catalog, track):
    card = spec(fit=False, weights=[{"file": "net.safetensors"}])
    saved(catalog, card, track, "net.safetensors", lambda name: not name.endswith("alpha"))
    with pytest.raises(WeightsError, match=r"missing statistics\.score\.alpha"):
        load_detector(card, track, catalog)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "react", "percentile": 100}, "less than 100"),
        ({"kind": "vra", "low": 70, "high": 60}, "low must be below high"),
        ({"kind": "vra", "low": 60, "high": 60}, "low must be below high"),
        ({"kind": "crop"}, "'react', 'vra', 'ash-s'"),
        ({"kind": "ash-s", "k": 3}, "no parameter 'shaping.ash-s.k'"),
        ("react", "valid dictionary"),
    ],
)
def test_wrong_settings_of_a_shaping_are_one_sentence(catalog, track, given, words):
    with pytest.raises(CardError) as told:
        build_detector(spec(params={"shaping": given}), track, catalog)
    assert words in str(told.value) and "\n" not in str(told.value)


# --------------------------------------------------------------------------- the next one


def test_the_example_of_the_base_class_is_a_detector_that_keeps_the_contract(make_detector, training_data):
    example = textwrap.dedent(base.__doc__[base.__doc__.index("    class Nearest") :])
    made = {"FeatureScore": base.FeatureScore, "torch": torch}
    exec(example, made)
    detector = make_detector(made["Nearest"], shaping=REACT).fit(training_data)
    check_detector(detector, training_data.calibration.pixels()[:8])
    mean = detector.fitted["mean"]
    assert mean.shape == (8,) and len(example.strip().splitlines()) < 15
