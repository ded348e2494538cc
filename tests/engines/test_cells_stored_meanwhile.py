"""What another command stores while a run goes on is not computed again, and a run knows it from what it computed."""

from bench.engines.base import Finished
from bench.engines.run import run_on
from bench.engines.schedule import Schedule
from bench.evaluation.engine import run_plan
from bench.evaluation.store import MemoryStore, Store


class Elsewhere:
    """An engine of one worker, during whose first unit another command stores some cells.

    Args:
        store: The store.
        cells: The cells as another command computes them, by their keys.
        meanwhile: The keys of those that it stores during the first unit.
    """

    def __init__(self, store, cells, meanwhile):
        self.count, self.given = 1, []
        self._store, self._cells, self._meanwhile = store, cells, meanwhile

    def give(self, worker, unit):
        self.given.append(unit.planned.key)

    def wait(self):
        for key in (self.given[-1], *self._meanwhile):
            self._store.put(self._cells[key])
        return [Finished(0, self.given[-1])]

    def close(self):
        pass


def test_only_what_nobody_else_has_stored_is_computed(planned, catalog, tmp_path):
    plan = planned("net", ["pgd", "noise", "fgm"], "0.3", micro_batch=32)
    memory = MemoryStore()
    cells = {one.planned.key: memory.get(one.planned.key) for one in run_plan(plan, memory, catalog)}
    clean, *attacks = [cell.key for cell in plan]
    engine = Elsewhere(Store(tmp_path), cells, attacks[:2])
    outcomes = list(run_on(plan, Store(tmp_path), lambda: engine))
    assert engine.given == [clean, attacks[2]]
    assert [one.from_store for one in outcomes] == [False, True, True, False]


def test_a_run_goes_on_after_cells_that_are_stored(planned, catalog, tmp_path):
    plan = planned("net", ["pgd", "noise"], "0.3", micro_batch=32)
    memory, store = MemoryStore(), Store(tmp_path)
    cells = {one.planned.key: memory.get(one.planned.key) for one in run_plan(plan, memory, catalog)}
    store.put(cells[plan[1].key])
    engine = Elsewhere(store, cells, [])
    outcomes = list(run_on([plan[1], plan[0], plan[2]], store, lambda: engine))
    assert engine.given == [plan[0].key, plan[2].key]
    assert [one.from_store for one in outcomes] == [True, False, False]


def test_a_cell_that_is_found_leaves_none_of_its_parts_to_do(planned):
    clean, attack = planned("net", "pgd", "0.3", micro_batch=8)
    schedule = Schedule([attack], 2, frozenset([clean.key]))
    first = schedule.next(0)
    assert first is not None
    assert first.part is not None
    assert schedule.next(1) is not None  # the other half of its images
    schedule.found(1)
    assert schedule.settled == {attack.key: attack.key}
    assert schedule.elsewhere == {attack.key}
    schedule.done(0, b"a share that comes too late")
    assert schedule.finished
    assert schedule.next(0) is schedule.next(1) is None


def test_a_run_whose_last_cells_are_stored_as_it_begins_computes_without_an_error(planned, catalog, tmp_path):
    """Between the first look and the loading of images another command may store all that is missing."""
    plan = planned("net", "pgd", "0.3", micro_batch=32)
    memory = MemoryStore()
    cells = [memory.get(one.planned.key) for one in run_plan(plan, memory, catalog)]

    class Late(Store):
        def check_writable(self):
            super().check_writable()
            for cell in cells:
                self.put(cell)

    outcomes = list(run_plan(plan, Late(tmp_path), catalog))
    assert [one.planned.key for one in outcomes] == [cell.key for cell in plan]
