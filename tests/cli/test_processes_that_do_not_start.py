"""A run whose processes do not start says so, and goes on when they do."""

import multiprocessing
import subprocess
import sys
import time

import pytest
from toy_runs import make_workspace

from bench.cli import computing

CODE = """
import sys, threading, time
from bench.cli import computing
computing.PATIENCE = 0.3
from bench.engines.local import warm_up
warm_up()
from multiprocessing.forkserver import _forkserver
import os, signal
os.kill(_forkserver._forkserver_pid, signal.SIGSTOP)
said = []
def heard(sentence):
    print(sentence, flush=True)
    os.kill(_forkserver._forkserver_pid, signal.SIGCONT)
computing.notice = heard
sys.argv = ["bench", *sys.argv[1:]]
from bench.cli.app import main
main()
"""


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no such processes here")
def test_a_stopped_server_of_processes_is_told_and_the_run_goes_on_when_it_does(tmp_path):
    workspace = make_workspace(tmp_path / "workspace")
    line = ["run", "--workspace", workspace, "--track", "toy", "--detector", "dark", "--threat", "noise-l2", "--eps", 1]
    words = [sys.executable, "-c", CODE, *map(str, line), "--workers", "2", "--out", str(tmp_path / "runs")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "have not started for 0 seconds; is one of this command's processes stopped" in done.stdout
    assert "2 computed" in done.stdout


def test_nothing_is_said_of_processes_that_start_in_time(monkeypatch):
    said = []
    monkeypatch.setattr(computing, "notice", said.append)
    with computing._said_after(0.2):
        pass
    time.sleep(0.4)
    assert said == []
