"""Rows of scores on a network that is named: their files are found by their names, on every system."""

import json
import re
from pathlib import PureWindowsPath

import numpy as np
import pytest
import row_world
import torch
from row_tampering import reseal, with_scores
from row_world import bench, put, rows, run_suite, submit, verify
from safetensors.numpy import load

from bench.cards.catalog import Catalog
from bench.detectors.weights import save_tensors
from bench.leaderboards.arithmetic import ScoreTable, rightly_classified
from bench.leaderboards.claims import check_claims
from bench.leaderboards.handed_in import private_images, whence
from bench.leaderboards.row import SCORES_SUFFIX, WeightsPart, read_row

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(16, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.hidden(x.flatten(1))))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = row_world.make_world(tmp_path_factory.mktemp("world"))
    put(root / "net_of_rows.py", row_world.textwrap.dedent(NET))
    names: dict[str, object] = {}
    exec(row_world.textwrap.dedent(NET), names)
    torch.manual_seed(0)
    sha256 = save_tensors(root / "detectors/weights/net.safetensors", names["Net"]().state_dict())
    put(root / "detectors/networks/my-net.yaml", json.dumps({
        "name": "my-net", "summary": "a small one", "track": "small", "method": "net_of_rows:Net",
        "weights": [{"file": "net.safetensors", "sha256": sha256}],
    }))  # fmt: skip
    put(root / "detectors/strength.yaml", json.dumps({
        "name": "strength", "summary": "a small one", "method": "bench.detectors.energy:Energy", "on_network": True,
        "tuned_on": "nothing", "paper": {"title": "On small ones", "authors": "A. Nonymous", "year": 2020},
    }))  # fmt: skip
    ran = run_suite(root, "strength@my-net")
    assert ran.exit_code == 0, ran.output
    made = submit(root, "strength@my-net")
    assert made.exit_code == 0, made.output
    return root


def test_what_goes_along_with_a_row_is_named_and_where_its_weights_are(world):
    said = submit(world, "strength@my-net", "--dry-run").stdout
    added = next(line for line in said.splitlines() if line.startswith("  git add")).split()[2:]
    named = {path.removeprefix(f"{world}/") for path in added if "strength@my-net" not in path}
    cards = {"detectors/strength.yaml", "detectors/networks/my-net.yaml", "datasets/small.yaml"}
    threats = {f"threat_models/{name}.yaml" for name in ("all-l2", "all-linf", "climb-l2", "climb-linf", "static-l2")}
    code = {path.name for path in world.glob("*.py")}
    assert named == cards | threats | code | {"detectors/weights/net.safetensors"}
    assert all((world / path).is_file() for path in named) and "net_of_rows.py" in code
    assert "of this workspace: hand it in with the row" in said and "from this repository" not in said
    accuracy = read_row(rows(world)[0]).id_accuracy
    assert f"ID accuracy: {accuracy:.3f} of the ID test images" in said
    assert ("look at mean and std" in said) == (accuracy < 0.5)


def test_images_of_this_machine_alone_are_told(world):
    catalog = Catalog(world)
    track = catalog.track("small")
    assert private_images(track) == ""
    near = track.ood["near"].model_copy(update={"source": "folder", "args": {"path": str(world / "photos")}})
    other = track.model_copy(update={"ood": {**track.ood, "near": near}})
    assert private_images(other).startswith("those of near lie in a folder of this machine: nobody else can verify")
    shipped = WeightsPart(file="digits-gat.safetensors", sha256="0" * 64, source=None)
    assert whence(catalog, shipped.model_copy(update={"source": "https://a.b/c"})) == "from https://a.b/c"
    assert whence(catalog, shipped.model_copy(update={"file": "none.safetensors"})).startswith("of this machine alone")
    shipped_file = next((catalog.builtin / "detectors/weights").rglob("*.safetensors"))
    name = str(shipped_file.relative_to(catalog.builtin / "detectors/weights"))
    assert whence(catalog, shipped.model_copy(update={"file": name})) == "from this repository"


def test_its_file_has_a_name_that_every_system_takes(world):
    (row,) = rows(world)
    assert re.fullmatch(r"strength@my-net@[0-9a-f]{12}\.json", row.name)
    assert not PureWindowsPath(row.name).is_reserved() and not set(row.name) & set('<>:"/\\|?*')


def test_verify_finds_it_and_its_network(world):
    (row,) = rows(world)
    done = verify(world, row)
    assert done.exit_code == 0, done.output
    assert "strength@my-net" in done.output


def test_the_leaderboard_lists_it_by_its_whole_name(world, tmp_path):
    done = bench("leaderboard", "--workspace", world, "--html", tmp_path / "site")
    assert done.exit_code == 0, done.output
    (row,) = rows(world)
    page = tmp_path / "site/small" / f"{row.stem}.html"
    assert page.is_file()
    board = (tmp_path / "site/small/index.html").read_text()
    assert f'href="{row.stem}.html"' in board and "strength@my-net" in board


@pytest.mark.parametrize("name", ["strength@", "@my-net", "a@b@c", "a@../b", "a@B", "a@b:c"])
def test_other_uses_of_the_sign_are_refused_in_a_row(world, name):
    (row,) = rows(world)
    content = json.loads(row.read_text())
    content["detector"]["name"] = name
    changed = world / "changed.json"
    changed.write_text(json.dumps(content))
    done = verify(world, changed)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "detector.name" in " ".join(done.output.split())


# --------------------------------------------------------------------------- its classifier


@pytest.fixture
def row_path(world, tmp_path):
    """A copy of the row and its files, which a test may change."""
    (row,) = rows(world)
    for path in row.parent.glob(f"{row.stem}.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / row.name


def problems_of(world, row_path, row, arrays=None):
    """What level `claimed` finds where a forger seals the changed row, and its changed arrays, again."""
    files = {}
    if arrays is not None:
        row, files[SCORES_SUFFIX] = with_scores(row, arrays)
    sealed = reseal(row_path, row, files)
    return check_claims(read_row(sealed), sealed, Catalog(world), None).problems


def test_the_files_say_of_every_test_image_whether_its_class_was_predicted(world, row_path):
    row, right = read_row(row_path), arrays_of(row_path)["right"]
    assert right.dtype == np.int8 and set(right.tolist()) == {0, 1}
    assert len(right) == row.scores.sets["test"] == 40
    assert row.id_accuracy == right.mean() and 0.0 < row.id_accuracy < 1.0
    assert problems_of(world, row_path, row) == []


@pytest.mark.parametrize("given", [0.125, 1.0])
def test_an_id_accuracy_that_does_not_follow_from_the_files_is_not_claimed(world, row_path, given):
    row = read_row(row_path)
    (problem,) = problems_of(world, row_path, row.model_copy(update={"id_accuracy": given}))
    told = f"{row.id_accuracy:.6g}"
    assert problem == f"id_accuracy is given as {given:.6g}, and 'right' in the file of scores makes it {told}."
    sealed = reseal(row_path, row.model_copy(update={"id_accuracy": given}))
    said = verify(world, sealed, "claimed")
    assert said.exit_code == 1 and "id_accuracy is given as" in said.stderr


def test_an_id_accuracy_cannot_be_left_out_or_come_without_its_files(world, row_path):
    row, arrays = read_row(row_path), arrays_of(row_path)
    told = f"{row.id_accuracy:.6g}"
    (problem,) = problems_of(world, row_path, row.model_copy(update={"id_accuracy": None}))
    assert problem == f"id_accuracy is given as none, and 'right' in the file of scores makes it {told}."
    without = {name: array for name, array in arrays.items() if name != "right"}
    (problem,) = problems_of(world, row_path, row, without)
    assert problem == f"id_accuracy is given as {told}, and the file of scores has no 'right' to tell it from."
    assert problems_of(world, row_path, row.model_copy(update={"id_accuracy": None}), without) == []


@pytest.mark.parametrize("change", [lambda right: right[:-1], lambda right: right.astype(np.int64)])
def test_right_ones_of_another_form_are_refused(world, row_path, change):
    row, arrays = read_row(row_path), arrays_of(row_path)
    (problem,) = problems_of(world, row_path, row, {**arrays, "right": change(arrays["right"])})
    assert problem.startswith("scores 'right' are ") and problem.endswith("they must be int8 (40,).")


def test_right_ones_that_are_forged_with_the_figure_are_found_by_the_weights(world, row_path):
    row, arrays = read_row(row_path), arrays_of(row_path)
    ones = {**arrays, "right": np.ones_like(arrays["right"])}
    forged, scores = with_scores(row.model_copy(update={"id_accuracy": 1.0}), ones)
    sealed = reseal(row_path, forged, {SCORES_SUFFIX: scores})
    assert check_claims(read_row(sealed), sealed, Catalog(world), None).problems == []
    said = verify(world, sealed, "re-scored")
    assert said.exit_code == 1 and "id_accuracy is given as 1.0, and the weights make it" in said.stderr


def test_images_without_a_label_are_not_counted():
    labels, predicted = np.array([0, 1, -1, 2]), np.array([0, 0, 0, 2])
    right = rightly_classified(labels, predicted)
    assert right.tolist() == [1, 0, -1, 1] and right.dtype == np.int8
    assert ScoreTable({"test": 4}, (), {"right": right}).id_accuracy() == 2 / 3
    assert rightly_classified(labels, np.full(4, -1)) is rightly_classified(np.full(4, -1), predicted) is None
    assert ScoreTable({"test": 4}, (), {}).id_accuracy() is None
    assert ScoreTable({"test": 2}, (), {"right": np.full(2, -1, np.int8)}).id_accuracy() is None


def arrays_of(row_path):
    return load(row_path.with_name(read_row(row_path).scores.file).read_bytes())
