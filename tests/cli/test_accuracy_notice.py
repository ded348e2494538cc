"""A run says where a network classifies few images rightly: its table alone would not show a wrong mean."""

from types import SimpleNamespace

from bench.cli.run import _inaccurate


def done(detector, accuracy):
    return SimpleNamespace(meta=SimpleNamespace(detector=detector, track="mine", id_accuracy=accuracy))


def test_detectors_of_an_inaccurate_network_are_named_once():
    cells = [done("knn", 0.215), done("msp", 0.215), done("knn", 0.215), done("gat", None), done("oe", 0.9)]
    (sentence,) = _inaccurate(cells)
    assert sentence.startswith("knn, msp: the network classifies 21.5% of the ID test images of mine correctly")
    assert _inaccurate(cells[3:]) == []
