import numpy as np
import pytest
import torch

from bench import randomness

IDS = torch.arange(50) + (123 << 31)


def test_numbers_are_a_function_of_seed_id_and_draw_alone():
    whole = randomness.uniform(3, IDS, 2, (7,))
    shuffled = torch.randperm(len(IDS))
    assert torch.equal(randomness.uniform(3, IDS[shuffled], 2, (7,)), whole[shuffled])
    assert torch.equal(randomness.uniform(3, IDS[4:5], 2, (7,)), whole[4:5])


def test_no_seed_draw_and_id_share_their_numbers_with_others():
    rows = [randomness.uniform(seed, IDS, draw, (2,)) for seed in range(20) for draw in range(10)]
    assert len(torch.unique(torch.cat(rows), dim=0)) == 20 * 10 * len(IDS)


def test_numbers_are_uniform_and_independent():
    numbers = randomness.uniform(0, IDS, 0, (4000,)).double()
    assert numbers.min() > 0 and numbers.max() < 1
    histogram = np.histogram(numbers.flatten(), bins=20, range=(0, 1))[0] / numbers.numel()
    assert histogram == pytest.approx(0.05, abs=6 * (0.05 * 0.95 / numbers.numel()) ** 0.5)
    across = torch.corrcoef(numbers)[~torch.eye(len(IDS), dtype=torch.bool)]
    assert across.abs().max() < 6 / 4000**0.5


@pytest.mark.parametrize("count", [1, 2, 9, 4001])
def test_normal_numbers_have_the_shape_asked_for(count):
    assert randomness.normal(0, IDS, 0, (count,)).shape == (len(IDS), count)


def test_normal_numbers_have_mean_zero_and_variance_one():
    numbers = randomness.normal(1, IDS, 0, (1, 32, 32)).double()
    assert float(numbers.mean()) == pytest.approx(0, abs=6 / numbers.numel() ** 0.5)
    assert float(numbers.var()) == pytest.approx(1, abs=6 * (2 / numbers.numel()) ** 0.5)
    assert float((numbers**4).mean()) == pytest.approx(3, abs=6 * (96 / numbers.numel()) ** 0.5)


def test_the_global_generator_has_no_part_in_it():
    before = torch.get_rng_state()
    first = randomness.normal(0, IDS, 0, (3,))
    torch.manual_seed(5)
    assert torch.equal(randomness.normal(0, IDS, 0, (3,)), first)
    torch.set_rng_state(before)


def test_derived_seeds_depend_on_every_part():
    assert len({randomness.derive_seed(*parts) for parts in ((1, 2), (12,), (2, 1), (1, 2, 0))}) == 4
