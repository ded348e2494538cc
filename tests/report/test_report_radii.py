import pytest

from bench.cards.threat import Norm
from bench.report.radii import keep_radii, stored_radii
from bench.report.table import build_tables


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
