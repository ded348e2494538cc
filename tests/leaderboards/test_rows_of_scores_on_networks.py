"""Rows of scores on a network that is named: their files are found by their names, on every system."""

import json
import re
from pathlib import PureWindowsPath

import pytest
import row_world
import torch
from row_world import bench, put, rows, run_suite, submit, verify

from bench.detectors.weights import save_tensors

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(16, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.hidden(x.flatten(1))))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = row_world.make_world(tmp_path_factory.mktemp("world"))
    put(root / "net_of_rows.py", row_world.textwrap.dedent(NET))
    names: dict[str, object] = {}
    exec(row_world.textwrap.dedent(NET), names)
    torch.manual_seed(0)
    sha256 = save_tensors(root / "detectors/weights/net.safetensors", names["Net"]().state_dict())
    put(root / "detectors/networks/my-net.yaml", json.dumps({
        "name": "my-net", "summary": "a small one", "track": "small", "method": "net_of_rows:Net",
        "weights": [{"file": "net.safetensors", "sha256": sha256}],
    }))  # fmt: skip
    put(root / "detectors/strength.yaml", json.dumps({
        "name": "strength", "summary": "a small one", "method": "bench.detectors.energy:Energy", "on_network": True,
        "tuned_on": "nothing", "paper": {"title": "On small ones", "authors": "A. Nonymous", "year": 2020},
    }))  # fmt: skip
    ran = run_suite(root, "strength@my-net")
    assert ran.exit_code == 0, ran.output
    made = submit(root, "strength@my-net")
    assert made.exit_code == 0, made.output
    return root


def test_its_file_has_a_name_that_every_system_takes(world):
    (row,) = rows(world)
    assert re.fullmatch(r"strength@my-net@[0-9a-f]{12}\.json", row.name)
    assert not PureWindowsPath(row.name).is_reserved() and not set(row.name) & set('<>:"/\\|?*')


def test_verify_finds_it_and_its_network(world):
    (row,) = rows(world)
    done = verify(world, row)
    assert done.exit_code == 0, done.output
    assert "strength@my-net" in done.output


def test_the_leaderboard_lists_it_by_its_whole_name(world, tmp_path):
    done = bench("leaderboard", "--workspace", world, "--html", tmp_path / "site")
    assert done.exit_code == 0, done.output
    (row,) = rows(world)
    page = tmp_path / "site/small" / f"{row.stem}.html"
    assert page.is_file()
    board = (tmp_path / "site/small/index.html").read_text()
    assert f'href="{row.stem}.html"' in board and "strength@my-net" in board


@pytest.mark.parametrize("name", ["strength@", "@my-net", "a@b@c", "a@../b", "a@B", "a@b:c"])
def test_other_uses_of_the_sign_are_refused_in_a_row(world, name):
    (row,) = rows(world)
    content = json.loads(row.read_text())
    content["detector"]["name"] = name
    changed = world / "changed.json"
    changed.write_text(json.dumps(content))
    done = verify(world, changed)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "detector.name" in " ".join(done.output.split())
