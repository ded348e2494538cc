"""Which unit is handed out next, on cells that are nothing but keys, at exactly the limits of each rule."""

from types import SimpleNamespace

import pytest

from bench.engines.base import Failure
from bench.engines.schedule import Schedule, missing
from bench.errors import CellError
from bench.evaluation.planned import Part, Wave


def cell(key, *, clean=None, needs=(), token="net", shared=False, nested=False, evidence=None, refused=None):
    return SimpleNamespace(
        key=key,
        clean=clean,
        needs=tuple(needs),
        can_be_shared=shared,
        refused=refused,
        ingredients=SimpleNamespace(detector_hash=token, nested=nested, evidence=evidence),
    )


def cells(count, **over):
    return [cell(f"cell {number}", **over) for number in range(count)]


def keys(schedule, workers):
    return [unit and unit.planned.key for unit in map(schedule.next, workers)]


WHY = Failure(CellError, "so it is")


def test_cells_are_handed_out_in_order_and_each_once():
    schedule = Schedule(cells(3), 1)
    assert keys(schedule, [0, 1, 2, 3]) == ["cell 0", "cell 1", "cell 2", None]
    assert [(unit.key, worker) for unit, worker in schedule.running()] == [("cell 0", 0), ("cell 1", 1), ("cell 2", 2)]
    for number in range(3):
        assert not schedule.finished
        schedule.done(number, f"cell {number}")
    assert schedule.finished
    assert Schedule([], 1).finished


def test_a_cell_is_cut_where_fewer_than_two_a_worker_are_open():
    for count, part in ((4, None), (3, Part(0, 2, Wave.ALL))):
        schedule = Schedule(cells(count, shared=True), 2)
        assert schedule.next(0).part == part
    assert Schedule(cells(1, shared=True), 1).next(0).part is None
    assert Schedule(cells(1), 2).next(0).part is None


def test_settled_cells_count_no_more_among_those_that_are_open():
    schedule = Schedule(cells(5, shared=True), 2)
    assert schedule.next(0).part is None
    assert schedule.next(1).part is None
    schedule.done(0, "cell 0")
    assert schedule.next(0).part is None  # four are open
    schedule.done(1, "cell 1")
    assert schedule.next(1).part == Part(0, 2, Wave.ALL)


@pytest.mark.parametrize(("nested", "ready", "cut"), [(True, 1, True), (True, 2, False), (False, 1, False)])
def test_nested_radii_are_cut_while_fewer_than_the_workers_can_be_begun(nested, ready, cut):
    first = cells(ready, shared=True, nested=nested)
    waiting = [cell(f"later {number}", needs=[first[0]], nested=nested) for number in range(4)]
    assert (Schedule([*first, *waiting], 2).next(0).part is not None) is cut


def test_a_wave_of_the_audit_comes_before_the_rest_and_the_cell_last():
    schedule = Schedule(cells(1, shared=True, evidence="tolerance"), 2)
    audit = [schedule.next(0), schedule.next(1)]
    assert [unit.part for unit in audit] == [Part(0, 2, Wave.AUDIT), Part(1, 2, Wave.AUDIT)]
    schedule.done(1, b"b")
    assert schedule.next(1) is None
    schedule.done(0, b"a")
    for number in (1, 2):
        later = [schedule.next(0), schedule.next(1)]
        assert [unit.part for unit in later] == [Part(worker, 2, Wave.AUDIT, number) for worker in (0, 1)]
        schedule.done(0, b"")
        schedule.done(1, b"")
    rest = [schedule.next(0), schedule.next(1)]
    assert [unit.part for unit in rest] == [Part(0, 2, Wave.REST), Part(1, 2, Wave.REST)]
    assert all(unit.shares == (b"a", b"b", b"", b"", b"", b"") for unit in rest)
    schedule.done(0, b"c")
    schedule.done(1, b"d")
    last = schedule.next(1)
    assert (last.part, last.shares) == (None, (b"a", b"b", b"", b"", b"", b"", b"c", b"d"))
    schedule.done(1, "cell 0")
    assert schedule.settled == {"cell 0": "cell 0"}


def test_shares_that_are_waiting_go_first_and_in_order():
    schedule = Schedule([*cells(1, shared=True), cell("other")], 2)
    assert schedule.next(0).part == Part(0, 2, Wave.ALL)
    assert schedule.next(1).part == Part(1, 2, Wave.ALL)
    assert schedule.next(2).planned.key == "other"


def test_a_worker_takes_what_it_has_loaded_then_what_nobody_else_has():
    mixed = [cell(f"{token}{number}", token=token) for number in range(3) for token in "abc"]
    schedule = Schedule(mixed, 1)
    assert keys(schedule, [0, 1]) == ["a0", "b0"]
    schedule.done(0, "a0")
    assert keys(schedule, [0, 2]) == ["a1", "c0"]
    schedule.done(2, "c0")
    schedule.lost(2, "gone")  # it had no unit, and what it had loaded is gone with it
    assert keys(schedule, [3]) == ["c1"]


def test_what_a_worker_has_loaded_comes_first_though_another_has_it_too():
    first = cell("a0", token="a")
    schedule = Schedule([first, cell("a1", token="a"), cell("b0", token="b", needs=[first]), cell("a2", token="a")], 1)
    assert keys(schedule, [0, 1]) == ["a0", "a1"]
    schedule.done(0, "a0")
    assert keys(schedule, [0, 2]) == ["a2", "b0"]


def test_a_failed_clean_cell_fails_all_that_stand_on_it_and_a_failed_need_is_told():
    clean = cell("clean")
    attack, other = cell("attack", clean=clean), cell("other", clean=clean)
    worst = cell("worst", needs=[attack, cell("alone")])
    schedule = Schedule([attack, other, worst], 1)
    assert keys(schedule, [0, 1]) == ["clean", "alone"]
    schedule.done(1, "alone")
    schedule.done(0, WHY)
    assert schedule.settled == {"alone": "alone", "clean": WHY, "attack": WHY, "other": WHY}
    assert schedule.next(0).failed == (("attack", WHY),)


def test_a_late_share_of_a_failed_cell_changes_nothing():
    schedule = Schedule([*cells(1, shared=True), cell("other")], 3)
    units = [schedule.next(worker) for worker in range(3)]
    assert [unit.part.number for unit in units] == [0, 1, 2]
    schedule.done(0, WHY)
    schedule.done(1, b"late")
    assert schedule.settled == {"cell 0": WHY}
    assert keys(schedule, [0, 1]) == ["other", None]


@pytest.mark.parametrize("workers", [1, 2])
def test_three_idle_deaths_a_worker_are_borne_and_one_more_ends_the_run(workers):
    schedule = Schedule(cells(9), workers)
    for _ in range(3 * workers):
        schedule.lost(0, "early")
    with pytest.raises(CellError, match="workers die before they begin, the last one early; try --workers 1"):
        schedule.lost(0, "early")


def test_a_unit_is_tried_three_times_and_the_deaths_over_others_are_not_counted_for_it():
    schedule = Schedule(cells(2), 1)
    for death in range(3):
        assert keys(schedule, [0]) == ["cell 0"], death
        schedule.lost(0, "by SIGKILL")
    failure = schedule.settled["cell 0"]
    assert failure.text == (
        "3 workers died over it, the last one by SIGKILL; where memory is short, use fewer --workers or a smaller "
        "--micro-batch."
    )
    assert keys(schedule, [0]) == ["cell 1"]


def test_a_worker_looks_ahead_once_at_a_cell_that_waits_and_it_is_not_taken_for_begun():
    clean = cell("clean")
    schedule = Schedule([cell("attack", clean=clean), cell("later", clean=clean)], 2)
    assert keys(schedule, [0]) == ["clean"]
    assert (schedule.ahead(1).planned.key, schedule.ahead(1)) == ("attack", None)
    assert schedule.ahead(2).ahead
    schedule.done(1, None)
    schedule.done(0, "clean")
    assert schedule.ahead(3) is None
    assert keys(schedule, [1, 0]) == ["attack", "later"]
    schedule.lost(2, "gone")
    assert not schedule.settled.keys() & {"attack"}


def test_what_is_stored_or_refused_is_not_missing():
    stored, refused, open_cell = cell("stored"), cell("refused", refused="a reason"), cell("open")
    assert missing([stored, refused, open_cell], frozenset({"stored"})) == [open_cell]
    schedule = Schedule([stored, refused, cell("attack", clean=stored, needs=[refused])], 1, frozenset({"stored"}))
    assert keys(schedule, [0]) == ["attack"]
