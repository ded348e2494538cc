"""The layers of Glow against the change of variables by autograd, their inverses, and another implementation."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from bench.detectors.networks.flow import Flow, class_log_densities
from bench.detectors.networks.flow_layers import (
    ActNorm,
    AffineCoupling,
    GlowBlock,
    InvertibleConvolution,
    bounded,
    total,
)
from bench.detectors.networks.priors import SUBSPACE_DEVIATION, ClassGaussians, NeighbourPrior, SubspaceGaussians
from bench.errors import InputError

SHAPE = (2, 4, 4)
LAYERS = {
    "actnorm": lambda: ActNorm(4),
    "convolution": lambda: InvertibleConvolution(4),
    "coupling": lambda: AffineCoupling(4, 5),
    "block": lambda: GlowBlock(4, 5),
}


def shaken(module, scale=0.3):
    """The same module with parameters that are not those of its start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def log_determinant(function, x):
    """log|det| of the Jacobian at the single point x, by autograd."""
    jacobian = torch.autograd.functional.jacobian(lambda v: function(v[None])[0].flatten(), x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


@pytest.mark.parametrize("name", LAYERS)
def test_the_log_determinant_of_a_layer_is_that_of_its_jacobian(name):
    layer = shaken(LAYERS[name]()).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    given = layer(x[None])[1].reshape(())
    torch.testing.assert_close(given, log_determinant(lambda v: layer(v)[0], x))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_inverted(name):
    layer = shaken(LAYERS[name]()).double()
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_log_determinant_of_the_flow_is_that_of_its_jacobian(channels):
    flow = shaken(Flow((channels, 4, 4), blocks=(1, 2), hidden=(4, 4)), 0.2).double()
    v = torch.randn(channels, 4, 4, dtype=torch.float64)

    def latent_vector(images):
        return torch.cat([z.flatten(1) for z in flow(images)[0]], dim=1)

    latents, density = flow(v[None])
    of_priors = flow.priors[0](latents[0], staying(flow, v[None]))
    torch.testing.assert_close(density - of_priors, log_determinant(latent_vector, v)[None])


def staying(flow, v):
    """The half of the channels that the second level starts from."""
    x = torch.nn.functional.pixel_unshuffle(v, 2) if flow.first_squeeze else v
    for block in flow.levels[0]:
        x, _ = block(x)
    return torch.nn.functional.pixel_unshuffle(x, 2).chunk(2, dim=1)[1]  # after one block


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_flow_is_inverted_in_float32(channels):
    flow = shaken(Flow((channels, 16, 16), blocks=(2, 2, 2), hidden=(8, 8, 8)), 0.1)
    v = torch.rand(4, channels, 16, 16) - 0.5
    flow.initialise(v)
    with torch.no_grad():
        assert (flow.inverse(flow(v)[0]) - v).abs().max() < 1e-4


def test_latent_numbers_are_as_many_as_pixels():
    latents, _ = Flow((2, 16, 16), blocks=(1, 1, 1, 1), hidden=(4, 4, 4, 4))(torch.rand(3, 2, 16, 16))
    assert sum(z[0].numel() for z in latents) == 2 * 16 * 16
    assert [tuple(z.shape[1:]) for z in latents] == [(4, 8, 8), (8, 4, 4), (16, 2, 2), (16, 2, 2)]


@pytest.mark.parametrize("count", [1, 2])
def test_of_a_new_flow_the_channels_that_were_appended_leave_first(count):
    v = torch.rand(2, 2, 4, 4)
    (leaving, staying_on), _ = Flow((2, 4, 4), blocks=(count, 2), hidden=(4, 4))(v)
    for given, channel in ((staying_on, 0), (leaving, 1)):
        assert torch.equal(given.flatten(1).sort().values, v[:, channel].flatten(1).sort().values)


def test_initialisation_gives_every_actnorm_outputs_of_mean_zero_and_variance_one():
    flow = shaken(Flow((2, 8, 8), blocks=(2, 2), hidden=(4, 4)))
    v = 3.0 * torch.rand(16, 2, 8, 8) + 1.0
    flow.initialise(v)
    seen = []
    hooks = [b.norm.register_forward_hook(lambda _, __, out: seen.append(out[0])) for lv in flow.levels for b in lv]
    flow(v)
    assert len(hooks) == len(seen) == 4
    for out in seen:
        torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(out.std(dim=(0, 2, 3), correction=0), torch.ones(out.shape[1]), atol=1e-3, rtol=0)


def test_a_constant_channel_does_not_divide_by_zero():
    norm = ActNorm(2)
    norm.initialise(torch.ones(4, 2, 3, 3))
    assert norm(torch.ones(4, 2, 3, 3))[0].abs().max() == 0.0


def test_a_new_coupling_is_the_identity():
    x = torch.randn(2, 4, 5, 5)
    out, log_det = AffineCoupling(4, 6)(x)
    assert torch.equal(out, x)
    assert not log_det.any()


def test_a_new_convolution_turns_the_order_of_channels_around():
    x = torch.randn(2, 4, 5, 5)
    out, log_det = InvertibleConvolution(4)(x)
    assert torch.equal(out, x.flip(1))
    assert log_det == 0.0


@pytest.mark.parametrize("make", [*LAYERS.values(), lambda: ClassGaussians(3, 5), lambda: SubspaceGaussians(3, 5)])
def test_parameters_are_reset_to_those_of_a_new_module(make):
    torch.manual_seed(1)
    new = make()
    used = shaken(make())
    torch.manual_seed(1)
    for module in used.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for name, value in new.state_dict().items():
        assert value.shape == used.state_dict()[name].shape
        if float(value.std()) == 0.0:  # constants at the start; the drawn ones come in another order
            assert torch.equal(value, used.state_dict()[name]), name


def test_bounded_is_the_identity_near_zero_and_never_beyond_its_bound():
    assert bounded(torch.tensor(1e-3), 2.0) == pytest.approx(1e-3, rel=1e-5)
    assert bounded(torch.tensor([-1e4, 1e4]), 2.0).tolist() == [-2.0, 2.0]


def test_sums_are_in_float64():
    x = torch.tensor([[1e8, 1.0, -1e8]])
    assert total(x).item() == 1.0


def test_class_gaussians_are_independent_normals():
    prior = shaken(ClassGaussians(3, 6)).double()
    z = torch.randn(5, 6, dtype=torch.float64)
    for y in range(3):
        normal = Independent(Normal(prior.mean[y], prior.log_deviation[y].exp()), 1)
        torch.testing.assert_close(prior(z)[:, y], normal.log_prob(z))


def test_a_new_neighbour_prior_is_a_standard_normal():
    leaving, near = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    expected = Normal(0.0, 1.0).log_prob(leaving.double()).sum(dim=(1, 2, 3))
    torch.testing.assert_close(NeighbourPrior(2)(leaving, near), expected, rtol=1e-5, atol=1e-5)


def test_the_subspace_has_the_unit_vectors_as_class_means():
    prior = SubspaceGaussians(3, 5).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    for y in range(3):
        normal = Normal(torch.eye(3, dtype=torch.float64)[y], SUBSPACE_DEVIATION)
        torch.testing.assert_close(prior.class_logits(z)[:, y], normal.log_prob(z[:, :3]).sum(1))
    rest = Normal(0.0, 1.0).log_prob(z[:, 3:]).sum(1)  # a standard normal at the start
    torch.testing.assert_close(prior(z), prior.class_logits(z) + rest[:, None])


@pytest.mark.parametrize("make", [ClassGaussians, SubspaceGaussians])
def test_each_class_has_a_density_that_integrates_to_one(make):
    prior = shaken(make(1, 2), 0.2).double()
    grid = torch.linspace(-8, 8, 801, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        mass = prior(z)[:, 0].exp().sum() * (grid[1] - grid[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-6)


def test_a_flow_at_its_start_has_the_density_of_standard_normals():
    flow, prior = Flow((2, 8, 8), blocks=(1, 2), hidden=(4, 4)), ClassGaussians(2, 4 * 4 * 4)
    v = torch.randn(3, 2, 8, 8)
    expected = -0.5 * (v.double() ** 2).sum(dim=(1, 2, 3)) - 64 * math.log(2 * math.pi)
    torch.testing.assert_close(class_log_densities(flow, prior, v)[:, 1], expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "blocks", "hidden"),
    [((2, 6, 6), (1, 1, 1), (4, 4, 4)), ((1, 5, 5), (1,), (4,)), ((2, 8, 8), (1,), (4, 4))],
)
def test_levels_that_do_not_fit_the_image_are_refused(shape, blocks, hidden):
    with pytest.raises(InputError, match="levels"):
        Flow(shape, blocks, hidden)


def test_a_subspace_larger_than_the_latent_space_is_refused():
    with pytest.raises(InputError, match="fewer levels"):
        SubspaceGaussians(10, 10)


class TestParityWithNormflows:
    """The same layers as normflows has, whose data-to-latent direction is called inverse (actnorm, 1x1)."""

    @pytest.fixture(autouse=True)
    def _normflows(self):
        self.normflows = pytest.importorskip("normflows")

    def test_affine_coupling(self):
        ours = shaken(AffineCoupling(4, 5)).double()
        x = torch.randn(3, 4, 6, 6, dtype=torch.float64)

        def interleaved(kept):
            log_scale, shift = ours.log_scale_and_shift(kept)
            return torch.stack([shift, log_scale], dim=2).flatten(1, 2)

        class Map(torch.nn.Module):
            def forward(self, kept):
                return interleaved(kept)

        theirs = self.normflows.flows.AffineCoupling(Map(), scale_map="exp")
        (kept, moved), log_det = theirs(list(x.chunk(2, dim=1)))
        out, ours_log_det = ours(x)
        torch.testing.assert_close(out, torch.cat([kept, moved], dim=1))
        torch.testing.assert_close(ours_log_det, log_det)

    def test_invertible_convolution(self):
        theirs = shaken(self.normflows.flows.Invertible1x1Conv(6, use_lu=True)).double()
        ours = InvertibleConvolution(6).double()
        with torch.no_grad():
            for name, value in (
                ("permutation", theirs.P),
                ("lower", theirs.L),
                ("upper", theirs.U),
                ("sign", theirs.sign_S),
                ("log_diagonal", theirs.log_S),
            ):
                getattr(ours, name).copy_(value)
        x = torch.randn(3, 6, 5, 4, dtype=torch.float64)
        out, log_det = theirs.inverse(x)
        torch.testing.assert_close(ours(x)[0], out)
        torch.testing.assert_close(ours(x)[1], log_det)

    def test_actnorm_after_its_first_batch(self):
        x = 2.0 * torch.randn(8, 3, 5, 5) + 1.0
        theirs, ours = self.normflows.flows.ActNorm((3, 1, 1)), ActNorm(3)
        ours.initialise(x)
        out, log_det = theirs(x)
        given, ours_log_det = ours(x)
        scale = math.sqrt(199 / 200)  # theirs divides by n - 1, and n is 8 x 5 x 5
        torch.testing.assert_close(given * scale, out, rtol=1e-4, atol=1e-5)
        assert (ours_log_det + 25 * 3 * math.log(scale)).item() == pytest.approx(log_det.item(), abs=1e-3)
