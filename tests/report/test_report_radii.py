import pytest

from bench.report.radii import keep_radii, stored_radii
from bench.report.table import build_tables
from bench.specs import Norm


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
