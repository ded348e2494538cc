import json
from pathlib import Path

import numpy as np
import pytest
from baseline_cells import baseline, made, scores

from bench.cards.catalog import Catalog
from bench.errors import UsageError
from bench.evaluation.plan import plan
from bench.leaderboards.baseline import MAX_BYTES, read_baseline, schema, write_baseline
from bench.leaderboards.replay import replay
from bench.seals import Seal, seal_of

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def builtin():
    return Catalog()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(baseline(made(scores(), threat="clean"), made(scores(1))), path)
    return path


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def test_a_baseline_is_read_as_it_was_written(file):
    found = read_baseline(file)
    assert [cell.identity.label for cell in found.cells] == ["gat x clean on digits", "gat x pgd-l2 l2 1 on digits"]
    for name, part in scores(1).items():
        assert np.array_equal(found.cells[1].scores()[name], part.astype(np.float32))


def test_equal_content_gives_equal_bytes(file, tmp_path):
    write_baseline(read_baseline(file), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def test_scores_longer_than_one_text_come_back_whole(tmp_path):
    many = scores(2, count=5000)
    write_baseline(baseline(made(many)), tmp_path / "many.json")
    assert np.array_equal(
        read_baseline(tmp_path / "many.json").cells[0].scores()["far"], many["far"].astype(np.float32)
    )


def first(content):
    return content["cells"][0]


HOSTILE = {
    "another format": (lambda c: c.update(format=2), "has format 2; allowed is 1"),
    "no format": (lambda c: c.pop("format"), "has format None"),
    "unknown field": (lambda c: c.update(html="<script>"), "html"),
    "no cells": (lambda c: c.update(cells=[]), "cells"),
    "cells of a wrong type": (lambda c: c.update(cells="all"), "cells"),
    "a figure that its scores do not give": (lambda c: first(c).update(value=0.99), "and its scores give"),
    "an error that its scores do not give": (lambda c: first(c).update(se=0.5), "its scores give"),
    "a figure above one": (lambda c: first(c).update(value=1.5), "cells.0.value"),
    "a text for a figure": (lambda c: first(c).update(value="0.9"), "cells.0.value"),
    "a long text": (lambda c: first(c)["identity"].update(detector="x" * 10_000_000), "10,000,000 characters"),
    "a control character": (lambda c: first(c)["identity"].update(detector="a\u001b[2J"), "control or invisible"),
    "a name of two lines": (lambda c: first(c)["identity"].update(detector="gat\n2 cells: 2 unchanged."), "detector"),
    "turned text": (lambda c: first(c)["identity"].update(detector="\u202etag"), "control or invisible"),
    "a path for a track": (lambda c: first(c)["identity"].update(track="../x"), "identity.track"),
    "a script for a threat": (lambda c: first(c)["identity"].update(threat="<script>"), "identity.threat"),
    "a hash that is none": (lambda c: first(c)["provenance"].update(source_hash="x"), "source_hash"),
    "a cell twice": (lambda c: c["cells"].append(first(c)), "is given twice"),
    "scores that are no base64": (lambda c: first(c)["samples"]["far"].update(scores=["!"]), "not base64"),
    "too few scores": (lambda c: first(c)["samples"]["far"].update(count=121), "121 scores take"),
    "scores in one piece too many": (lambda c: first(c)["samples"]["far"]["scores"].append(""), "pieces of"),
    "scores that are not finite": (
        lambda c: first(c)["samples"]["far"].update(count=1, scores=["AADAfw=="]),
        "not all finite",
    ),
    "no ID images": (lambda c: first(c)["samples"].pop("test"), "gives no auroc"),
    "two wrong figures": (lambda c: first(c).update(value=1.5, se="much"), "json': 'cells.0.value': "),
    "a wrong name in a wrong cell": (
        lambda c: (first(c)["identity"].update(threat="<b>"), first(c).update(value=2.0)),
        "json': 'cells.0.ident",
    ),
    "a billion images": (lambda c: first(c)["samples"]["far"].update(count=10**9), "samples.far.count"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_one_sentence(file, what):
    change, sentence = HOSTILE[what]
    with pytest.raises(UsageError) as error:
        read_baseline(changed(file, change))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "no JSON object"),
        ('{"format": 1, "format": 1}', "twice"),
        ('{"format": NaN}', "holds NaN"),
        ('{"format": 1e999}', "not finite"),
        ("[" * 100_000, "nested more than"),
        ("\x80\x04K\x01.", "JSON"),
        ("{", "is not JSON"),
    ],
)
def test_what_is_no_json_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "wrong.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=sentence):
        read_baseline(tmp_path / "wrong.json")


def test_a_changed_baseline_is_refused_though_its_figures_still_follow(file):
    changed(file, lambda content: first(content)["provenance"].update(micro_batch=31))
    with pytest.raises(UsageError, match="differs from its seal, so it was changed or damaged: restore it"):
        read_baseline(file)


def test_no_flipped_bit_of_a_baseline_goes_unseen(tmp_path):
    path = tmp_path / "small.json"
    write_baseline(baseline(made(scores(count=4))), path)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 37):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(UsageError):
            read_baseline(path)


def test_an_older_baseline_without_a_seal_is_read_with_a_notice(file):
    heard = []
    read_baseline(file, heard.append)
    assert heard == []
    changed(file, lambda content: content.pop("seal"))
    assert read_baseline(file, heard.append).cells
    assert len(heard) == 1 and "has no seal" in heard[0] and str(file) in heard[0]


@pytest.mark.parametrize("path", ["leaderboards/baselines/digits-fast.json", "examples/ci/baseline.json"])
def test_the_baselines_of_this_repository_have_seals(path):
    assert seal_of((CHECKOUT / path).read_bytes()) is Seal.HOLDS


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as out:
        out.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match="larger than"):
        read_baseline(path)


def test_the_published_schema_is_that_of_the_reader():
    assert json.loads((CHECKOUT / "leaderboards" / "baseline.schema.json").read_text()) == schema()


def test_the_baseline_of_this_repository_can_be_computed_again(builtin):
    found = read_baseline(CHECKOUT / "leaderboards" / "baselines" / "digits-fast.json")
    again = replay(found.cells, builtin)
    assert again.reasons == {}
    asked = plan(
        builtin, ["gat", "msp"], ["pgd-l2"], "1", ["digits"], limit=100, overrides={"steps": 30, "restarts": 1}
    )
    assert set(again.keys.values()) == {cell.key for cell in asked}


def test_a_program_is_not_run_because_a_file_names_it(builtin):
    cell = made(scores(), detector="callable:os:system")
    found = replay([cell], builtin)
    assert found.planned == []
    assert "is a program without a card" in found.reasons[cell.identity]


def test_a_detector_that_is_gone_is_a_reason_and_no_error(builtin):
    cell = made(scores(), detector="gone")
    assert "unknown detector 'gone'" in replay([cell], builtin).reasons[cell.identity]


@pytest.mark.parametrize("figure", ["value", "se"])
def test_a_figure_may_be_off_by_a_rounding_and_no_more(figure):
    cell = made(scores())
    for off in (1e-10, -1e-10, 5e-10):
        type(cell)(**{**dict(cell), figure: getattr(cell, figure) + off})
    for off in (2e-9, -2e-9):
        with pytest.raises(ValueError, match="and its scores give"):
            type(cell)(**{**dict(cell), figure: getattr(cell, figure) + off})
