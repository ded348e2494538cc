"""Ways to forge a row, a record or a signature, for the tests of forgeries."""

import json

from row_tampering import at, loads, reseal, with_scores
from row_world import records
from safetensors.numpy import load
from test_row_tampering import with_figures

from bench.cards.catalog import Catalog
from bench.leaderboards.arrays import pack
from bench.leaderboards.record_files import _digest, record_bytes
from bench.leaderboards.records import VerifiedRecord
from bench.leaderboards.row import IMAGES_SUFFIX, SCORES_SUFFIX, read_row
from bench.leaderboards.signatures import sign


def arrays_of(path):
    return dict(load(path.with_name(read_row(path).scores.file).read_bytes()))


def idle(path, keep=0):
    """The row as if its attacks had done nothing: with no kept images, or with those and their honest scores."""
    row, arrays = read_row(path), arrays_of(path)
    clean = arrays["clean"][row.scores.sets["test"] :]
    changed = {name: clean.copy() if name.startswith(("worst", "member")) else own for name, own in arrays.items()}
    files, kept = {}, {}
    if keep:
        images = dict(load(path.with_name(row.images.file).read_bytes()))
        for number in range(len(row.entries)):
            chosen = images[f"rows.{number}"][:keep]
            kept |= {f"rows.{number}": chosen, f"images.{number}": images[f"images.{number}"][:keep]}
            for name in arrays:
                if name == f"worst.{number}" or name.startswith(f"member.{number}."):
                    changed[name][chosen] = arrays[name][chosen]
        files[IMAGES_SUFFIX] = pack(kept)
        row = row.model_copy(update={"images": row.images.model_copy(update={"count": keep})})
    else:
        row = row.model_copy(update={"images": None})
    forged, scores = with_scores(row, changed)
    return reseal(path, with_figures(forged, changed), {**files, SCORES_SUFFIX: scores})


def unverify(path):
    for file in path.parent.glob(f"{path.stem}.verified-*"):
        file.unlink()


def rewrite(path, change, key=None):
    """The record beside a row, changed and signed anew; unsigned where no key is given."""
    (old,) = records(path)
    content = loads(old)
    change(content)
    text = record_bytes(VerifiedRecord.model_validate_json(json.dumps(content)))
    scores = old.with_name(f"{old.stem}.scores.safetensors").read_bytes()
    unverify(path)
    new = path.with_name(f"{path.stem}.verified-{_digest(text)}.json")
    new.write_bytes(text)
    new.with_name(f"{new.stem}.scores.safetensors").write_bytes(scores)
    if key is not None:
        new.with_name(f"{new.name}.sig").write_bytes(sign(text, key))
    return new


def signature(record):
    return record.with_name(f"{record.name}.sig")


def setting(*place):
    """A change of one value."""
    *way, value = place

    def change(content):
        at(content, way[:-1])[way[-1]] = value

    return change


def with_keys(row):
    """The row with the keys that its version asks for."""
    from bench.cards.threat import Side
    from bench.evaluation.keys import Ingredients

    def cell(own, seed):
        key = Ingredients(
            detector_hash=row.detector.settings_hash, weights_sha256=tuple(w.sha256 for w in row.detector.weights),
            source_hash=own.source_hash, threat_hash=own.threat_hash, track_hash=row.track.hash,
            set_digests=dict(row.track.set_digests), norm=own.norm, eps=own.eps, side=Side.EVADE, seed=seed,
            limit=row.track.limit, micro_batch=row.micro_batch, early_stop=own.early_stop, needs=own.needs,
        ).key(layout=row.cell_format, version=row.bench)  # fmt: skip
        return own.model_copy(update={"key": key})

    entries = []
    for entry in row.entries:
        members = {name: m.model_copy(update={"cell": cell(m.cell, row.seed)}) for name, m in entry.members.items()}
        needs = tuple(member.cell.key for member in members.values())
        own = cell(entry.cell.model_copy(update={"needs": needs}), row.seed)
        entries.append(entry.model_copy(update={"cell": own, "members": members}))
    return row.model_copy(update={"entries": tuple(entries), "clean_cell": cell(row.clean_cell, 0)})


def scorer_base(root, path):
    from bench.leaderboards.rescore import Scorer

    return Scorer.load(read_row(path), Catalog(root), device="cpu", data_dir=None).base


def resign(record, key):
    """Name and sign the content of a record anew."""
    text = record.read_bytes()
    new = record.with_name(f"{record.name.partition('.verified-')[0]}.verified-{_digest(text)}.json")
    record.rename(new)
    record.with_name(f"{record.stem}.scores.safetensors").rename(new.with_name(f"{new.stem}.scores.safetensors"))
    signature(record).unlink()
    signature(new).write_bytes(sign(text, key))
