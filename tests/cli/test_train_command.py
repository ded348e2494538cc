"""What `bench train` says about the weights that came out, next to those of the card."""

import pytest
from toy_runs import bench, make_workspace

from bench.training.job import TrainedWeights
from bench.training.runner import TrainingReport

OWN, OTHER = "ab" * 32, "cd" * 32


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (None, "The card declares no sha256; write this one under its weights to pin them."),
        (OWN, "The same bytes as the card's weights."),
        (OTHER, f"The card declares {OTHER}: other bits."),
    ],
    ids=["none", "the same", "another"],
)
def test_the_new_weights_are_held_against_the_sha256_of_the_card(tmp_path, monkeypatch, expected, said):
    made = TrainedWeights(tmp_path / "dark.safetensors", OWN, expected, TrainingReport({"loss": 0.5}, 7, 3, 2.0))
    monkeypatch.setattr("bench.training.job.train_weights", lambda *args, **options: made)
    workspace = make_workspace(tmp_path / "toy")
    result = bench("train", "--detector", "dark", "--track", "toy", "--workspace", workspace)
    assert result.exit_code == 0, result.output
    printed = " ".join(result.stdout.split())
    assert f"sha256: {OWN}" in printed
    assert "7 steps in 2 s (went on from step 3): loss 0.5" in printed
    told = [sentence for sentence in ("declares no sha256", "The same bytes", "other bits") if sentence in printed]
    assert len(told) == 1
    assert said in printed


def test_a_curve_is_a_csv_file_with_a_line_a_point(tmp_path, monkeypatch):
    curve = ((10, {"loss": 0.5}), (20, {"loss": 0.25, "held-out AUROC": 0.75}))
    asked = {}

    def trained(*args, **options):
        asked.update(options)
        assert (tmp_path / "curve.csv").is_file()  # a place that cannot be written is told before the training
        return TrainedWeights(tmp_path / "dark.safetensors", OWN, OWN, TrainingReport({}, 20, 0, 2.0, curve))

    monkeypatch.setattr("bench.training.job.train_weights", trained)
    named = ("train", "--detector", "dark", "--track", "toy", "--workspace", make_workspace(tmp_path / "toy"))
    assert bench(*named, "--curve", tmp_path / "curve.csv").exit_code == 0
    assert (tmp_path / "curve.csv").read_text() == "step,loss,held-out AUROC\n10,0.5,\n20,0.25,0.75\n"
    assert asked["curve_points"] == 50
    nowhere = bench(*named, "--curve", tmp_path / "curve.csv" / "below.csv")
    assert nowhere.exit_code == 2 and "--curve" in nowhere.stderr
