import dataclasses

import pytest
import torch

from bench.detectors.committee import GATCommittee
from bench.detectors.msp import MSP, MSPParams
from bench.errors import DataError, UsageError
from bench.training.base import seeded
from bench.training.committee import CommitteeGAT, ImagesByClass
from bench.training.runner import train

SHAPE = (1, 8, 8)
PLAIN = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "turn_outliers": False, "batch_size": 8}


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(data=toy_data, **args: object) -> CommitteeGAT:
        params = GATCommittee.Params(channels=(4, 4), hidden=8)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            detector = GATCommittee(tiny_network(2), shape=SHAPE, classes=2, params=params)
        return CommitteeGAT(detector, data, {**PLAIN, **args}, seed=0)

    return build


def is_stripes(images: torch.Tensor) -> torch.Tensor:
    """Whether the toy's outliers are shown, whose even columns are far brighter than the odd ones."""
    return (images[..., ::2].mean(dim=(-3, -2, -1)) - images[..., 1::2].mean(dim=(-3, -2, -1))) > 0.4


def is_bright(images: torch.Tensor) -> torch.Tensor:
    """Whether the toy's class 1 is shown."""
    return images.mean(dim=(-3, -2, -1)) > 0.55


def test_accepted_images_are_of_the_members_own_class(recipe):
    accepted, _ = recipe(batch_size=32).sample(seeded(0, "batch"))
    assert accepted.shape == (2, 32, *SHAPE)
    assert not is_bright(accepted[0]).any()
    assert is_bright(accepted[1]).all()


def test_attacked_images_are_of_other_classes_and_outliers_in_the_given_shares(recipe):
    _, attacked = recipe(batch_size=8, outliers=0.25).sample(seeded(0, "batch"))
    assert attacked.shape == (2, 8, *SHAPE)
    assert is_stripes(attacked).sum(dim=1).tolist() == [2, 2]
    assert is_bright(attacked[0, :6]).all()
    assert not is_bright(attacked[1, :6]).any()


@pytest.mark.parametrize(("share", "stripes"), [(0.0, 0), (1.0, 8)])
def test_the_attacked_images_can_be_all_of_one_kind(recipe, share, stripes):
    _, attacked = recipe(batch_size=8, outliers=share).sample(seeded(0, "batch"))
    assert is_stripes(attacked).sum(dim=1).tolist() == [stripes, stripes]


def test_the_attacked_images_of_a_committee_of_one_are_outliers(toy_data, tiny_network):
    params = GATCommittee.Params(channels=(4, 4), hidden=8)
    detector = GATCommittee(tiny_network(1), shape=SHAPE, classes=1, params=params)
    own = dataclasses.replace(toy_data.train, labels=torch.zeros_like(toy_data.train.labels))
    alone = CommitteeGAT(detector, dataclasses.replace(toy_data, train=own), {**PLAIN, "outliers": 0.25}, seed=0)
    accepted, attacked = alone.sample(seeded(0, "batch"))
    assert accepted.shape == attacked.shape == (1, 8, *SHAPE)
    assert not is_stripes(accepted).any()
    assert is_stripes(attacked).all()


def test_ascent_stays_in_ball_and_box(recipe):
    x = torch.rand(2, 16, *SHAPE)
    moved = recipe(ascent_steps=10, step_size=0.5).ascend(x, 0.8)
    assert float((moved - x).flatten(2).norm(dim=2).max()) <= 0.8 * (1 + 1e-5)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_ascent_raises_the_logit_of_every_images_own_member(recipe):
    built, x = recipe(), 0.2 + 0.6 * torch.rand(2, 16, *SHAPE)
    moved = built.ascend(x, 0.5)
    with torch.no_grad():
        for member, before, after in zip(built.members, x, moved, strict=True):
            assert bool((member(after) > member(before)).all())


def test_one_step_of_ascent_is_equation_3(recipe):
    built = recipe(ascent_steps=1, step_size=0.3, eps=1.0)
    x = 0.3 + 0.4 * torch.rand(2, 3, *SHAPE)
    moved = built.ascend(x, 1.0)
    for member, images, result in zip(built.members, x, moved, strict=True):
        for image, given in zip(images, result, strict=True):
            leaf = image[None].clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(torch.log(torch.sigmoid(member(leaf))).sum(), leaf)
            torch.testing.assert_close(given, (leaf + 0.3 * gradient / gradient.norm())[0].detach())


def test_the_radius_grows_to_its_maximum(recipe):
    built = recipe(steps=10, growth=0.5, eps=2.0)
    assert [built.eps_at(i) for i in (0, 1, 4, 5, 9)] == pytest.approx([0, 0.4, 1.6, 2, 2])


def test_the_radius_can_be_whole_from_the_start(recipe):
    assert recipe(steps=10, growth=0.0, eps=2.0).eps_at(1) == 2.0


def test_at_radius_zero_nothing_moves(recipe):
    x = torch.rand(2, 3, *SHAPE)
    assert torch.equal(recipe().ascend(x, 0.0), x)


def test_the_pass_over_all_members_gives_the_logits_of_each(recipe):
    built, x = recipe(), torch.rand(2, 5, *SHAPE)
    expected = torch.stack([member(images)[:, 0] for member, images in zip(built.members, x, strict=True)])
    torch.testing.assert_close(built.logits(built._stacked(), x), expected)


def test_a_committee_learns_to_reject_attacked_images(recipe, toy_data, tmp_path):
    built = recipe(steps=120, eps=0.5, step_size=0.2, ascent_steps=4, lr=0.01)
    train(built, checkpoint=tmp_path / "c.safetensors", identity="x")
    with torch.no_grad():
        inside = built.detector.member_logits(toy_data.calibration.pixels(), toy_data.calibration.labels)
    attacked = built.ascend(toy_data.outliers.pixels()[None].expand(2, -1, -1, -1, -1), 0.5)
    with torch.no_grad():
        outside = built.logits(built._stacked(), attacked)
    assert inside.median() > 0 > outside.median(dim=1).values.max()


def test_the_classifier_stays_as_it_is(recipe, tmp_path):
    built = recipe(steps=3)
    before = {k: v.clone() for k, v in built.detector.network.state_dict().items()}
    members = {k: v.clone() for k, v in built.detector.members.state_dict().items()}
    train(built, checkpoint=tmp_path / "c.safetensors", identity="x")
    assert all(torch.equal(v, before[k]) for k, v in built.detector.network.state_dict().items())
    assert not any(torch.equal(v, members[k]) for k, v in built.detector.members.state_dict().items())


def test_an_interrupted_training_of_all_members_ends_with_the_same_bits(recipe, trained_whole_and_resumed):
    args = {"steps": 6, "eps": 0.5, "growth": 0.2, "step_size": 0.2, "ascent_steps": 2}
    whole, resumed = trained_whole_and_resumed(lambda: recipe(**args), at=4)
    after = resumed.detector.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in whole.detector.state_dict().items())


def test_members_start_apart(recipe, tmp_path):
    built = recipe(steps=1)
    train(built, checkpoint=tmp_path / "c.safetensors", identity="x")
    assert not torch.equal(built.members[0].hidden.weight, built.members[1].hidden.weight)


def test_without_outliers_it_is_refused_in_a_sentence(recipe, toy_data):
    with pytest.raises(DataError, match="needs training outliers"):
        recipe(dataclasses.replace(toy_data, outliers=None))


def test_a_class_without_images_is_named(toy_data):
    with pytest.raises(DataError, match=r"no training image has label \[2\]"):
        ImagesByClass(toy_data.train, 3, torch.device("cpu"))


def test_images_are_drawn_from_all_of_their_class(toy_data):
    by_class = ImagesByClass(toy_data.train, 2, torch.device("cpu"))
    drawn = by_class.pick(torch.ones(400, dtype=torch.int64), seeded(0, "batch"))
    whole = toy_data.train.pixels()[toy_data.train.labels == 1]
    assert len(drawn.unique(dim=0)) == len(whole) == 20
    assert is_bright(drawn).all()


def test_another_detector_is_refused_in_a_sentence(toy_data, tiny_network):
    detector = MSP(tiny_network(2), shape=SHAPE, classes=2, params=MSPParams())
    with pytest.raises(UsageError, match="the detector is a MSP"):
        CommitteeGAT(detector, toy_data, {}, seed=0)
