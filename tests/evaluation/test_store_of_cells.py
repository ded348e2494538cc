import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cards.threat import Side
from bench.errors import CellError, UsageError
from bench.evaluation import store as store_module
from bench.evaluation.leftovers import FOLDER
from bench.evaluation.results import SAMPLE_COLUMNS, Cell, CellMeta
from bench.evaluation.store import Store
from bench.seals import sealed_json, unsealed_json


def make_cell(number: int, samples: int = 50, **changes: object) -> Cell:
    meta = CellMeta(
        key=f"{number:064x}", detector="d", detector_hash="0", weights_sha256=(), source_hash="0",
        threat="t", threat_hash="0", threat_params={"steps": 3},
        norm=None, eps=None, side=Side.EVADE, track="k", track_hash="0", set_digests={},
        limit=None, seed=0, micro_batch=8, early_stop=True, id_accuracy=None, iqr=0.1 + 0.2, stop_high=None,
        stop_low=None, thresholds={}, sets={}, mean=None, statuses={}, gradients=1, queries=2, seconds=0.5,
        device="cpu", versions={},
    ).model_copy(update=changes)  # fmt: skip
    rng = np.random.default_rng(number)
    floats = {"clean_score", "score", "norm"}
    columns = {
        name: rng.normal(size=samples).astype(np.float32)
        if name in floats
        else np.full(samples, "x", dtype=object)
        if name in ("set", "status")
        else np.arange(samples)
        for name in SAMPLE_COLUMNS
    }
    return Cell(meta, pd.DataFrame(columns))


def folder(store: Store, number: int) -> Path:
    key = f"{number:064x}"
    return store.root / "cells" / key[:2] / key


def test_a_cell_comes_back_as_it_was_put(tmp_path):
    store, cell = Store(tmp_path / "runs"), make_cell(1)
    put = store.put(cell)
    back = Store(tmp_path / "runs").get(cell.meta.key)
    assert back.meta == put.meta
    assert back.meta.iqr == cell.meta.iqr
    pd.testing.assert_frame_equal(back.samples, cell.samples)
    assert not store.notices


def test_a_key_that_was_never_put_is_absent(tmp_path):
    store = Store(tmp_path / "nowhere")
    assert store.get("0" * 64) is None
    assert store.metas() == []
    assert not store.root.exists()


def test_a_key_cannot_leave_the_folder(tmp_path):
    with pytest.raises(UsageError, match="no key"):
        Store(tmp_path).get("../../etc/passwd")


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "samples.parquet").write_bytes((f / "samples.parquet").read_bytes()[:-7]),
        lambda f: (f / "cell.json").write_text((f / "cell.json").read_text()[:40]),
        lambda f: (f / "cell.json").write_text("[" * 100_000),
        lambda f: (f / "cell.json").write_text("{}"),
        lambda f: (f / "cell.json").unlink(),
        lambda f: (f / "samples.parquet").unlink(),
        lambda f: (shutil.rmtree(f), f.write_text("a file")),
        lambda f: ((f / "cell.json").unlink(), (f / "cell.json").mkdir()),
        lambda f: (f / "cell.json").write_bytes(b"\xff\xfe"),
        lambda f: (f / "cell.json").write_text((f / "cell.json").read_text().replace("0001", "0002")),
    ],
)
def test_a_damaged_cell_is_moved_aside_named_in_a_notice_and_can_be_put_again(tmp_path, damage):
    store = Store(tmp_path)
    store.put(make_cell(1))
    damage(folder(store, 1))
    assert store.meta(make_cell(1).meta.key) is None
    assert len(store.notices) == 1
    assert "broken" in store.notices[0]
    assert len(list((tmp_path / "broken").iterdir())) == 1
    store.put(make_cell(1))
    assert store.get(make_cell(1).meta.key) is not None


def test_a_cell_with_the_fields_of_another_version_stays_where_it_is_until_its_key_is_put_again(tmp_path):
    store = Store(tmp_path)
    store.put(make_cell(1))
    file = folder(store, 1) / "cell.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if k not in ("seed", "seal")}))
    assert store.metas() == []
    assert store.notices == ["cells of another version of bench are left where they are, and not shown: 1."]
    assert file.is_file()
    store.put(make_cell(1))
    assert store.get(make_cell(1).meta.key) is not None
    assert len(list((tmp_path / "broken").iterdir())) == 1


def test_putting_over_a_damaged_cell_that_nobody_looked_at_replaces_it(tmp_path):
    store = Store(tmp_path)
    store.put(make_cell(1))
    (folder(store, 1) / "samples.parquet").write_bytes(b"short")
    store.put(make_cell(1))
    assert Store(tmp_path).get(make_cell(1).meta.key) is not None


def test_a_figure_that_is_not_a_number_is_not_stored(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(CellError, match="not a finite number"):
        store.put(make_cell(1, iqr=float("nan")))
    assert store.metas() == []


def test_stored_json_has_no_nan_and_reads_without_this_package(tmp_path):
    store = Store(tmp_path)
    store.put(make_cell(1))
    content = json.loads((folder(store, 1) / "cell.json").read_text(), parse_constant=pytest.fail)
    assert content["detector"] == "d"


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_a_disk_that_refuses_is_one_sentence_and_loses_nothing(tmp_path, monkeypatch, number, said):
    store = Store(tmp_path)
    store.put(make_cell(1))

    def refuse(path, content):
        path.write_bytes(content[:5])
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(store_module, "_write", refuse)
    with pytest.raises(UsageError, match=said) as error:
        store.put(make_cell(2))
    assert "are kept" in str(error.value)
    assert "\n" not in str(error.value)
    assert [meta.key for meta in store.metas()] == [make_cell(1).meta.key]
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(UsageError, match="a file is in the way"):
        Store(tmp_path / "runs").check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path):
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="permission"):
        Store(tmp_path / "runs").check_writable()


WRITER = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_store_of_cells import make_cell, Store
    store = Store(Path({root!r}))
    print("ready", flush=True)
    for number in range(10_000):
        store.put(make_cell(number, samples=20_000))
"""


def test_killing_a_writer_at_any_moment_leaves_only_whole_cells(tmp_path):
    script = textwrap.dedent(WRITER).format(tests=str(Path(__file__).parent), root=str(tmp_path))
    for delay in (0.0, 0.013, 0.05):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        store = Store(tmp_path)
        for key in sorted(store.keys()):
            assert store.get(key) is not None
        assert not store.notices
    store.check_writable()
    assert list((tmp_path / FOLDER).iterdir()) == []


def put_many(root: Path, order: list[int], failed: "multiprocessing.Queue[str]") -> None:
    try:
        store = Store(root)
        for number in order:
            store.put(make_cell(number))
            if store.get(f"{number:064x}") is None:
                failed.put(f"{number} is gone")
        failed.put(";".join(store.notices))
    except Exception as error:
        failed.put(repr(error))


def test_two_processes_that_put_the_same_keys_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    numbers = list(range(40))
    workers = [context.Process(target=put_many, args=(tmp_path, order, said)) for order in (numbers, numbers[::-1])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [said.get(), said.get()] == ["", ""]
    store = Store(tmp_path)
    assert len(store.cells()) == 40
    assert not store.notices


def test_listing_two_hundred_cells_is_quick(tmp_path):
    store = Store(tmp_path)
    store.put(make_cell(0, samples=2000))
    source = folder(store, 0)
    content = unsealed_json((source / "cell.json").read_bytes())
    for number in range(1, 200):
        copy = folder(store, number)
        shutil.copytree(source, copy)
        (copy / "cell.json").write_bytes(sealed_json(content | {"key": f"{number:064x}"}))
    started = time.process_time()
    assert len(Store(tmp_path).metas()) == 200
    assert time.process_time() - started < 2.0  # it takes 0.1 s; parsing the samples would take far longer
