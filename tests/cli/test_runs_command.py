"""`bench runs`: what a store holds, chosen by each column, and taken out only where it is proved to be a cell."""

import os
import shutil

import pytest
from toy_runs import bench, make_workspace, run

from bench.evaluation.run_records import Place, RunRecord
from bench.evaluation.store import Store


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("toy"))
    assert run(workspace, "--detector", "dark,corner", "--threat", "pgd-l2", "--eps", "0.5,1").exit_code == 0
    assert run(workspace, "--detector", "dark", "--eps", 0.5, "--limit", 3, "--seed", 7).exit_code == 0
    return workspace / "runs"


@pytest.fixture
def store(computed, tmp_path):
    """A copy that a test may take cells out of."""
    return Store(shutil.copytree(computed, tmp_path / "runs"))


def keys(store):
    return store.keys()


def listed(*words):
    """The columns of every line, by the command."""
    done = bench("runs", *words)
    assert done.exit_code == 0, done.output
    return [line.split() for line in done.stdout.splitlines()[1:-2]]


def test_every_cell_has_a_line_with_what_it_is(computed):
    lines = listed(computed)
    assert len(lines) == 8
    assert {(line[1], line[2]) for line in lines} == {(d, t) for d in ("dark", "corner") for t in ("clean", "pgd-l2")}
    assert bench("runs", computed).stdout.rstrip().endswith(f"8 cells of 8 in '{computed}'.")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--detector", "dark"), 5), (("--threat", "clean"), 3), (("--eps", "0.5"), 3), (("--eps", "1/2,1"), 5),
        (("--limit", "3"), 2), (("--limit", "none"), 6), (("--seed", "7"), 1), (("--track", "toy"), 8),
        (("--version", "0.1.0"), 8), (("--since", "2020-01-01"), 8),
        (("--detector", "corner", "--threat", "pgd-l2", "--eps", "1"), 1),
    ],
)  # fmt: skip
def test_each_option_leaves_out_what_does_not_fit(computed, words, count):
    assert len(listed(computed, *words)) == count


def test_a_day_is_that_of_the_files(store):
    key = store.keys()[0]
    os.utime(store.folder(key) / "cell.json", (10**9, 10**9))
    assert [line[0] for line in listed(store.root, "--until", "2001-12-31")] == [key[:12]]
    assert key[:12] not in {line[0] for line in listed(store.root, "--since", "2001-12-31")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--detector", "gat"), "no stored cell has the detector 'gat'; stored: corner, dark."),
        (("--eps", "9"), "no stored cell has the eps '9'; stored: 0.5, 1."),
        (("--eps", "much"), "--eps is 'much'; allowed are numbers such as 0.5 or 8/255."),
        (("--since", "May"), "--since is 'May'; allowed is a day such as 2026-01-31."),
        (("--limit", "3", "--detector", "corner"), "fits these options together; leave one out."),
        (("--yes",), "--yes answers the question of --remove; give both, or neither."),
        (("--remove",), "--remove asks first, and here is nobody to answer; add --yes."),
    ],
)
def test_what_fits_nothing_is_one_sentence(computed, words, said):
    done = bench("runs", computed, *words)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert len(Store(computed).keys()) == 8


def test_what_is_listed_is_removed_and_nothing_else(store):
    before = {line[0] for line in listed(store.root, "--eps", "1")}
    done = bench("runs", store.root, "--eps", 1, "--remove", "--yes")
    assert done.exit_code == 0, done.output
    left = {key[:12] for key in keys(store)}
    assert (len(left), left & before) == (6, set())
    assert "2 cells removed" in done.stdout
    assert len(store.metas()) == 6 and not any((store.root / ".robustood-writing").iterdir())


def test_a_run_computes_again_what_was_removed(computed, tmp_path):
    out = shutil.copytree(computed, tmp_path / "runs")
    assert bench("runs", out, "--eps", 1, "--detector", "dark", "--remove", "--yes").exit_code == 0
    again = run(computed.parent, "--detector", "dark", "--threat", "pgd-l2", "--eps", "0.5,1", "--out", out)
    assert "1 computed, 2 from the store." in again.stdout


@pytest.mark.parametrize("spoil", ["file", "link", "folder", "link to the cell"])
def test_what_is_not_proved_to_be_a_cell_is_not_touched(store, tmp_path, spoil):
    key = store.keys()[0]
    folder = store.folder(key)
    match spoil:
        case "file":
            (folder / "notes.txt").write_text("mine")
        case "link":
            (folder / "samples.parquet").rename(tmp_path / "samples.parquet")
            (folder / "samples.parquet").symlink_to(tmp_path / "samples.parquet")
        case "folder":
            (folder / "arrays.safetensors").unlink(missing_ok=True)
            (folder / "arrays.safetensors").mkdir()
            (folder / "arrays.safetensors" / "mine").touch()
        case "link to the cell":
            folder.rename(tmp_path / "cell")
            folder.symlink_to(tmp_path / "cell")
    before = sorted(path.name for path in folder.rglob("*"))
    done = bench("runs", store.root, "--cell", key, "--remove", "--yes")
    if done.exit_code == 2:
        assert "not proved to be cells" in done.stderr or "fits these options" in done.stderr
    assert done.exit_code == 2, done.output
    if folder.exists():
        assert sorted(path.name for path in folder.rglob("*")) == before
        assert key in keys(store)
    else:  # a cell that is damaged is moved aside by whoever reads it, as a whole
        (mine,) = store.root.rglob("mine")
        assert sorted(path.name for path in mine.parents[1].rglob("*")) == before


def test_while_a_run_writes_nothing_is_removed(store):
    place = Place(store.root)
    place.write(RunRecord.new([], 1))
    done = bench("runs", store.root, "--remove", "--yes")
    place.close()
    assert done.exit_code == 2 and "a run is writing" in done.stderr
    assert len(store.keys()) == 8


def test_cells_of_a_url_are_listed_and_not_removed():
    done = bench("runs", "s3://bucket/runs", "--remove", "--yes")
    assert done.exit_code == 2 and "--remove works on folders" in done.stderr
