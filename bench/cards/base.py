"""What all kinds of card have in common: names, hashes, and that unknown fields are errors."""

import hashlib
import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
MethodPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=4000)]


def _inside_folder(path: str) -> str:
    parts = path.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in parts):
        raise ValueError("must be a relative path of letters, digits, '.', '_' and '-' that stays in its folder")
    return path


RelativeFile = Annotated[str, StringConstraints(max_length=200), AfterValidator(_inside_folder)]


class Card(BaseModel):
    """What all cards, and all parts of cards, have in common: unknown fields are errors and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def content_hash(self) -> str:
        """sha256 of the content: comments, order of keys and defaults that are written out do not change it."""
        return content_hash(self.model_dump(mode="json"))


def content_hash(content: Any) -> str:
    """sha256 of any JSON content in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Paper(Card):
    """Where a method comes from."""

    title: Text
    authors: Text
    year: int = Field(ge=1900, le=2100)
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = None
