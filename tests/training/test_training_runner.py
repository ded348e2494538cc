import pytest
import torch

from bench.detectors.msp import MSP, MSPParams
from bench.detectors.weights import save_tensors
from bench.errors import WeightsError
from bench.training import runner
from bench.training.base import Recipe, seeded
from bench.training.classifier import Classifier
from bench.training.runner import train


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(seed: int = 0) -> Classifier:
        detector = MSP(tiny_network(2), shape=(1, 8, 8), classes=2, params=MSPParams())
        return Classifier(detector, toy_data, {"steps": 12, "batch_size": 8}, seed=seed)

    return build


class Interrupted:
    """Lets a recipe take some steps and then presses Ctrl-C."""

    def __init__(self, recipe: Recipe, after: int) -> None:
        self.step, self.after = recipe.step, after
        recipe.step = self  # type: ignore[method-assign]

    def __call__(self, number: int, generator: torch.Generator) -> dict[str, float]:
        if number == self.after:
            raise KeyboardInterrupt
        return self.step(number, generator)


def states_equal(one: Recipe, other: Recipe) -> bool:
    pairs = zip(one.detector.state_dict().values(), other.detector.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(recipe, tmp_path):
    first, second, third = recipe(), recipe(), recipe(seed=1)
    for number, one in enumerate((first, second, third)):
        train(one, checkpoint=tmp_path / f"{number}.safetensors", identity="x")
    assert states_equal(first, second)
    assert not states_equal(first, third)


def test_every_step_draws_from_a_generator_of_its_own_by_seed_and_number(recipe, tmp_path):
    one, drawn = recipe(seed=4), []
    step = one.step

    def seen(number: int, generator: torch.Generator) -> dict[str, float]:
        drawn.append(generator.initial_seed())
        return step(number, generator)

    one.step = seen
    train(one, checkpoint=tmp_path / "one.safetensors", identity="x")
    assert drawn == [seeded(4, "step", number).initial_seed() for number in range(12)]
    assert len(set(drawn)) == 12


def test_an_interrupted_training_ends_with_the_same_bits(recipe, tmp_path):
    whole, broken, resumed = recipe(), recipe(), recipe()
    train(whole, checkpoint=tmp_path / "whole.safetensors", identity="x")
    Interrupted(broken, after=5)
    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=tmp_path / "broken.safetensors", identity="x")
    report = train(resumed, checkpoint=tmp_path / "broken.safetensors", identity="x")
    assert (report.resumed_at, report.steps) == (5, 7)
    assert states_equal(whole, resumed)


def test_a_checkpoint_of_another_training_is_not_used(recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    broken = recipe()
    Interrupted(broken, after=5)
    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=checkpoint, identity="one")
    assert train(recipe(), checkpoint=checkpoint, identity="another").resumed_at == 0


def test_a_broken_checkpoint_is_one_sentence(recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(WeightsError, match="remove it to start afresh"):
        train(recipe(), checkpoint=checkpoint, identity="x")


def test_a_checkpoint_that_lacks_tensors_is_one_sentence(recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    save_tensors(checkpoint, {"a": torch.zeros(1)}, {"progress": '{"identity": "x", "step": 3}'})
    with pytest.raises(WeightsError, match="remove it to start afresh"):
        train(recipe(), checkpoint=checkpoint, identity="x")


def test_a_checkpoint_of_which_one_bit_changed_is_not_gone_on_from(recipe, tmp_path):
    checkpoint, broken = tmp_path / "checkpoint.safetensors", recipe()
    Interrupted(broken, after=5)
    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=checkpoint, identity="x")
    content = bytearray(checkpoint.read_bytes())
    content[-40] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(WeightsError, match="differs from its sha256"):
        train(recipe(), checkpoint=checkpoint, identity="x")


def test_a_file_of_the_users_own_under_the_name_of_a_checkpoint_is_neither_replaced_nor_removed(recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    save_tensors(checkpoint, {"mine": torch.ones(3)})
    before = checkpoint.read_bytes()
    with pytest.raises(WeightsError, match="of no training"):
        train(recipe(), checkpoint=checkpoint, identity="x")
    runner.discard(checkpoint)
    assert checkpoint.read_bytes() == before


def test_checkpoints_are_written_on_the_way(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "CHECKPOINT_EVERY_S", 0.0)
    train(recipe(), checkpoint=tmp_path / "checkpoint.safetensors", identity="x")
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_progress_is_told_with_loss_and_accuracy(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "REPORT_EVERY_S", 0.0)
    heard: list[tuple[int, int, str]] = []
    train(recipe(), checkpoint=tmp_path / "c.safetensors", identity="x", progress=lambda *told: heard.append(told))
    assert heard[0][:2] == (1, 12)
    assert "loss" in heard[0][2]
    assert "ID accuracy" in heard[0][2]


def test_training_leaves_the_global_generator_alone(recipe, tmp_path):
    before = torch.get_rng_state()
    train(recipe(), checkpoint=tmp_path / "c.safetensors", identity="x")
    assert torch.equal(before, torch.get_rng_state())


def test_every_step_is_taken_in_training_mode_whatever_the_detector_came_in(recipe, tmp_path):
    class Watched:
        def __init__(self, recipe: Recipe) -> None:
            self.step, self.modes, self.detector = recipe.step, [], recipe.detector
            recipe.step = self  # type: ignore[method-assign]

        def __call__(self, number: int, generator: torch.Generator) -> dict[str, float]:
            self.modes.append({module.training for module in self.detector.modules()})
            return self.step(number, generator)

    built = recipe()
    built.detector.eval()
    watched = Watched(built)
    train(built, checkpoint=tmp_path / "c.safetensors", identity="x")
    assert watched.modes == [{True}] * 12


def test_a_curve_has_the_means_of_its_steps_and_what_the_recipe_traces(recipe, tmp_path, monkeypatch):
    made = recipe()
    seen = []
    step = made.step
    monkeypatch.setattr(made, "step", lambda *args: seen.append(step(*args)) or seen[-1])
    monkeypatch.setattr(made, "traced", lambda: {"steps so far": float(len(seen)), "training": made.detector.training})
    total = made.total_steps
    found = train(made, checkpoint=tmp_path / "c", identity="a", curve_every=total - 1)
    assert [number for number, _ in found.curve] == [total - 1, total]
    losses = [one["loss"] for one in seen]
    assert found.curve[0][1]["loss"] == pytest.approx(sum(losses[:-1]) / (total - 1))
    assert found.curve[1][1]["loss"] == losses[-1]
    assert [point["steps so far"] for _, point in found.curve] == [total - 1, total]
    assert not any(point["training"] for _, point in found.curve)
    assert train(recipe(), checkpoint=tmp_path / "d", identity="a").curve == ()
