"""What commands say of many cells at once, of devices, durations, seeds and downloads: each bound on both sides."""

from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from bench.cards.catalog import Catalog
from bench.cli import data, devices, failures
from bench.cli.durations import duration
from bench.cli.options import comma_separated, named_spec, set_names
from bench.cli.planning import lacks
from bench.cli.transfer_progress import TransferProgress
from bench.cli.verify import _seeds
from bench.errors import CellError, NotApplicableError, NotFittableError, UsageError

# --------------------------------------------------------------------------- many cells


def test_what_cells_lack_is_said_once_a_reason_with_the_number_of_cells_where_there_are_several():
    absent = {"a": {"x": "why"}, "b": {"x": "why"}, "c": {"y": "other"}, "d": {"x": "why", "z": "why"}}
    assert list(lacks(absent)) == [
        "a does without x: why. (2 cells do for this reason)",
        "c does without y: other.",
        "d does without x, z: why.",
    ]


def failed(error, detector="gat", threat="pgd-l2", track="digits"):
    planned = SimpleNamespace(
        track=SimpleNamespace(name=track), threat=SimpleNamespace(name=threat), detector=SimpleNamespace(name=detector)
    )
    return SimpleNamespace(planned=planned, error=error, sentence=f"{detector} x {threat}: {error}")


def test_each_reason_of_a_failure_is_said_once_with_the_first_cell(capsys, monkeypatch):
    cause = CellError("all dead.")
    cause.__cause__ = ValueError("inner")
    every = [failed(CellError("no memory."), "a"), failed(cause, "b"), failed(CellError("no memory."), "c")]
    failures.say_failures(every)
    said = capsys.readouterr().err
    assert said == ("error: a x pgd-l2: no memory. (2 cells failed for this reason)\nerror: b x pgd-l2: all dead.\n")
    monkeypatch.setattr(failures.settings, "debug", True)
    failures.say_failures(every)
    said = capsys.readouterr().err
    assert said.count("ValueError: inner") == 1 and "Traceback" not in said


def test_what_is_left_out_is_said_by_what_cannot_be_fitted_and_by_what_does_not_apply(capsys):
    few = "it needs ten images."
    failures.say_left_out(
        [
            failed(NotFittableError(few), "a", "pgd-l2"),
            failed(NotFittableError(few), "a", "noise-l2"),
            failed(NotFittableError(few), "b"),
            failed(NotFittableError(few), "b", track="mnist"),
            failed(NotApplicableError("no gradient."), "c"),
            failed(NotApplicableError("no gradient."), "d"),
        ]
    )
    assert capsys.readouterr().err.splitlines() == [
        "notice: left out of track 'digits': a, b: it needs ten images.",
        "notice: left out of track 'mnist': b: it needs ten images.",
        "notice: left out: c x pgd-l2: no gradient. (2 cells are left out for this reason)",
    ]


@pytest.mark.parametrize(
    ("error", "detectors", "threats", "left_out"),
    [
        (NotApplicableError, ["gat"], ["pgd-l2"], False),
        (NotApplicableError, ["all"], ["pgd-l2"], True),
        (NotApplicableError, ["gat"], ["all"], True),
        (NotApplicableError, ["gat@my-net"], ["pgd-l2"], False),
        (NotFittableError, ["gat"], ["all"], False),
        (NotFittableError, ["all"], ["pgd-l2"], True),
        (CellError, ["all"], ["all"], False),
    ],
)
def test_what_was_named_itself_is_never_left_out(error, detectors, threats, left_out):
    request = SimpleNamespace(detector=detectors, threat=threats)
    assert failures.may_be_left_out(request, failed(error("no."))) is left_out


# --------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("cuda", 1, None),
        ("cuda:1", 2, None),
        ("cuda:0", 1, None),
        ("cuda", 0, "it sees none"),
        ("cuda:1", 1, "it sees 1 of them, numbered from 0"),
        ("cuda:2", 2, "it sees 2 of them, numbered from 0"),
    ],
)
def test_a_gpu_has_to_be_one_of_those_that_are_seen(monkeypatch, name, count, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if said is None:
        assert devices.resolve_device(name) == name
        return
    with pytest.raises(UsageError) as caught:
        devices.resolve_device(name)
    assert str(caught.value) == f"device '{name}' is not available to this torch ({said}); use --device cpu or auto."


def test_mps_is_asked_for_and_another_name_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.resolve_device("mps") == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device 'mps' is not available to this torch; use --device cpu"):
        devices.resolve_device("mps")


# --------------------------------------------------------------------------- durations, seeds, names


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"),
        (3599.4, "59 min 59 s"), (3600, "1 h"), (3659, "1 h"), (3660, "1 h 1 min"), (86_399, "23 h 59 min"),
        (86_400, "1 d"), (90_000, "1 d 1 h"), (3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations_change_their_units_at_whole_ones(seconds, said):
    assert duration(seconds) == said


def test_seeds_are_whole_numbers_of_up_to_nine_digits():
    assert _seeds(["0", "999999999", "007"]) == (0, 999_999_999, 7)
    for wrong in ("1000000000", "-1", "1.0", "", "\u0663"):
        with pytest.raises(UsageError, match="allowed are integers from 0 to 999999999"):
            _seeds(["1", wrong])


def test_names_between_commas_come_once_and_in_order():
    assert comma_separated(["b, a", "a,,c "]) == ["b", "a", "c"]
    assert comma_separated(None) == [] and set_names(None) is None and set_names([","]) == []


def test_a_network_or_a_detector_is_meant_and_never_both_or_none():
    catalog = Catalog()
    network = catalog.names("network")[0]
    own = catalog.network(network).track
    assert named_spec(catalog, network, None, None).track == own
    assert named_spec(catalog, network, None, own).name == network
    assert named_spec(catalog, None, "gat", "digits").name == "gat"
    for asked, said in (
        ((network, "gat", None), "name either a network"),
        ((None, None, "digits"), "name either a network"),
        ((None, "gat", None), "detector 'gat' needs a track"),
        ((network, None, "no-track"), f"is for the track '{own}', not 'no-track'; leave --track out."),
    ):
        with pytest.raises(UsageError, match=said):
            named_spec(catalog, *asked)


# --------------------------------------------------------------------------- downloads


def test_a_bar_follows_each_file_and_leaves_with_its_last_byte():
    with TransferProgress(Console(file=StringIO(), force_terminal=True)) as progress:
        progress.told("one", 10, 100)
        progress.told("one", 60, 100)
        progress.told("two", 5, 5)
        shown = [(task.description, task.completed, task.total, task.visible) for task in progress._bar.tasks]
        assert shown == [("one", 60, 100, True), ("two", 5, 5, False)]
        assert progress._bar.live.is_started and progress._bar.live.transient
    assert not progress._bar.live.is_started


def test_a_bar_is_shown_on_the_console_that_is_named(capsys):
    out = StringIO()
    with TransferProgress(Console(file=out, force_terminal=True)) as progress:
        progress.told("one", 10, 100)
        progress._bar.refresh()
    assert "one" in out.getvalue() and capsys.readouterr().out == ""


def test_nothing_is_shown_where_there_is_no_terminal():
    out = StringIO()
    with TransferProgress(Console(file=out)) as progress:
        progress.told("one", 10, 100)
    assert out.getvalue() == ""


def test_downloads_are_followed_beside_what_is_printed(monkeypatch, tmp_path):
    consoles = []

    class Seen(TransferProgress):
        def __init__(self, console):
            consoles.append(console)
            super().__init__(console)

    monkeypatch.setattr(data, "TransferProgress", Seen)
    data.download(track=["digits"], data_dir=tmp_path)  # whose sets are drawn or come with a package
    assert [console.stderr for console in consoles] == [True]
