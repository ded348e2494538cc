"""Sources that make their images from those of another source."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bench.datasets.base import RawImages, content_digest
from bench.datasets.sources import load_source
from bench.errors import DataError


class InnerForm(BaseModel):
    """The images of another source, of which a source makes its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, Field(pattern=r"^(folder:.+|[a-z_]+)$", max_length=200)]  # one of this page
    args: dict[str, Any] = {}  # what that is given
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None  # sha256 of its content; nothing accepts any


def load_inner(inner: InnerForm, data_dir: Path) -> RawImages:
    """The images of the other source.

    Raises:
        DataError: It cannot be read, or its content is another one than is declared.
    """
    raw = load_source(inner.source, inner.args, data_dir)
    if inner.digest is not None and (found := content_digest(raw.images, raw.labels)) != inner.digest:
        raise DataError(
            f"source '{inner.source}' has content {found}, expected {inner.digest}: replace its files (`bench data "
            "check` names them), or declare this content in a track card of your own."
        )
    return raw
