"""Cards found by name and made from names: each value that could be another one without an error."""

from bench.cards.catalog import Catalog
from bench.cards.network import Base, RecordedSpec


def test_a_score_on_a_trained_detectors_network_has_its_files_and_of_its_figures_the_accuracy_alone():
    catalog = Catalog()
    trained = catalog.detector_spec("oe", "digits")
    assert trained.recorded.clean_auroc is not None and trained.training is not None
    recorded = RecordedSpec(id_accuracy=trained.recorded.id_accuracy)
    files = tuple(part.model_copy(update={"network_only": True}) for part in trained.weights)
    base = catalog.base("oe", "digits")
    assert base == Base("oe", False, trained.network, files, None, recorded, trained.micro_batch)
    spec = catalog.detector_spec("energy@oe", "digits")
    assert (spec.name, spec.recorded, spec.training) == ("energy@oe", recorded, None)
    assert all(part.network_only for part in base.weights) and not any(part.network_only for part in trained.weights)
