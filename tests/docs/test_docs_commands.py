"""Every command and every block of code of the documentation, run in the page's order."""

import pytest
from doc_checks import check_fence, check_shown
from doc_pages import Command, page_names, read_page
from doc_rules import run
from doc_session import NeedsWeights, Ran, Session, describe, hermetic


def needs_weights(step):
    return isinstance(step, Command) and "cifar10" in step.words


PAGES = {name: read_page(name) for name in page_names()}
STEPS = [
    pytest.param(name, number, id=step.place, marks=[pytest.mark.data] if needs_weights(step) else [])
    for name, page in PAGES.items()
    for number, step in enumerate(page.steps)
]


class Reader:
    """Somebody who does what a page says, one step after the other and each once."""

    def __init__(self, session):
        self.session = session
        self.outcomes = []

    def at(self, number):
        """What came of a step, after all steps before it."""
        steps = PAGES[self.session.page].steps
        for step in steps[len(self.outcomes) : number + 1]:
            try:
                done = run(self.session, step) if isinstance(step, Command) else check_fence(self.session, step)
            except (Exception, AssertionError) as error:
                done = error
            self.outcomes.append(done)
        return self.outcomes[number]


@pytest.fixture(scope="module")
def reader(request, tmp_path_factory, made_up_data):
    session = Session(request.param, tmp_path_factory.mktemp("page"), made_up_data)
    with hermetic(session):
        yield Reader(session)


@pytest.mark.parametrize(("reader", "number"), STEPS, indirect=["reader"])
def test_what_the_page_says_there_works(reader, number):
    step, outcome = PAGES[reader.session.page].steps[number], reader.at(number)
    if isinstance(outcome, NeedsWeights):
        pytest.skip(str(outcome))
    if isinstance(outcome, Exception):
        raise outcome
    if isinstance(outcome, Ran):
        assert outcome.code == 0, describe(step, outcome)
        check_shown(step, outcome.stdout)


def test_the_pages_ask_for_something():
    assert "README.md" in PAGES
    assert sum(isinstance(step, Command) for page in PAGES.values() for step in page.steps) > 20
