"""What the documentation tells a stranger to do with a detector, or a model, of their own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.cli.app import app

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = ("--limit", "10", "--quiet")
SHORT = (*SMALL, "--eps", "l2:1", "--eps", "linf:0.1", "--steps", "3", "--restarts", "2")


def folder_of(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("runs", "weights", "*.pt", "*.pt2"))
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return folder_of("own-detector", tmp_path_factory)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = folder_of("own-model", tmp_path_factory)
    made = run(sys.executable, "-W", "ignore", "my_model.py", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def here(model_folder, monkeypatch) -> Callable[..., Any]:
    """Runs `bench` in this process, in the folder of the example."""
    monkeypatch.chdir(model_folder)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Not `-m`: the installed command does not have the current folder on its path either.
    return run(
        sys.executable,
        "-c",
        "import sys; sys.path.remove(''); import bench.__main__ as b; b.main()",
        *arguments,
        cwd=cwd,
    )


def scores_in(store: Path) -> dict[tuple[str, str], float]:
    """Mean AUROC by detector and threat."""
    cells = [json.loads(file.read_text()) for file in store.glob("cells/*/*/cell.json")]
    return {(cell["detector"], cell["threat"]): (cell["mean"] or {}).get("auroc") for cell in cells}


def test_a_detector_of_ones_own_is_fitted_and_attacked_by_every_threat_from_its_own_folder(workspace):
    ran = bench("run", "--detector", "nearest-mean", "--threat", "all", *SHORT, "--limit", "5", cwd=workspace)
    assert ran.returncode == 0, ran.stderr
    found = {threat for _, threat in scores_in(workspace / "runs")}
    cards = [Catalog().threat(name) for name in Catalog().names("threat")]
    attacks = {card.name for card in cards if card.sides[0] is not Side.FOOL and not card.name.startswith("each-")}
    assert attacks <= found


def test_a_detector_of_ones_own_stands_on_any_network(workspace):
    ran = bench("run", "--detector", "nearest-mean@oe", "--threat", "clean", *SMALL, "--out", "oe", cwd=workspace)
    assert ran.returncode == 0, ran.stderr
    assert set(scores_in(workspace / "oe")) == {("nearest-mean@oe", "clean")}


def test_a_model_of_ones_own_is_attacked_by_every_threat_that_needs_no_classes(model_folder):
    options = ("--detector", "callable:my_model:score", "--threat", "all", *SHORT, "--limit", "5", "--out", "every")
    ran = bench("run", *options, cwd=model_folder)
    assert ran.returncode == 0, ran.stderr
    found = {threat for _, threat in scores_in(model_folder / "every")}
    cards = [Catalog().threat(name) for name in Catalog().names("threat")]
    assert found == {
        card.name for card in cards if card.sides[0] is not Side.FOOL and not card.name.startswith("each-")
    }
    assert "notice: left out" in ran.stderr and "predicts no classes" in ran.stderr


def test_a_threat_that_is_named_is_not_left_out(tmp_path):
    ran = bench("run", "--detector", "control-certified", "--threat", "deepfool-l2", *SMALL, cwd=tmp_path)
    assert ran.returncode == 2
    assert "error:" in ran.stderr and "predicts no classes" in ran.stderr and "left out" not in ran.stderr


def test_their_modules_are_as_short_as_promised():
    for name, most in (("own-detector/nearest_mean.py", 12), ("own-threat/brightness.py", 10)):
        lines = (EXAMPLES / name).read_text().splitlines()
        assert len([line for line in lines if line.strip() and not line.strip().startswith('"""')]) <= most, name


def test_a_model_of_ones_own_scores_the_same_as_function_module_and_program(model_folder, here):
    names = ("callable:my_model:score", "callable:my_model:module", "file:strokes.pt2", "file:strokes.pt")
    attack = ("--threat", "pgd-l2", "--eps", "1", "--steps", "3", "--restarts", "2")
    command = ("run", "--detector", ",".join(names), *attack, *SMALL)
    ran = bench(*command, cwd=model_folder)
    assert ran.returncode == 0, ran.stderr
    found = scores_in(model_folder / "runs")
    assert {name for name, _ in found} == set(names)
    for threat in ("clean", "pgd-l2"):
        assert max(found[n, threat] for n in names) == pytest.approx(min(found[n, threat] for n in names), abs=1e-6)
    assert found[names[0], "pgd-l2"] < found[names[0], "clean"]
    again = here(*command)
    assert "0 computed, 8 from the store" in again.stdout


def test_a_model_without_a_gradient_is_attacked_by_scores_and_refused_to_gradients(here):
    options = ("--detector", "callable:my_model:black_box", "--eps", "1", "--out", "black", *SMALL)
    ran = here("run", "--threat", "noise-l2", *options)
    assert ran.exit_code == 0, ran.stderr
    refused = here("run", "--threat", "pgd-l2", *options)
    assert refused.exit_code == 2
    assert "would only seem to be robust; choose a threat that asks for scores: " in refused.stderr
    assert "noise-l2" in refused.stderr
    assert {threat for _, threat in scores_in(Path("black"))} == {"clean", "noise-l2"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("callable:my_model:scor", "did you mean score"),
        ("file:absent.pt2", "No such file"),
        ("file:my_model.py", "is not what torch.jit.save"),
        ("pytorch-ood:Mahalanobi", "did you mean Mahalanobis"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence_and_exit_code_2(name, sentence, here):
    if name.startswith("pytorch-ood"):
        pytest.importorskip("pytorch_ood")
    ran = here("run", "--detector", name, "--threat", "clean", "--out", "wrong", *SMALL)
    assert ran.exit_code == 2
    assert sentence in ran.stderr


def test_a_library_score_is_fitted_and_run_by_its_name_alone(here):
    pytest.importorskip("pytorch_ood")
    ran = here("run", "--detector", "pytorch-ood:Mahalanobis", "--threat", "clean", *SMALL)
    assert ran.exit_code == 0, ran.stderr
    assert scores_in(Path("runs"))["pytorch-ood:Mahalanobis", "clean"] > 0.8


def test_a_library_score_is_attacked_through_its_gradient_where_it_has_one(here):
    pytest.importorskip("pytorch_ood")
    options = ("--threat", "pgd-l2", "--eps", "1", "--out", "library", *SMALL)
    ran = here("run", "--detector", "pytorch-ood:ViM", *options)
    assert ran.exit_code == 0, ran.stderr
    assert "pytorch-ood's ViM is attacked white-box: its gradient agrees with central" in " ".join(ran.stdout.split())
    found = scores_in(Path("library"))
    assert found["pytorch-ood:ViM", "pgd-l2"] < found["pytorch-ood:ViM", "clean"] - 0.05
    refused = here("run", "--detector", "pytorch-ood:KNN", *options)
    assert refused.exit_code == 2
    assert "threat 'pgd-l2' follows gradients and detector 'pytorch-ood:KNN' has none" in refused.stderr
    assert "pytorch-ood's KNN is a black box to attacks: its gradient cannot" in " ".join(refused.stdout.split())


def test_such_a_detector_can_be_shown(here):
    shown = here("show", "callable:my_model:score", "--track", "digits")
    assert shown.exit_code == 0, shown.stderr
    assert "target: 'my_model:score'" in shown.stdout or "target: my_model:score" in shown.stdout
