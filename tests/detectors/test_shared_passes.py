"""A network is asked once for what several scores on it want to know, and they get the same bits."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cards.catalog import Catalog
from bench.detectors.energy import Energy
from bench.detectors.networks import base
from bench.detectors.networks.passes import Passes, identity
from bench.detectors.networks.small import SmallConvNet
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.scoring import Draws, asked_twice, score_images
from bench.evaluation.store import MemoryStore

ASKED_TWICE = 2
"""Passes of one batch that show whether two scores of one image are the same."""

SCORES = ("msp", "energy", "entropy", "knn", "react", "vim")


@pytest.fixture
def asked(monkeypatch):
    """Counts the passes of small networks by the number of images."""
    counts = Counter()
    original = SmallConvNet.activations

    def counting(self, x):
        counts[len(x)] += 1
        return original(self, x)

    monkeypatch.setattr(SmallConvNet, "activations", counting)
    return counts


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """Clean cells of scores on one network of digits, whose fits are in no cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(names, **options):
        catalog, store = Catalog(None), MemoryStore()
        cells = plan(catalog, list(names), ["clean"], None, ["digits"], limit=40, **options)
        for outcome in run_plan(cells, store, catalog):
            assert isinstance(outcome, CellDone), outcome.sentence
        return [store.get(cell.key) for cell in cells]

    return run


@pytest.fixture
def nothing_shared(monkeypatch):
    """Switches it off."""

    def switch():
        monkeypatch.setattr(base.FromPixels, "_recalled", lambda self, name, x, function: function(x))

    return switch


def test_several_scores_ask_their_network_as_often_as_one_does(clean, asked, nothing_shared):
    clean(["energy"])
    once = asked[128]
    asked.clear()
    clean(["msp", "energy", "entropy", "maxlogit"])
    assert asked[128] == once + 3 * ASKED_TWICE  # of each score by itself, lest randomness inside the network hide
    asked.clear()
    nothing_shared()
    clean(["energy"])
    # One pass for the scores, and another one for the classes.
    assert asked[128] == 2 * (once - ASKED_TWICE) + ASKED_TWICE


def test_fits_ask_it_once_for_the_training_images(clean, asked):
    clean(["knn"])
    once = asked[250]
    asked.clear()
    clean(["knn", "she", "residual"])
    assert once > 0 and asked[250] == once


def test_the_figures_are_the_same_bits_as_those_of_each_score_alone(clean):
    together = clean(SCORES)
    for name, cell in zip(SCORES, together, strict=True):
        (alone,) = clean([name])
        pd.testing.assert_frame_equal(cell.samples, alone.samples, check_exact=True)
        same = {"seconds": 0.0}
        assert cell.meta.model_copy(update=same) == alone.meta.model_copy(update=same)


def test_the_figures_are_the_same_bits_as_without_sharing(clean, nothing_shared):
    shared = clean(SCORES)
    nothing_shared()
    for one, other in zip(shared, clean(SCORES), strict=True):
        np.testing.assert_array_equal(one.samples["score"], other.samples["score"])
        np.testing.assert_array_equal(one.samples["predicted"], other.samples["predicted"])


def made(scale=1.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = base.FromPixels(SmallConvNet(channels=(4, 4), hidden=5, outputs=3, size=8), mean=(0.5,)).eval()
    with torch.no_grad():
        next(network.parameters()).mul_(scale)
    return network


X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_other_weights_or_settings_are_another_network():
    settings = {"method": "small"}
    assert identity(made(), settings) == identity(made(), dict(settings))
    assert identity(made(), settings) != identity(made(1.5), settings)
    assert identity(made(), settings) != identity(made(), {"method": "small", "crop": 6})


def test_networks_of_one_token_alone_share(asked):
    passes = Passes()
    first, other = made(), made(1.5)
    with torch.no_grad():
        with passes.shared(first, {}):
            alone = first(X)
        with passes.shared(other, {}):
            assert not torch.equal(other(X), alone)
        with passes.shared(made(), {}):
            assert torch.equal(made()(X), alone)


def test_another_batch_is_another_one_in_pixels_shape_and_strides():
    passes, network = Passes(), made()
    calls = []
    with passes.shared(network, {}), torch.no_grad():
        for batch in (X, X + 1e-7, X[:2], X.to(memory_format=torch.channels_last), X.double(), X):
            network._recalled("ends", batch, lambda x: (calls.append(x), (x.sum(), x.sum()))[1])
    assert len(calls) == 5


def test_what_a_score_writes_into_its_logits_reaches_no_other():
    passes, network = Passes(), made()
    with passes.shared(network, {}), torch.no_grad():
        first = network(X)
        whole = first.clone()
        first.zero_()
        second = network(X)
        assert torch.equal(second, whole)
        second.zero_()
        assert torch.equal(network(X), whole)


def test_gradients_are_never_recalled(asked):
    passes, network = Passes(), made()
    with passes.shared(network, {}):
        leaf = X.clone().requires_grad_(True)
        for _ in range(2):
            network(leaf).sum().backward()
    assert asked[4] == 2 and leaf.grad.abs().sum() > 0


def test_no_more_is_kept_than_there_is_room_for(asked):
    network = made()
    with torch.no_grad():
        size = sum(part.nbytes for part in network.ends(X))
        asked.clear()
        passes = Passes(most_bytes=size)
        with passes.shared(network, {}):
            for batch in (X, 1 - X, X, 1 - X):
                network(batch)
    assert asked[4] == 3  # the second batch found no room, and is computed each time


def test_outside_of_it_nothing_is_shared(asked):
    passes, network = Passes(), made()
    with torch.no_grad():
        with passes.shared(network, {}):
            network(X)
        network(X)
        with passes.shared(None, {}), passes.shared(network, None):
            network(X)
    assert asked[4] == 3


def scored(network):
    return Energy(network, shape=(1, 8, 8), classes=3, params=Energy.Params())


class Noisy(SmallConvNet):
    """Its logits are others at every pass, which it does not say."""

    def activations(self, x):
        found = super().activations(x)
        return {**found, "logits": found["logits"] + torch.randn_like(found["logits"])}


def test_randomness_inside_a_network_whose_passes_are_shared_is_seen():
    network = base.FromPixels(Noisy(channels=(4, 4), hidden=5, outputs=3, size=8), mean=(0.5,)).eval()
    detector, passes = scored(network), Passes()
    with passes.shared(network, {}):
        recall = network.recall
        assert np.array_equal(*(score_images(detector, X, 4, Draws(torch.arange(4))) for _ in (0, 1)))
        assert asked_twice(detector, X, 4) > 0.1
        assert network.recall is recall
    with passes.shared(made(), {}):
        assert asked_twice(scored(made()), X, 4) == 0.0
