"""Samples of strangers' cells: what would not fit a cell is refused before it is read."""

from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store_of_cells import folder, make_cell

from bench.evaluation import sample_tables
from bench.evaluation.results import SAMPLE_COLUMNS
from bench.evaluation.sample_tables import TEXTS, from_parquet, to_parquet
from bench.evaluation.store import Store

FLOATS = ("clean_score", "score", "norm", "last_score")


def columns(rows: int, **changed: pa.Array) -> dict[str, pa.Array]:
    """The columns of a cell, each of one value."""
    kinds = {**dict.fromkeys(FLOATS, pa.scalar(0.5, pa.float32())), **dict.fromkeys(TEXTS, pa.scalar("test"))}
    whole = pa.scalar(0, pa.int64())
    return {name: pa.repeat(kinds.get(name, whole), rows) for name in SAMPLE_COLUMNS} | changed


def packed(content: dict[str, pa.Array], **options: object) -> bytes:
    buffer = BytesIO()
    pq.write_table(pa.table(content), buffer, **options)
    return buffer.getvalue()


def refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why it is refused; nothing of it may be read by then."""

    def read(self: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    with pytest.raises(ValueError) as error:
        from_parquet(content)
    return str(error.value)


def test_a_table_comes_back_as_it_was_written() -> None:
    samples = make_cell(1, samples=50).samples
    samples["mape"] = np.linspace(0, 1, len(samples))
    content = to_parquet(samples)
    pd.testing.assert_frame_equal(from_parquet(content), pd.read_parquet(BytesIO(content)))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scores_keep_their_type(kind: type) -> None:
    samples = make_cell(1).samples.astype({"score": kind})
    assert from_parquet(to_parquet(samples))["score"].dtype == kind


def test_a_real_number_of_rows_is_read() -> None:
    rows, draw = 200_000, np.random.default_rng(0)
    numbers = {name: pa.array(draw.random(rows, dtype=np.float32)) for name in FLOATS}
    assert len(from_parquet(packed(columns(rows, id=pa.array(np.arange(rows)), **numbers)))) == rows


def test_a_small_file_of_many_rows_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(columns(2_000_000))
    assert len(content) < 100_000
    assert "unpacks to 198 MiB of 2,000,000 rows; allowed are 64 MiB" in refused(content, monkeypatch)


def test_many_row_groups_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(columns(1_001), row_group_size=1)
    assert "1,001 row groups" in refused(content, monkeypatch)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "brotli"])
def test_codecs_that_shrink_without_bound_are_refused_unread(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    assert f"packed by {codec.upper()}" in refused(packed(columns(5), compression=codec), monkeypatch)


def test_other_encodings_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(columns(5), use_dictionary=False, column_encoding={"set": "DELTA_BYTE_ARRAY"})
    assert "DELTA_BYTE_ARRAY" in refused(content, monkeypatch)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", [[1, 2]] * 3),
        ("id", ["1"] * 3),
        ("score", [b"1"] * 3),
        ("set", [1] * 3),
        ("mape", ["1"] * 3),
        ("mape", [{"a": 1.0}] * 3),
    ],
)
def test_a_column_of_another_kind_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch, name: str, values: list[object]
) -> None:
    assert f"column '{name}' is" in refused(packed(columns(3, **{name: pa.array(values)})), monkeypatch)


def test_missing_and_too_many_columns_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = columns(3)
    del lacking["queries"]
    assert "no column queries" in refused(packed(lacking), monkeypatch)
    more = {f"figure{k}": pa.array([1.0] * 3) for k in range(60)}
    assert "73 columns" in refused(packed(columns(3, **more)), monkeypatch)


@pytest.mark.parametrize(("length", "rows"), [(1_001, 3), (900, 100_000)])
def test_long_texts_in_every_row_are_refused(length: int, rows: int) -> None:
    content = packed(columns(rows, set=pa.repeat(pa.scalar("x" * length), rows)))
    assert len(content) < 30_000
    with pytest.raises(ValueError, match="holds texts of"):
        from_parquet(content)


def test_a_stored_bomb_is_one_notice_and_counts_as_not_run(tmp_path) -> None:
    import hashlib

    from bench.seals import sealed_json, unsealed_json

    store = Store(tmp_path / "runs")
    key = store.put(make_cell(1)).meta.key
    place, bomb = folder(store, 1), packed(columns(2_000_000))
    (place / "samples.parquet").write_bytes(bomb)
    meta = unsealed_json((place / "cell.json").read_bytes())
    (place / "cell.json").write_bytes(sealed_json(meta | {"samples_sha256": hashlib.sha256(bomb).hexdigest()}))
    reader = Store(tmp_path / "runs")
    assert reader.get(key) is None
    (notice,) = reader.notices
    assert "samples.parquet cannot be read (it has" in notice and "unpacks to 198 MiB" in notice


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MAX_TEXT", 7, "texts of 7 characters"),
        ("MAX_COLUMNS", len(SAMPLE_COLUMNS), "13 columns, or one twice"),
        ("MAX_ROW_GROUPS", 4, "4 row groups"),
    ],
)
def test_a_table_may_be_just_as_large_as_each_limit(limit, value, said, monkeypatch):
    content = packed(columns(4, set=pa.repeat(pa.scalar("outside"), 4)), row_group_size=1)
    monkeypatch.setattr(sample_tables, limit, value)
    assert len(from_parquet(content)) == 4
    monkeypatch.setattr(sample_tables, limit, value - 1)
    with pytest.raises(ValueError, match=said):
        from_parquet(content)
