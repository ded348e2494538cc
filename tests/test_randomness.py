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


def naive_mix(x):
    """The finaliser of splitmix64 on Python's whole numbers, modulo 2^64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def naive_uniform(seed, sample, draw, count):
    key = naive_mix(naive_mix(sample % 2**64) ^ randomness.derive_seed("seed", seed))
    key = naive_mix(key ^ randomness.derive_seed("draw", draw))
    bits = [naive_mix((key + step * 0x9E3779B97F4A7C15) % 2**64) for step in range(1, count + 1)]
    return [((number >> 40) + 0.5) / 2**24 for number in bits]


SOME = torch.tensor([0, 1, 5_000_000_000, -3, 2**63 - 1])


def test_numbers_are_those_of_splitmix64_of_seed_id_and_draw():
    found = randomness.uniform_draws(7, SOME, [2, 9], (2, 3))
    assert found.shape == (2, 5, 2, 3)
    assert found.dtype == torch.float32
    naive = [[naive_uniform(7, sample, draw, 6) for sample in SOME.tolist()] for draw in (2, 9)]
    assert torch.equal(found.reshape(2, 5, 6), torch.tensor(naive))
    assert torch.equal(randomness.uniform(7, SOME, 9, (2, 3)), found[1])


def test_numbers_stay_what_they_were():
    """In units of 2^-25: results that are stored depend on them."""
    assert [int(number * 2**25) for number in randomness.uniform(7, SOME[:4], 2, (2,)).double().flatten()] == [
        15433973, 2716249, 21138496, 20985096, 24912212, 3877751, 31189764, 28395508
    ]  # fmt: skip
    assert randomness.derive_seed("draw", 0) == 3409891126584013836
    assert randomness.derive_seed(1, 2) == 646312198828523517
    assert randomness.derive_seed() == 8203414616412130826


@pytest.mark.parametrize("count", [1, 2, 5])
def test_normal_numbers_are_box_and_mullers_of_the_uniform_ones(count):
    half = (count + 1) // 2
    u = randomness.uniform(7, SOME, 2, (2, half)).double().numpy()
    radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
    # float32 logarithms, roots and cosines, whose arguments are rounded to 5e-7
    assert randomness.normal(7, SOME, 2, (count,)).numpy() == pytest.approx(expected, abs=1e-5)
