"""One folder of made-up data for all pages."""

import pytest


@pytest.fixture(scope="session")
def made_up_data(tmp_path_factory):
    return tmp_path_factory.mktemp("made-up") / "data"
