"""The samples of a cell as Parquet, from strangers too: what it unpacks to is known and bounded before it is read."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from bench.evaluation.results import SAMPLE_COLUMNS
from bench.lazy import lazily

with lazily():
    import pyarrow as pa
    from pyarrow import parquet as pq

if TYPE_CHECKING:
    import pandas as pd

MAX_RATIO = 100
"""Bytes in memory for one in the file; scores hardly shrink, so that real cells take 2 to 10, a bomb 4,000."""

ALWAYS_ALLOWED = 64 << 20
"""Bytes in memory that any cell may take."""

MAX_COLUMNS = 64
"""`SAMPLE_COLUMNS` are 13, and a threat adds a few figures of its own."""

MAX_ROW_GROUPS = 1_000
MAX_TEXT = 1_000
"""Characters of the name of a set or a status."""

CODECS = ("SNAPPY", "UNCOMPRESSED")
"""How cells are written; Snappy never makes more than some 20 bytes of one, whatever a page says of itself."""

ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}

TEXTS = ("set", "status")


def to_parquet(samples: "pd.DataFrame") -> bytes:
    """The content of a samples file."""
    buffer = BytesIO()
    samples.to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()


def from_parquet(content: bytes) -> "pd.DataFrame":
    """The table of `to_parquet`: numbers of the types in which they were written, and texts.

    Raises:
        ValueError: It has other columns or types than a cell, or would take more memory than a cell of its size.
        Exception: Whatever the parser makes of a stranger's bytes.
    """
    file = pq.ParquetFile(BytesIO(content), read_dictionary=list(TEXTS))
    _check_columns(file.schema_arrow)
    _check_size(file.metadata, len(content))
    # Texts come as their distinct values and a number a row: a long one that stands in every row is held once.
    table = file.read()
    longest = {name: max(map(len, _distinct(table.column(name))), default=0) for name in TEXTS}
    if max(longest.values()) > MAX_TEXT or table.num_rows * sum(longest.values()) > _allowed(len(content)):
        raise ValueError(f"it holds texts of {max(longest.values()):,} characters")
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame.astype({name: frame[name].cat.categories.dtype for name in TEXTS})


def _check_columns(schema: Any) -> None:
    """Refuse columns that are not plain numbers and texts, or not those of a cell.

    Raises:
        ValueError: In a few words, which.
    """
    names = list(schema.names)
    if len(names) > MAX_COLUMNS or len(set(names)) < len(names):
        raise ValueError(f"it has {len(names):,} columns, or one twice; allowed are {MAX_COLUMNS}")
    if missing := [name for name in SAMPLE_COLUMNS if name not in names]:
        raise ValueError(f"it has no column {missing[0]}")
    for column in schema:
        kind = column.type
        if column.name in TEXTS:
            fits = pa.types.is_dictionary(kind) and str(kind.value_type) in ("string", "large_string")
        else:
            fits = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        if not fits:
            raise ValueError(f"column {column.name[:40]!r} is {str(kind)[:60]}")


def _check_size(metadata: Any, packed: int) -> None:
    """Refuse what is out of all proportion to the file.

    Raises:
        ValueError: It unpacks to too much, or is packed in a way of its own.
    """
    groups = metadata.num_row_groups
    if not 0 <= groups <= MAX_ROW_GROUPS:
        raise ValueError(f"it has {groups:,} row groups; allowed are {MAX_ROW_GROUPS:,}")
    rows, unpacked = 0, 0
    for number in range(groups):
        group = metadata.row_group(number)
        rows += group.num_rows
        for place in range(group.num_columns):
            chunk = group.column(place)
            if chunk.compression not in CODECS or not set(chunk.encodings) <= ENCODINGS:
                raise ValueError(f"it is packed by {chunk.compression}, {', '.join(map(str, chunk.encodings))}")
            if chunk.total_uncompressed_size < 0 or group.num_rows < 0:
                raise ValueError("it gives negative sizes")
            unpacked += chunk.total_uncompressed_size
    if rows != metadata.num_rows:
        raise ValueError(f"its parts have {rows:,} rows and the whole {metadata.num_rows:,}")
    size = max(unpacked, rows * metadata.num_columns * 8)
    if size > _allowed(packed):
        raise ValueError(
            f"it has {packed:,} bytes and unpacks to {size / 2**20:,.0f} MiB of {rows:,} rows; allowed are "
            f"{_allowed(packed) / 2**20:,.0f} MiB"
        )


def _allowed(packed: int) -> int:
    return max(ALWAYS_ALLOWED, MAX_RATIO * packed)


def _distinct(column: Any) -> list[str]:
    return [value for chunk in column.chunks for value in chunk.dictionary.to_pylist() if value is not None]
