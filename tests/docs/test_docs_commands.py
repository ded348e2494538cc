"""Every command and every block of code of the documentation, run in the page's order."""

from contextlib import ExitStack

import pytest
from doc_checks import check_fence, check_shown
from doc_pages import Command, page_names, read_page
from doc_rules import run
from doc_session import NeedsWeights, Ran, Session, describe, hermetic


def is_slow(step):
    """Whether a step is every detector and variant on a track, which takes longest and which no later step needs."""
    return isinstance(step, Command) and any(word.startswith("all,") for word in step.words)


def marks(step):
    needs_weights = isinstance(step, Command) and "cifar10" in step.words  # published ones, which do not ship
    return [pytest.mark.data] * needs_weights + [pytest.mark.slow] * is_slow(step)


PAGES = {name: read_page(name) for name in page_names()}
STEPS = [
    pytest.param(name, number, id=step.place, marks=marks(step))
    for name, page in PAGES.items()
    for number, step in enumerate(page.steps)
]


class Reader:
    """Somebody who does what a page says, one step after the other and each once."""

    def __init__(self, session):
        self.session = session
        self.outcomes = {}

    def at(self, number):
        """What came of a step, after all steps before it but the slow ones."""
        steps = PAGES[self.session.page].steps
        for position, step in enumerate(steps[: number + 1]):
            if position not in self.outcomes and (position == number or not is_slow(step)):
                self.outcomes[position] = self.outcome(step)
        return self.outcomes[number]

    def outcome(self, step):
        try:
            return run(self.session, step) if isinstance(step, Command) else check_fence(self.session, step)
        except Exception as error:
            return error


@pytest.fixture(scope="module")
def reader_of(tmp_path_factory, made_up_data):
    """Gives the one reader of a page, in a process that shows it nothing of other pages."""
    readers, at_work = {}, ExitStack()

    def reader(name):
        if name not in readers:
            readers[name] = Reader(Session(name, tmp_path_factory.mktemp("page"), made_up_data))
        if reader.last != name:
            at_work.close()
            at_work.enter_context(hermetic(readers[name].session))
            reader.last = name
        return readers[name]

    reader.last = None
    with at_work:
        yield reader


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # a page writes TorchScript, which is still read
@pytest.mark.parametrize(("page", "number"), STEPS)
def test_what_the_page_says_there_works(page, number, reader_of):
    step, outcome = PAGES[page].steps[number], reader_of(page).at(number)
    if isinstance(outcome, NeedsWeights):
        pytest.skip(str(outcome))
    if isinstance(outcome, BaseException):
        raise outcome
    if isinstance(outcome, Ran):
        assert outcome.code == 0, describe(step, outcome)
        check_shown(step, outcome.stdout)


def test_the_pages_ask_for_something():
    assert "README.md" in PAGES
    assert sum(isinstance(step, Command) for page in PAGES.values() for step in page.steps) > 20
