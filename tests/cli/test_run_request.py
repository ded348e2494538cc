import pytest

from bench.cli.request import read_request
from bench.errors import UsageError
from bench.evaluation.planned import RunOptions


def grid(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return path


def test_defaults_hold_where_nothing_is_given():
    request = read_request({"detector": ["gat"], "seed": None})
    assert (request.threat, request.track, request.side, request.seed) == (("pgd-l2",), ("digits",), None, 0)
    assert request.early_stop
    assert request.device == "auto"


def test_a_plan_without_options_is_that_of_a_request_without_options():
    request, options = read_request({"detector": ["gat"]}), RunOptions()
    for name in ("seed", "limit", "side", "early_stop", "micro_batch", "goal", "loss", "data_dir"):
        assert getattr(options, name) == getattr(request, name), name


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = grid(tmp_path, "detector: gat, msp\nlimit: 50\nseed: 3\nearly-stop: false\nstep-size: 0.25\n")
    request = read_request({"seed": 7, "limit": None}, path)
    assert request.detector == ("gat", "msp")
    assert (request.limit, request.seed, request.early_stop, request.step_size) == (50, 7, False, 0.25)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eps: 1", ("1",)),
        ("eps: [0.5, 8/255]", ("0.5", "8/255")),
        ("eps: 'l2:0.5,1'", ("l2:0.5,1",)),
        ("eps: ['l2:0.5,1', 'linf:0.1']", ("l2:0.5,1", "linf:0.1")),
        ("eps: {l2: [0.5, 1], linf: 8/255}", ("l2:0.5,1", "linf:8/255")),
    ],
)
def test_radii_may_be_written_in_every_readable_form(tmp_path, text, expected):
    assert read_request({"detector": ["gat"]}, grid(tmp_path, text)).eps == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("detectors: gat", "grid.yaml:1: unknown field 'detectors'; did you mean 'detector'?"),
        ("seed: 1\nlimit: many", "grid.yaml:2: field 'limit': given 'many', allowed: an integer"),
        ("side: left", "allowed: one of 'evade', 'alarm', 'both', 'fool' or 'between'"),
        ("eps: {l3: 1}", "the norms l2, linf, l1, l0 before their radii, not 'l3'"),
        ("device: tpu", "allowed: auto, cpu, mps, cuda or cuda:NUMBER"),
        ("step-size: -1", "greater than 0"),
        ("seed: 1\nseed: 2", "given twice"),
        ("a: &x 1\nb: *x", "holds an a"),
        ("!!python/object/apply:os.system ['true']", "tag"),
        ("- gat", "given is no mapping; a grid file is 'field: value' lines"),
        ("detector: [1, 2]", "'detector"),
    ],
)
def test_a_wrong_grid_file_is_answered_by_a_sentence_with_its_line(tmp_path, text, sentence):
    with pytest.raises(UsageError) as caught:
        read_request({"detector": ["gat"]}, grid(tmp_path, text))
    assert sentence in str(caught.value)
    assert "card" not in str(caught.value)


def test_a_missing_grid_file_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="is not a file"):
        read_request({}, tmp_path / "absent.yaml")


def test_without_a_detector_there_is_nothing_to_run():
    with pytest.raises(UsageError, match="no detector is named"):
        read_request({})


def test_shards_have_every_cell_once():
    cells = list(range(11))
    parts = [read_request({"detector": ["gat"], "shard": f"{number}/4"}).part_of(cells) for number in (1, 2, 3, 4)]
    assert sorted(cell for part in parts for cell in part) == cells
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert read_request({"detector": ["gat"]}).part_of(cells) == cells


@pytest.mark.parametrize("given", ["0/2", "3/2", "2", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused(given):
    with pytest.raises(UsageError, match=r"--shard is .*a shard I/N with I from 1 to N"):
        read_request({"detector": ["gat"], "shard": given})


@pytest.mark.parametrize("given", [{"address": "auto"}, {"gpus": 0.5}])
def test_options_of_a_cluster_are_refused_without_its_engine(given):
    with pytest.raises(UsageError, match=r"--\w+ is an option of --engine ray; name that engine, or leave it out\."):
        read_request({"detector": ["gat"], **given})
    read_request({"detector": ["gat"], "engine": "ray", **given})
