"""Units are handed out once, clean cells first, the last cells cut, and what a dead worker had goes to another."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.engines.base import Failure, Unit
from bench.engines.schedule import Schedule
from bench.errors import CellError, NotApplicableError
from bench.evaluation.planned import Part, Wave
from bench.evaluation.spending import Evidence


def names(units):
    return [(unit.planned.detector.name, unit.planned.threat.name) for unit in units]


def all_units(schedule, workers=1):
    """Every unit, where worker after worker does one and reports the key, or a share."""
    given_out = []
    while not schedule.finished:
        held = [(worker, schedule.next(worker)) for worker in range(workers)]
        assert any(unit is not None for _, unit in held), "nothing can be begun, and nothing runs"
        for worker, unit in held:
            if unit is not None:
                given_out.append(unit)
                schedule.done(worker, b"share" if unit.part is not None else unit.planned.key)
    return given_out


def test_a_clean_cell_comes_before_its_attacks_which_wait_for_it(planned):
    cells = planned(["net", "labelled"], ["pgd"], ["0.3", "0.6"])
    schedule = Schedule(cells[::-1], 3)
    first = [schedule.next(worker) for worker in range(3)]
    assert sorted(names(unit for unit in first if unit)) == [("labelled", "clean"), ("net", "clean")]
    schedule.done(0, first[0].planned.key)
    begun = [schedule.next(worker) for worker in (0, 2)]
    assert {unit.planned.detector.name for unit in begun} == {first[0].planned.detector.name}
    assert all(unit.planned.attacks for unit in begun)


def test_what_is_stored_is_not_handed_out_and_holds_nobody_up(planned):
    cells = planned("net", "pgd", ["0.3", "0.6"])
    schedule = Schedule(cells[1:], 1, frozenset({cells[0].key}))
    assert [unit.planned.key for unit in all_units(schedule)] == [cell.key for cell in cells[1:]]


def test_members_and_sources_that_nobody_asked_for_are_computed_first(planned):
    worst = planned("labelled", "worst", "0.3")
    order = [unit.planned.threat.name for unit in all_units(Schedule(worst, 1))]
    assert order[-1] == "worst"
    assert {"fooling", "noise", "transferred"} < set(order)


def test_the_last_cells_are_cut_and_no_others(planned):
    cells = planned("net", ["pgd", "pgd-inf", "fgm"], None)
    units = all_units(Schedule(cells, 2), workers=2)
    whole = [unit for unit in units if unit.part is None and not unit.shares]
    cut = [unit for unit in units if unit.part is not None]
    rest = [unit for unit in units if unit.shares]
    assert len(whole) + len(rest) == len(cells)
    assert 2 <= len(rest) <= 3
    assert sorted((unit.part.number, unit.part.count) for unit in cut) == [(0, 2)] * len(rest) + [(1, 2)] * len(rest)


def test_where_an_audit_decides_the_other_images_wait_for_all_of_it(planned):
    cells = planned("net", "costly", "0.3", evidence=Evidence())
    schedule = Schedule(cells[1:], 2, frozenset({cells[0].key}))
    first, second = schedule.next(0), schedule.next(1)
    assert [unit.part.wave for unit in (first, second)] == [Wave.AUDIT] * 2
    schedule.done(1, b"second")
    assert schedule.next(1) is None
    schedule.lost(0, "by SIGKILL")
    assert schedule.next(1) == first
    schedule.done(1, b"first")
    packed = [b"first", b"second"]
    for wave, number in ((Wave.AUDIT, 1), (Wave.AUDIT, 2), (Wave.REST, 0)):
        following = [schedule.next(0), schedule.next(1)]
        assert [(unit.part, unit.shares) for unit in following] == [
            (Part(worker, 2, wave, number), tuple(packed)) for worker in (0, 1)
        ]
        assert schedule.next(2) is None
        schedule.done(1, f"{wave} {number} of 1".encode())
        schedule.done(0, f"{wave} {number} of 0".encode())
        packed += [f"{wave} {number} of {worker}".encode() for worker in (0, 1)]
    last = schedule.next(0)
    assert (last.part, last.shares) == (None, tuple(packed))


def test_one_worker_is_given_whole_cells(planned):
    assert all(unit.part is None for unit in all_units(Schedule(planned("net", "pgd", "0.3"), 1)))


def test_attacks_on_classes_and_worst_cases_are_never_cut(planned):
    for cell in planned("labelled", "fooling", "0.3", side="fool") + planned("labelled", "worst", "0.3"):
        if cell.attacks:
            assert not cell.can_be_shared


def test_a_worker_goes_on_with_the_detector_that_it_holds(planned):
    cells = planned(["net", "labelled"], ["pgd", "fgm", "noise"], "0.3")
    schedule, held = Schedule(cells, 2), {0: [], 1: []}
    while not schedule.finished:
        for worker in (0, 1):
            if (unit := schedule.next(worker)) is not None:
                held[worker].append(unit.planned.detector.name)
                schedule.done(worker, b"" if unit.part is not None else unit.planned.key)
    for detectors in held.values():
        assert sum(a != b for a, b in itertools.pairwise(detectors)) <= 2


def test_where_the_clean_cell_fails_all_attacks_on_it_fail_for_the_same_reason(planned):
    cells = planned("net", "pgd", ["0.3", "0.6"])
    schedule = Schedule(cells, 1)
    schedule.next(0)
    schedule.done(0, Failure.of(CellError("no score")))
    assert schedule.finished
    assert {str(schedule.settled[cell.key].error) for cell in cells} == {"no score"}


def test_a_worst_case_hears_which_members_failed(planned):
    worst = planned("labelled", "worst", "0.3")[-1]
    schedule, last = Schedule([worst], 1), None
    while not schedule.finished:
        last = schedule.next(0)
        failed = last.planned.threat.name == "noise"
        schedule.done(0, Failure.of(CellError("no noise")) if failed else last.planned.key)
    ((key, why),) = last.failed
    assert str(why.error) == "no noise"
    assert key in {need.key for need in worst.needs}


def test_a_share_that_fails_settles_its_cell_and_no_share_of_it_is_begun(planned):
    cells = planned("net", "pgd", "0.3")
    schedule = Schedule(cells[1:], 3, frozenset({cells[0].key}))
    first, second = schedule.next(0), schedule.next(1)
    assert (first.part.number, second.part.number) == (0, 1)
    schedule.done(0, Failure.of(CellError("it broke")))
    assert schedule.next(0) is None
    schedule.done(1, b"too late")
    assert schedule.finished


def test_the_unit_of_a_dead_worker_is_done_by_another(planned):
    cells = planned("net", "pgd", "0.3")
    schedule = Schedule(cells, 1)
    lost = schedule.next(0)
    schedule.lost(0, "by SIGKILL")
    assert schedule.next(0) == lost


@pytest.mark.parametrize("stored", [False, True])
def test_what_kills_three_workers_is_given_up_in_a_sentence(planned, stored):
    cells = planned("net", "pgd", "0.3")
    wanted = cells[1:] if stored else cells
    schedule = Schedule(wanted, 1, frozenset({cells[0].key} if stored else ()))
    for _ in range(3):
        assert not schedule.finished
        assert isinstance(schedule.next(0), Unit)
        schedule.lost(0, "by SIGKILL")
    assert schedule.finished
    assert "3 workers died over it, the last one by SIGKILL" in str(schedule.settled[cells[1].key].error)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_cell_is_settled_once_whatever_the_workers_do(planned, data):
    cells = planned(["net", "labelled"], ["pgd", "noise"], ["0.3", "0.6"])
    count = data.draw(st.integers(1, 4), label="workers")
    schedule, busy, finished = Schedule(cells, count), {}, []
    for _ in range(2000):
        if schedule.finished:
            break
        for worker in range(count):
            if worker not in busy and (unit := schedule.next(worker)) is not None:
                busy[worker] = unit
        worker = data.draw(st.sampled_from(sorted(busy)), label="worker")
        unit = busy.pop(worker)
        if data.draw(st.integers(0, 9), label="fate") == 0:
            schedule.lost(worker, "by SIGKILL")
            continue
        place = unit.planned.key, unit.part
        assert place not in finished
        finished.append(place)
        schedule.done(worker, b"" if unit.part is not None else unit.planned.key)
    assert schedule.finished
    assert set(schedule.settled) == {cell.key for cell in cells}


def test_an_error_keeps_its_class_and_its_reason_on_the_way():
    error = NotApplicableError("it cannot be", why="no gradient")
    again = Failure.of(error).error
    assert (type(again), str(again), again.why) == (NotApplicableError, "it cannot be", "no gradient")


def test_an_error_of_other_code_arrives_as_the_nearest_one_of_the_project():
    class Own(CellError):
        pass

    assert type(Failure.of(Own("so it is")).error) is CellError


def test_workers_that_cannot_even_begin_end_the_run(planned):
    schedule = Schedule(planned("net", "pgd", "0.3"), 2)
    for _ in range(6):
        schedule.lost(0, "with exit code 1")
    with pytest.raises(CellError, match="workers die before they begin, the last one with exit code 1"):
        schedule.lost(1, "with exit code 1")


def test_a_worker_that_waits_for_clean_scores_loads_images_once(planned):
    schedule = Schedule(planned("net", "pgd", ["0.3", "0.6"]), 2)
    clean = schedule.next(0)
    assert schedule.next(1) is None
    looked = schedule.ahead(1)
    assert (looked.ahead, looked.planned.attacks) == (True, True)
    schedule.done(1, None)
    assert (schedule.next(1), schedule.ahead(1)) == (None, None)
    schedule.done(0, clean.planned.key)
    assert {schedule.next(worker).planned.key for worker in (0, 1)} == {looked.planned.key}


def test_who_looks_ahead_holds_nobody_up_and_may_die(planned):
    schedule = Schedule(planned("net", "pgd", "0.3"), 2)
    clean, looked = schedule.next(0), schedule.ahead(1)
    schedule.done(0, clean.planned.key)
    assert schedule.next(0).planned.key == looked.planned.key
    schedule.lost(1, "by SIGKILL")
    assert schedule.next(1).part == Part(1, 2)
    assert not schedule.settled.keys() & {looked.planned.key}


def test_nobody_looks_ahead_where_nothing_waits(planned):
    schedule = Schedule(planned("net", "clean"), 2)
    assert schedule.next(0) is not None
    assert schedule.ahead(1) is None


def test_radii_that_wait_for_each_other_are_cut_since_nothing_else_can_be_begun(planned):
    cells = planned("net", "pgd", "0.1,0.2,0.3,0.4,0.5,0.6", nested=True)
    schedule = Schedule(cells[1:], 2, frozenset({cells[0].key}))
    for cell in cells[1:]:
        units = [schedule.next(0), schedule.next(1)]
        assert [(unit.planned.key, unit.part.number) for unit in units] == [(cell.key, 0), (cell.key, 1)]
        for worker in (0, 1):
            schedule.done(worker, b"share")
        assert schedule.next(0).planned.key == cell.key
        schedule.done(0, cell.key)
    assert schedule.finished
