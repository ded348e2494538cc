"""Records of verification beside a row: written under names that nothing overwrites, read with their signatures."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import UsageError, shorten
from bench.files import write_file
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.companions import read_scores
from bench.leaderboards.json_files import json_bytes, parse_json, read_bytes
from bench.leaderboards.records import FORMAT, RECORD, Made, VerifiedRecord, contradictions
from bench.leaderboards.row import SCORES_SUFFIX, SHORT, Row, RowError
from bench.leaderboards.signatures import MAX_SIGNATURE_BYTES, SIGNATURE_SUFFIX, Signer, Signers

EARLIER = ".verified.json"
"""What records were called before they were signed."""

MAX_RECORD_BYTES = 2 * 2**20


@dataclass(frozen=True)
class SignedRecord:
    """A record that counts.

    Attributes:
        path: Its file.
        record: What it holds.
        signer: Who vouches for it.
        table: The verifier's scores; None where nothing was attacked.
    """

    path: Path
    record: VerifiedRecord
    signer: Signer
    table: ScoreTable | None


@dataclass
class Beside:
    """The records beside a row.

    Attributes:
        signed: Those that count.
        unsigned: Files that nobody signed: they give nothing.
        refused: File -> why it gives nothing, for those that claim to be more than they are.
    """

    signed: list[SignedRecord] = field(default_factory=list)
    unsigned: list[Path] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)


def is_record(name: str) -> bool:
    """Whether a file's name is that of a record, be it of an earlier form."""
    return RECORD.search(name) is not None or name.endswith(EARLIER)


def row_stem(name: str) -> str:
    """The name, without its ending, of the row that a record's name belongs to."""
    return RECORD.sub("", name).removesuffix(EARLIER)


def write_record(row_path: Path, stem: str, made: Made, signature: bytes | None, content: bytes) -> Path:
    """Write a record beside its row, its scores and its signature first; records that are there stay.

    Args:
        row_path: The row's file.
        stem: Its name without the ending.
        made: The record.
        signature: Of `content`; None leaves it unsigned.
        content: The record as `record_bytes` has it.

    Returns:
        The record's file.

    Raises:
        UsageError: The folder cannot be written.
    """
    path = row_path.with_name(f"{stem}.verified-{_digest(content)}.json")
    if made.scores is not None:
        write_file(_scores_of(path), made.scores, through_links=False)
    if signature is not None:
        write_file(_signature_of(path), signature, through_links=False)
    write_file(path, content, through_links=False)
    return path


def record_bytes(record: VerifiedRecord) -> bytes:
    """A record as its file holds it, and as it is signed."""
    return json_bytes(record.model_dump(mode="json"))


def read_beside(row: Row, paths: list[Path], signers: Signers, code: Mapping[str, str] | None = None) -> Beside:
    """The records beside a row, each by itself.

    Args:
        row: The row.
        paths: Files whose names are those of records of it, in one folder.
        signers: Whose signatures count there.
        code: The workspace's own modules that score the detector now; None where that does not matter, as for a row of
            other cards.
    """
    found = Beside()
    for path in paths:
        try:
            if not _signature_of(path).exists() and not path.is_symlink():
                found.unsigned.append(path)
            else:
                found.signed.append(_read(path, row, signers, code))
        except UsageError as error:
            found.refused[path] = str(error)
    return found


def _read(path: Path, row: Row, signers: Signers, code: Mapping[str, str] | None) -> SignedRecord:
    """A signed record.

    Raises:
        RowError: In one sentence, why it gives nothing.
    """
    where = f"verification '{path}'"
    signature = _signature_of(path)
    if linked := [part for part in (path, signature, _scores_of(path)) if part.is_symlink()]:
        raise RowError(f"'{linked[0]}' is a link, and what was verified must lie beside its row; remove it.")
    content = read_bytes(path, what="verification", max_bytes=MAX_RECORD_BYTES)
    signed = read_bytes(signature, what="signature", max_bytes=MAX_SIGNATURE_BYTES)
    try:
        signer = signers.check(content, signed)
    except UsageError as error:
        raise RowError(f"{where} gives nothing: {str(error).rstrip('.')}.") from None
    if (named := re.search(r"\.verified-([0-9a-f]+)\.json$", path.name)) is None or named[1] != _digest(content):
        raise RowError(f"{where} is named by other content than it has; restore its name.")
    record = _parsed(content, path)
    table = None
    if record.fresh is not None:
        try:
            table = read_scores(record.fresh.row, _scores_of(path), None)
        except UsageError as error:
            raise RowError(f"{where} gives nothing: of the verifier's own scores, {str(error).rstrip('.')}.") from None
    if problem := next(contradictions(record, row, table), None):
        raise RowError(f"{where} gives nothing: {problem.rstrip('.')}; verify the row again.")
    if code is not None and (changed := {name for name, _ in record.code.items() ^ code.items()}):
        names = shorten(", ".join(sorted(changed)))
        raise RowError(
            f"{where} gives nothing: the detector was scored by other code than is here ({names}); verify again."
        )
    return SignedRecord(path, record, signer, table)


def _parsed(content: bytes, path: Path) -> VerifiedRecord:
    found: dict[str, Any] = parse_json(content, path, what="verification")
    if type(found.get("format")) is not int or found["format"] != FORMAT:
        raise RowError(
            f"verification '{path}' has format {shorten(found.get('format'))}; this bench reads format {FORMAT}: "
            "verify the row again."
        )
    try:
        return VerifiedRecord.model_validate_json(json.dumps(found))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RowError(f"verification '{path}': field {shorten(place)}: {shorten(first['msg'])}.") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:SHORT]


def _signature_of(path: Path) -> Path:
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def _scores_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + SCORES_SUFFIX)
