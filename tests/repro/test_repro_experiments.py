"""What entries measure beside cells: arguments, figures by hand, changes of cards, and what is drawn."""

import base64

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from bench.cards.catalog import Catalog
from bench.errors import CardError, UsageError
from bench.repro.changed import ChangedCatalog
from bench.repro.drawing import draw
from bench.repro.entry import Entry, Experiment, Run, Setting, Train
from bench.repro.experiments import (
    KINDS,
    Surroundings,
    attacked_logits,
    class_scores,
    matching,
    plane,
    run_experiments,
    training,
)
from bench.repro.experiments import checked_args as checked
from bench.repro.library import papers
from bench.repro.panels import Panel, PanelKind, field, histogram, line, picture
from bench.repro.planning import computed_together, histograms
from bench.repro.records import Record
from bench.repro.trained import Curve, curve_file, curve_of, trained_specs
from bench.seals import sealed_json

CATALOG = Catalog()
EXPERIMENTS = [
    (entry.name, experiment)
    for paper in papers(CATALOG)
    for entry in paper.entries
    for setting in (entry.small, entry.paper)
    for experiment in setting.experiments
]


@pytest.mark.parametrize(("name", "experiment"), EXPERIMENTS, ids=lambda value: str(getattr(value, "kind", value)))
def test_the_arguments_of_every_experiment_can_be_read(name, experiment):
    assert checked(experiment)


def test_every_kind_is_used_by_an_entry():
    assert {experiment.kind for _, experiment in EXPERIMENTS} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [("planes", {}, "did you mean plane"), ("plane", {}, "scenes is not allowed"), ("plane", {"speed": 1}, "scenes")],
)
def test_a_wrong_experiment_is_answered_by_a_sentence(kind, args, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        run_experiments([Experiment(kind=kind, args=args)], Surroundings(CATALOG, None, tmp_path, lambda run: []))


# ------------------------------------------------------------------ the plane


def test_peaks_are_larger_than_all_their_neighbours():
    values = np.zeros((plane.SIDE, plane.SIDE))
    values[3, 4], values[0, 0], values[10, 10], values[10, 11] = 1.0, 2.0, 1.0, 1.0
    assert set(zip(*np.nonzero(plane._peaks(values)), strict=True)) == {(3, 4), (0, 0)}


def test_a_simulation_in_the_plane_is_the_same_every_time(tmp_path):
    args = {"steps": 2, "ascents": 1, "batch": 8, "early": [1], "scenes": {"a": {"solver": "minimax"}}}
    once, again = (
        run_experiments([Experiment(kind="plane", args=args)], Surroundings(CATALOG, None, tmp_path, lambda run: []))
        for _ in range(2)
    )
    assert once == again
    assert {column for _, column in once.figures} == {"support", "elsewhere", "above", "peaks", "distance"}
    assert [panel.title for panel in once.panels] == ["a, step 1", "a"]


def test_points_of_the_maximin_solver_begin_anew_and_those_of_minimax_go_on(monkeypatch):
    seen = []
    monkeypatch.setattr(plane, "_ascended", lambda d, x, steps, size: seen.append((x, steps)) or x + 5.0)
    for solver in ("maximin", "minimax"):
        args = plane.Args(scenes={"a": {"solver": solver}}, steps=1, ascents=3, batch=4)
        plane._simulated("a", args.scenes["a"], args)
    maximin, minimax = seen[:2], seen[2:]
    assert [steps for _, steps in seen] == [3, 3, 1, 1]
    assert all(float(x.abs().max()) <= plane.EXTENT for x, _ in maximin)
    assert torch.equal(minimax[1][0], minimax[0][0] + 5.0)


# ------------------------------------------------------------------ class-conditional scores


def test_right_and_wrong_classes_by_hand():
    logits = torch.tensor([[5.0, 3.0, 1.0], [2.0, 1.0, 4.0], [0.0, 1.0, 9.0]])
    right, wrong = class_scores._right_and_wrong(logits, torch.tensor([0, 1, 2]))
    assert right.tolist() == [5.0, 1.0, 9.0] and wrong.tolist() == [3.0, 4.0, 1.0]
    told = class_scores._told(logits.double(), torch.tensor([0, 1, 2]), logits.double(), torch.tensor([0, 1, 2]), 0.5)
    assert told["accuracy"].value == pytest.approx(2 / 3)
    assert told["gap"].value == 2.0  # of 2, -3, 8
    assert told["spread"].value == 4.0  # from 3 to 7
    assert told["wrong accepted"].value == 0.0  # the median of the right ones is 5


def test_an_image_is_rejected_class_by_class():
    held = torch.tensor([[4.0, 0.0], [0.0, 8.0]]).double()
    outside = torch.tensor([[3.0, 9.0], [5.0, 9.0]]).double()
    found = class_scores._rejected(outside, held, torch.tensor([0, 1]), 0.5)
    assert found.value == 0.25  # half lie below class 0's own 4, none below class 1's 8


# ------------------------------------------------------------------ starting images


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 8, 8)])
def test_starting_images_are_what_their_names_say(shape):
    class Data:
        class card:
            pass

    Data.card.shape = shape
    board = matching._start("board-2", Data)
    assert board.shape == (1, *shape)
    assert board[0, 0, 0, 0] == 0 and board[0, 0, 0, -1] == 1 and board[0, 0, -1, -1] == 0
    spiral = matching._start("spiral", Data)
    assert spiral.shape == (1, *shape) and 0 <= float(spiral.min()) < 0.2 and 0.8 < float(spiral.max()) <= 1
    with pytest.raises(UsageError, match="allowed are board-N"):
        matching._start("board-x", Data)


# ------------------------------------------------------------------ changed cards and trainings

TRAINED = Run(id="a", detector=("gat",), track="digits", train=Train(grid={"max_k": (0, 5)}, args={"iterations": 7}))


def test_every_training_of_a_run_has_weights_of_its_own(tmp_path):
    specs = [spec for spec, _ in trained_specs(TRAINED, CATALOG, tmp_path)]
    assert [spec.training.args["max_k"] for spec in specs] == [0, 5]
    assert all(spec.training.args["iterations"] == 7 and spec.training.args["step_size"] == 0.4 for spec in specs)
    files = {spec.weights[-1].file for spec in specs}
    changed = TRAINED.model_copy(update={"sets": {"outliers": [{"source": "strokes", "args": {"count": 9}}]}})
    files |= {spec.weights[-1].file for spec, _ in trained_specs(changed, CATALOG, tmp_path)}
    assert len(files) == 4 and "gat-digits.safetensors" not in files
    assert all(spec.weights[-1].sha256 is None for spec in specs)


def test_a_run_may_take_its_sets_from_elsewhere():
    own = {"ood": {"noise": {"source": "uniform", "args": {"count": 5, "seed": 1, "shape": [1, 32, 32]}}}}
    card = ChangedCatalog(CATALOG, TRAINED.model_copy(update={"sets": own})).track("digits")
    assert list(card.ood) == ["noise"] and card.train == CATALOG.track("digits").train
    other = ChangedCatalog(CATALOG, TRAINED.model_copy(update={"sets_of": "mnist"})).track("digits")
    assert other.name == "digits" and other.train == CATALOG.track("mnist").train


def test_a_set_that_is_none_and_a_field_that_may_not_change_are_refused():
    with pytest.raises(CardError, match="changes track 'digits': train"):
        ChangedCatalog(CATALOG, TRAINED.model_copy(update={"sets": {"train": {"speed": 1}}})).track("digits")
    with pytest.raises(ValidationError, match="cannot change 'name'"):
        Run(id="a", detector=("gat",), track="digits", sets={"name": "other"})
    with pytest.raises(UsageError, match="no training recipe"):
        ChangedCatalog(CATALOG, TRAINED, {}, {}).detector_spec("phlippe-ebm", "mnist")


def test_weights_that_an_entry_trained_are_found_beside_the_others(tmp_path):
    (tmp_path / "made.safetensors").write_bytes(b"x")
    catalog = ChangedCatalog(CATALOG, weights=tmp_path)
    assert catalog.weights_path("made.safetensors") == tmp_path / "made.safetensors"
    assert catalog.weights_path("gat-digits.safetensors") == CATALOG.weights_path("gat-digits.safetensors")


def test_the_ends_of_a_curve_are_told_with_their_spread(tmp_path, monkeypatch):
    curve = Curve(steps=(1, 2, 3, 4), figures={"loss": (4.0, 2.0, 1.0, 3.0)}, seconds=5.0)
    args = training.Args(detector="gat", track="digits", rows={"a": {"max_k": 1}}, figures=("loss",), at=(3,), ends=0.5)
    ((spec, _),) = trained_specs(
        Run(id="curve", detector=("gat",), track="digits", train=Train(args={"max_k": 1})), CATALOG, tmp_path
    )
    curve_file(tmp_path, spec).parent.mkdir()
    curve_file(tmp_path, spec).write_bytes(sealed_json(curve.model_dump(mode="json")))
    found = training.measured(args, Surroundings(CATALOG, None, tmp_path, lambda run: []))  # trains nothing
    first, last = found.figures["a", "loss first"], found.figures["a", "loss last"]
    assert (first.low, first.value, first.high) == (2.0, 3.0, 4.0)
    assert (last.low, last.value, last.high) == (1.0, 2.0, 3.0)
    assert found.figures["a", "loss at 3"].value == 1.0
    assert found.seconds == found.figures["a", "seconds"].value == 5.0
    curve_file(tmp_path, spec).write_bytes(b"{}")
    with pytest.raises(UsageError, match="is no curve of a training"):
        curve_of(tmp_path, spec)


def test_a_mean_of_equal_points_lies_between_them():
    assert training._spread((0.1, 0.1, 0.1)).value == 0.1


# ------------------------------------------------------------------ panels


def test_a_histogram_has_the_share_of_each_sample_in_common_bins():
    panel = histogram("t", "x", {"a": [0.0, 0.0, 1.0, np.nan], "b": [2.0]}, bins=2)
    a, b = panel.series
    assert a.x == (0.0, 1.0, 2.0) and a.y == pytest.approx((2 / 3, 1 / 3), abs=1e-4)
    assert b.y == (0.0, 1.0)
    assert histogram("t", "x", {"a": []}).series == ()


def test_a_picture_keeps_the_pixels_of_its_rows():
    panel = picture("t", [np.ones((2, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.float32)])
    image = np.frombuffer(base64.b64decode(panel.pixels), np.uint8).reshape(panel.shape)
    assert panel.shape == (8, 8, 1)
    assert image[5:7, 1:3].sum() == 0 and image[:4].min() == 255 and image[4:, 4:].min() == 255


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "lines", "title": "t", "series": [{"name": "a", "x": [1.0], "y": [1.0, 2.0]}]},
        {"kind": "bars", "title": "t", "series": [{"name": "a", "x": [1.0], "y": [1.0]}]},
        {"kind": "field", "title": "t", "values": [1.0, 2.0]},
        {"kind": "images", "title": "t", "shape": [2, 2, 1], "pixels": "AAAA"},
        {"kind": "images", "title": "t", "shape": [10_000, 10_000, 3], "pixels": ""},
    ],
)
def test_a_panel_that_does_not_fit_together_is_refused(content):
    with pytest.raises(ValidationError):
        Panel.model_validate(content)


def test_every_kind_of_panel_is_drawn():
    absent = {"missing": "x"}
    entry = Entry.model_validate(
        {"name": "one", "items": ["Figure 1"], "title": "T", "shows": "S.", "small": absent, "paper": absent}
    )
    panels = (
        Panel(kind=PanelKind.LINES, title="l", series=(line("a", [1, 2], [3, 4]), line("b", [1, 2], [4, 3]))),
        Panel(kind=PanelKind.POINTS, title="p", series=(line("a", [1, 2], [3, 4]),)),
        histogram("h", "x", {"a": [1.0, 2.0]}),
        field("f", np.arange(9.0).reshape(3, 3) / 9, 1.0, (line("a", [0.0], [0.0]),)),
        picture("i", [np.zeros((2, 3, 4, 4), np.float32)]),
    )
    assert {panel.kind for panel in panels} == set(PanelKind)
    record = Record(
        entry="one", scale="small", date="2026-01-02", seconds=1, gradients=0, device="cpu", cells=0, figures=(),
        panels=panels,
    )  # fmt: skip
    drawing = draw(entry, record)
    assert len([axes for axes in drawing.figure.axes if axes.get_title(loc="left")]) == len(panels)
    assert drawing.png().startswith(b"\x89PNG")


# ------------------------------------------------------------------ attacked images


class _Fixed:
    """A detector whose logits are the first two pixels."""

    def logits(self, x):
        return x.flatten(1)[:, :2]


def _cell(images, ids, label=0, became=1):
    from bench.evaluation.results import Cell

    samples = pd.DataFrame({
        "set": ["test"] * len(ids), "id": ids, "label": [label] * len(ids), "predicted": [label] * len(ids),
        "index": range(len(ids)), "attacked_predicted": [became] * len(ids),
    })  # fmt: skip
    return Cell(None, samples, {"images": np.asarray(images, np.float32), "image_rows": np.arange(len(ids))})


def test_the_image_is_the_first_that_every_attack_kept():
    image = [[[[0.0, 1.0]]]]
    first, second = _cell(image * 2, [7, 9]), _cell(image, [9])
    assert attacked_logits._first_of(0, [first, second]) == 9
    with pytest.raises(UsageError, match="no test image of class 1"):
        attacked_logits._first_of(1, [first, second])
    assert attacked_logits._image(first, 9).shape == (1, 1, 1, 2)


def test_an_attack_that_did_not_change_the_class_has_no_row(monkeypatch, tmp_path):
    class Images:
        ids = torch.tensor([9])

        def pixels(self):
            return torch.tensor([[[[0.9, 0.1]]]])

    class Data:
        def __init__(self, *args):
            self.card = None

        def set(self, name):
            return Images()

    class Planned:
        attacks = True

    cells = {"won": _cell([[[[0.2, 0.6]]]], [9]), "lost": _cell([[[[0.2, 0.6]]]], [9], became=0)}
    monkeypatch.setattr(attacked_logits, "Track", Data)
    monkeypatch.setattr(attacked_logits, "load_detector", lambda *args: _Fixed())
    args = attacked_logits.Args(detector="sdim", track="mnist", runs={"a": "won", "b": "lost"})
    found = attacked_logits.measured(args, Surroundings(CATALOG, None, tmp_path, lambda run: [(Planned(), cells[run])]))
    assert {row for row, _ in found.figures} == {"original", "a"}
    assert found.figures["a", "class 1"].value == found.figures["a", "largest"].value == pytest.approx(0.6)


class _Linear(torch.nn.Module):
    """Features that are two sums of pixels."""

    def features(self, x, at):
        assert at == "logits"
        flat = x.flatten(1)
        return torch.stack([flat[:, :8].sum(dim=1), flat[:, 8:].sum(dim=1)], dim=1)


def test_matching_finds_the_features_of_a_linear_map_within_ball_and_box():
    guides = torch.rand((3, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    start = torch.full((3, 1, 4, 4), 0.5)
    args = matching.Args(detector="d", track="t", starts={"a": "noise"}, guides=3, eps=2.0, steps=200)
    x, curve, features, target = matching._matched(_Linear(), start, guides, args)
    assert curve.shape == (201, 3)
    assert torch.allclose((features - target).square().sum(dim=1), curve.amin(dim=0), atol=1e-6)
    assert float((curve.amin(dim=0) / curve[0]).max()) < 0.01
    assert float((x - start).flatten(1).norm(dim=1).max()) <= 2.0 + 1e-5
    assert float(x.min()) >= 0.0 and float(x.max()) <= 1.0


def test_a_run_may_name_its_own_recall():
    run = TRAINED.model_copy(update={"train": None, "recall": 0.5})
    assert ChangedCatalog(CATALOG, run).detector_spec("gat", "digits").thresholds.recall == 0.5
    assert CATALOG.detector_spec("gat", "digits").thresholds.recall == 0.95


def _shown(**change):
    content = {
        "about": "Little.",
        "runs": [{"id": "a", "detector": ["msp"], "track": "digits"}],
        "histograms": [{"title": "h", "run": "a", "column": "score", "sets": ["test"], **change}],
    }
    return Setting.model_validate(content)


class _Stored:
    attacks = False
    label = "msp x clean on digits"
    params: dict = {}  # noqa: RUF012
    detector = CATALOG.detector_spec("msp", "digits")
    key = "k"


def test_a_histogram_is_of_the_one_cell_that_fits():
    cell = type("C", (), {"samples": pd.DataFrame({"set": ["test", "test", "far"], "score": [0.0, 1.0, 9.0]})})
    (panel,) = histograms(_shown(), {"a": [_Stored()]}, lambda planned: cell)
    assert panel.series[0].x[-1] == 1.0 and sum(panel.series[0].y) == pytest.approx(1.0)
    assert histograms(_shown(), {"a": [_Stored()]}, lambda planned: None) == []
    for change, said in (
        ({"detector": "odin"}, "0 cells fit"),
        ({"column": "mape"}, "no column 'mape'"),
        ({"sets": ["near"]}, "no set"),
    ):
        with pytest.raises(UsageError, match=said):
            histograms(_shown(**change), {"a": [_Stored()]}, lambda planned: cell)
    with pytest.raises(ValidationError, match="names the run 'b'"):
        _shown(run="b")


def test_two_trainings_of_a_detector_and_two_forms_of_a_track_are_computed_apart():
    def cell(key, track, detector, weights):
        from types import SimpleNamespace

        what = SimpleNamespace(track_hash=track, detector_hash=detector, weights_sha256=(weights,))
        return SimpleNamespace(key=key, track=SimpleNamespace(name="digits", ood=(track,)), ingredients=what)

    plain, attacked, again = cell("1", "t", "gat", "a"), cell("2", "t", "gat", "a"), cell("1", "t", "gat", "a")
    other, trained, elsewhere = cell("3", "t", "oe", "o"), cell("4", "t", "gat", "b"), cell("5", "u", "oe", "o")
    found = computed_together({"r": [plain, attacked, other], "s": [again, trained, elsewhere]})
    assert [[one.key for one in group] for group in found] == [["1", "2", "3"], ["4"], ["5"]]
