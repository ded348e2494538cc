"""Threats named LIBRARY:ATTACK have a card that is made from what the library says of them."""

import pytest
import torch

from bench.cards import threat_names
from bench.cards.catalog import Catalog
from bench.cards.threat import Knowledge, Norm, Side, ThreatCard
from bench.errors import UsageError


@pytest.fixture
def catalog(toy_cards) -> Catalog:
    return Catalog(toy_cards.root, builtin=toy_cards.root)


@pytest.mark.parametrize(
    ("name", "norm", "knowledge", "steps"),
    [
        ("foolbox:LinfPGD", Norm.LINF, Knowledge.GRADIENTS, 40),
        ("foolbox:L2PGD", Norm.L2, Knowledge.GRADIENTS, 50),
        ("foolbox:L2FastGradientAttack", Norm.L2, Knowledge.GRADIENTS, None),
        ("foolbox:BoundaryAttack", Norm.L2, Knowledge.SCORES, 25_000),
        ("foolbox:L1PGD", Norm.L1, Knowledge.GRADIENTS, 50),
        ("foolbox:L0FMNAttack", Norm.L0, Knowledge.GRADIENTS, 100),
        ("foolbox:GaussianBlurAttack@linf", Norm.LINF, Knowledge.SCORES, 1000),
    ],
)
def test_norm_knowledge_and_steps_are_those_of_the_attack(catalog, name, norm, knowledge, steps):
    card = catalog.threat(name)
    assert (card.name, card.norm, card.knowledge, card.params.get("steps")) == (name, norm, knowledge, steps)
    assert card.eps == threat_names.RADII[norm] and set(card.sides) == {Side.EVADE, Side.ALARM, Side.BOTH, Side.FOOL}


def test_another_version_of_the_library_is_another_cell(catalog, monkeypatch):
    hashes = set()
    for version in ("3.3.4", "9.9"):
        monkeypatch.setattr(threat_names, "version", lambda name, version=version: version)
        hashes.add(catalog.threat("foolbox:LinfPGD").content_hash())
    assert len(hashes) == 2


@pytest.mark.parametrize("library", ["foolbox", "torchattacks"])
def test_without_the_library_one_sentence_says_how_to_install_it(catalog, library, monkeypatch):
    def missing(name):
        raise threat_names.PackageNotFoundError(name)

    monkeypatch.setattr(threat_names, "version", missing)
    with pytest.raises(UsageError, match=rf"install it with `pip install 'robustood\[{library}\]'`"):
        catalog.threat(f"{library}:PGD")


def test_a_library_whose_extra_cannot_be_built_names_the_command_that_works(catalog, monkeypatch):
    def missing(name):
        raise threat_names.PackageNotFoundError(name)

    monkeypatch.setattr(threat_names, "version", missing)
    with pytest.raises(UsageError, match=r"install it with `pip install --no-deps adv-lib tqdm`\."):
        catalog.threat("adv-lib:ddn")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("foolbar:PGD", "such names are foolbox:ATTACK, torchattacks:ATTACK, adv-lib:ATTACK"),
        ("foolbox:", "such names are"),
        ("foolbox:a b", "such names are"),
        ("foolbox:PGD\x1b[2J", "such names are"),
        ("foolbox:LinfPDG", "did you mean LinfPGD"),
        ("foolbox:EveryPixel", "no attack 'EveryPixel' in the norms l2 or linf or l1 or l0"),
        ("foolbox:L1PGD@l2", "asks for the norm 'l2'; allowed are l1"),
        ("foolbox:LinfPGD@l2", "asks for the norm 'l2'; allowed are linf"),
        ("foolbox:GaussianBlurAttack", "write foolbox:GaussianBlurAttack@l2"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(catalog, name, sentence):
    with pytest.raises(UsageError) as error:
        catalog.threat(name)
    assert sentence in str(error.value) and "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_they_may_be_listed_beside_cards(catalog):
    assert catalog.expand("threat", "shove, foolbox:LinfPGD") == ["shove", "foolbox:LinfPGD"]


def test_every_attack_of_foolbox_that_is_offered_can_be_described(catalog):
    from bench.threat_models.external import foolbox

    known = foolbox.attacks()
    assert len(known) > 40
    for name, attack in known.items():
        norms = foolbox.describe(attack).norms
        assert isinstance(catalog.threat(f"foolbox:{name}" + ("" if norms else "@l2")), ThreatCard)


def test_making_a_card_leaves_the_random_state_alone(catalog):
    before = torch.get_rng_state()
    catalog.threat("foolbox:LinfPGD")
    assert torch.equal(torch.get_rng_state(), before)


def test_libraries_are_cited_as_they_ask_for_it():
    papers = {name: library.paper for name, library in threat_names.LIBRARIES.items()}
    assert {name: (paper.year, paper.url) for name, paper in papers.items()} == {
        "foolbox": (2020, "https://doi.org/10.21105/joss.02607"),
        "torchattacks": (2020, "https://arxiv.org/abs/2010.01950"),
        "adv-lib": (2020, "https://github.com/jeromerony/adversarial-library"),
    }


@pytest.mark.parametrize(
    ("name", "found"),
    [("foolbox:LinfPGD", True), ("torchattacks:", True), ("foolbox", False), ("pytorch-ood:KNN", False), (":", False)],
)
def test_a_library_and_a_colon_make_the_name_of_a_wrapped_threat(name, found):
    assert threat_names.is_adapted_threat(name) is found
