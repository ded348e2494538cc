from pathlib import Path

import pytest

from bench.catalog import Catalog
from bench.errors import WeightsError
from bench.training import job


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "train", lambda *args, **options: pytest.fail("the training began"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match=r"weights cannot be written to .*; name another folder with --out"):
        job.train_weights(Catalog(), "msp", "digits", out=tmp_path / "file")
