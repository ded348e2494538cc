"""What feature matching matches of each detector: what the paper matched of it."""

import torch

from bench.detectors.autoencoder import Autoencoder
from bench.detectors.ensemble import DeepEnsemble
from bench.detectors.gram import Gram
from bench.detectors.jem import JEM
from bench.detectors.mahalanobis import Mahalanobis, _pooled
from bench.detectors.msp import MSP
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.ensemble import Ensemble
from bench.detectors.odin import ODIN
from bench.detectors.oe import OE


def test_each_detector_says_what_the_paper_matched():
    logits = {method.info.matched for method in (MSP, ODIN, OE, DeepEnsemble, JEM)}
    assert logits == {"logits"}
    assert {method.info.matched for method in (Mahalanobis, Gram)} == {"score"}
    assert Autoencoder.info.matched == "penultimate"


def test_features_of_odin_are_those_of_the_preprocessed_image(make_detector, images):
    detector = make_detector(ODIN, magnitude=0.02)
    moved = detector.preprocess(images)
    assert torch.equal(detector.features(images, "logits"), detector.network(moved))
    assert not torch.equal(detector.features(images, "logits"), detector.network(images))
    assert torch.equal(detector.features(images, "score")[:, 0], detector.score(images))


def test_logits_of_an_ensemble_are_those_of_every_member(images):
    network = Ensemble(members=3, channels=(4, 4), hidden=8, outputs=5, size=8)
    detector = DeepEnsemble(FromPixels(network, mean=(0.2,)), shape=(1, 8, 8), classes=5, params=DeepEnsemble.Params())
    found = detector.features(images, "logits")
    by_hand = [member(images - 0.2) for member in network.members]
    assert torch.allclose(found, torch.cat(by_hand, dim=1))
    mean = torch.stack([logits.softmax(dim=1) for logits in by_hand]).mean(dim=0)
    assert torch.allclose(detector.logits(images).exp(), mean)


def test_logits_of_an_ensemble_of_one_network_are_its_own(make_detector, images):
    detector = make_detector(DeepEnsemble)
    assert torch.equal(detector.features(images, "logits"), detector.network(images))


def test_all_features_of_mahalanobis_are_pooled_and_of_the_image_without_a_step(make_detector, images):
    detector = make_detector(Mahalanobis, magnitude=0.02)
    layers = _pooled(detector.network, images)
    found = detector.features(images, "all")
    assert torch.equal(found, torch.cat(layers, dim=1)) and found.shape == (len(images), 6 + 8)
