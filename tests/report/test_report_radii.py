import numpy as np
import pytest

from bench.cards.threat import Norm
from bench.cards.track import TrackCard
from bench.report.radii import keep_radii, radii_for, stored_radii
from bench.report.table import build_tables
from bench.seals import sealed_json, unsealed_json


def test_radii_that_were_kept_are_found_again_for_the_same_images_only(tmp_path, make_meta):
    (table,), (other,) = build_tables([make_meta()]), build_tables([make_meta(limit=7)])
    radii = {Norm.L2: 1.8, Norm.LINF: 0.4}
    keep_radii(tmp_path, table, radii)
    assert stored_radii(tmp_path, table) == radii
    assert stored_radii(tmp_path, other) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["radii.json"]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"k": {"l7": []}}', '{"k": {"l2": "1"}}', '{"k": 3}'])
def test_a_damaged_file_counts_as_absent(tmp_path, make_meta, content):
    (tmp_path / "radii.json").write_text(content)
    (table,) = build_tables([make_meta()])
    assert stored_radii(tmp_path, table) == {}
    keep_radii(tmp_path, table, {Norm.L2: 1.8})
    assert stored_radii(tmp_path, table) == {Norm.L2: 1.8}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, make_meta):
    (table,) = build_tables([make_meta()])
    keep_radii(tmp_path / "absent", table, {Norm.L2: 1.8})
    assert stored_radii(tmp_path / "absent", table) == {}


@pytest.mark.parametrize("mine", ['{"circle": 3.5}', "[1, 2]", "", '{"k": {"l2": 1.8}}'])
def test_a_users_own_file_of_that_name_is_left_as_it_is(tmp_path, make_meta, mine):
    (tmp_path / "radii.json").write_text(mine)
    (table,) = build_tables([make_meta()])
    keep_radii(tmp_path, table, {Norm.L2: 1.8})
    assert (tmp_path / "radii.json").read_text() == mine
    assert stored_radii(tmp_path, table) == {Norm.L2: 1.8}


def test_a_radius_that_was_edited_is_not_shown(tmp_path, make_meta):
    (table,) = build_tables([make_meta()])
    keep_radii(tmp_path, table, {Norm.L2: 1.8})
    file = tmp_path / "radii.json"
    file.write_text(file.read_text().replace("1.8", "2.8"))
    assert stored_radii(tmp_path, table) == {}


def test_nothing_is_kept_through_a_link(tmp_path, make_meta):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "radii.json").symlink_to(elsewhere)
    (table,) = build_tables([make_meta()])
    keep_radii(tmp_path, table, {Norm.L2: 1.8})
    assert elsewhere.read_text() == "mine"


@pytest.fixture
def near_and_far(tmp_path):
    """A card of two OOD sets: one of copies of the ID images, and one whose images are all white and theirs black."""
    black, white = np.zeros((6, 2, 2, 1), np.uint8), np.full((6, 2, 2, 1), 255, np.uint8)
    for name, images in (("black", black), ("copies", black), ("white", white)):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(6) % 2)

    def declared(name):
        return {"source": "npz", "args": {"file": f"{name}.npz"}}

    own = {name: declared("black") for name in ("train", "calibration", "test")}
    return TrackCard.model_validate(
        {"name": "flat", "summary": "s", "shape": [1, 2, 2], "classes": 2, **own,
         "ood": {"near": declared("copies"), "far": declared("white")}}
    )  # fmt: skip


@pytest.mark.parametrize(("without", "expected"), [((), 0.0), (("near",), 2.0), (("far",), 0.0)])
def test_a_radius_is_that_of_the_sets_that_the_table_has(
    tmp_path, make_meta, make_set, near_and_far, without, expected
):
    """White lies at an L2 distance of 2 from black, and copies at 0."""
    sets = {name: make_set(0.5) for name in ("near", "far") if name not in without}
    (table,) = build_tables([make_meta(sets=sets, limit=None, reachable=0.9, without=without)])
    runs = tmp_path / "runs"
    runs.mkdir()
    if "near" in without:
        (tmp_path / "copies.npz").unlink()  # why the run left the set out; nobody has to read it
    found = radii_for(table, near_and_far, root=runs, data_dir=tmp_path)
    assert found == {Norm.L2: pytest.approx(expected, rel=0.06)}
    assert stored_radii(runs, table) == found


@pytest.mark.parametrize("norms", [[], "l2", 3, None, {"l7": 1.0}, {"l2": "1"}, {"l2": None}, {"l2": 1.0, "linf": []}])
def test_entries_of_a_sealed_file_that_are_no_radii_count_as_absent_and_the_others_stay(tmp_path, make_meta, norms):
    (table,), (other,) = build_tables([make_meta()]), build_tables([make_meta(limit=7)])
    keep_radii(tmp_path, table, {Norm.L2: 1.8})
    keep_radii(tmp_path, other, {Norm.L2: 2.5})
    file = tmp_path / "radii.json"
    content = unsealed_json(file.read_bytes())
    first = next(key for key, radii in content.items() if radii == {"l2": 1.8})
    file.write_bytes(sealed_json({**content, first: norms}))
    assert stored_radii(tmp_path, table) == {}
    assert stored_radii(tmp_path, other) == {Norm.L2: 2.5}
