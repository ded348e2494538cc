"""What is asked of the blocks of code of a page that are no commands, and of the tables that it shows."""

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import torch
import yaml
from doc_pages import CHECKOUT, Command, Fence
from doc_session import Session, Unexplained

from bench.cards.detector import DetectorCard
from bench.cards.reading import read_card
from bench.cards.threat import ThreatCard
from bench.cards.track import TrackCard
from bench.cli.request import RunRequest, read_request
from bench.leaderboards.published import PublishedTable

NOT_RUN = ("", "text", "markdown", "html", "xml", "bibtex", "latex", "csv", "diff")
"""Languages of blocks that only show something."""

CARDS = {"datasets": TrackCard, "threat_models": ThreatCard, "detectors": DetectorCard}


class Brightness(torch.nn.Module):
    """What `my_module` stands for: any module of a reader's own with a `score`."""

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return -x.flatten(1).mean(1)


def at_hand() -> dict[str, Any]:
    """What the names of a reader's own things stand for: a module, a network, and images with labels."""
    pixels, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    return {
        "my_module": Brightness(),
        "my_network": network,
        "textures": pixels * 0.2,
        "images": pixels,
        "labels": labels,
        "train_images": pixels,
        "train_labels": labels,
    }


def check_fence(session: Session, fence: Fence) -> None:
    """Write the file that a block shows, validate a card, execute Python, parse the rest.

    Raises:
        Unexplained: Nothing is known of such a block.
    """
    if fence.language in NOT_RUN:
        assert not re.search(r"^\$ ", fence.text, re.M), f"{fence.place}: commands stand in a block of 'console'"
    elif fence.language == "python":
        _check_python(session, fence)
    elif fence.language in ("yaml", "yml"):
        _check_yaml(session, fence)
    elif fence.language == "toml":
        tomllib.loads(fence.text)
        _write(session, fence)
    elif fence.language == "json":
        json.loads(fence.text)
        _write(session, fence)
    else:
        raise Unexplained(
            f"{fence.place}: nothing says what to do with a block of '{fence.language}'; say it in "
            "tests/docs/doc_checks.py, or write commands as 'console'."
        )


OF_AUDITS = ("budget", "spent")
"""Ends of titles of columns that a table has where most images were spared: not of the few images of tests."""


def check_shown(command: Command, printed: str) -> None:
    """Whether a table that the page shows has the columns and sections that the command prints now.

    The page may leave out the tables at the end.
    """
    now = columns(printed)
    shown = [name for name in columns(command.shown) if name in now or name not in OF_AUDITS]
    assert now[: len(shown)] == shown, f"{command.place}: the page's columns are {shown}, those of the command {now}"
    missing = sections(command.shown) - sections(printed)
    assert not missing, f"{command.place}: the page has the sections {sorted(missing)}, and the command does not"


def columns(text: str) -> list[str]:
    """The columns of the tables of detectors, or of cells, one table after the other, however they are wrapped.

    What names a row comes again where a table is wrapped: the detector, the cell, the threshold.
    """
    headers = [line.split() for line in text.splitlines() if re.match(r"(detector|cell)\s{2,}", line)]
    return [word for words in headers for word in words[1:] if word != "threshold"]


def sections(text: str) -> set[str]:
    """The attacks of the tables."""
    return {line.rstrip() for line in text.splitlines() if line.startswith("-- ")}


def _write(session: Session, fence: Fence) -> Path | None:
    """Write the file that a block shows; a file of the examples must say the same."""
    if not fence.path:
        return None
    for there in (session.cwd / fence.path, *CHECKOUT.glob(f"examples/*/{fence.path}")):
        if there.is_file():
            same = meaning(there.suffix, there.read_text(encoding="utf-8")) == meaning(there.suffix, fence.text)
            assert same, f"{fence.place}: the block differs from the {fence.path} of {there.parent.name}"
    return session.write(fence.path, fence.text)


def meaning(suffix: str, text: str) -> Any:
    """What a file says, without comments, and without the docstring of a module."""
    if suffix in (".yaml", ".yml"):
        return yaml.safe_load(text)
    if suffix != ".py":
        return text
    module = ast.parse(text)
    return ast.dump(ast.Module(module.body[ast.get_docstring(module) is not None :], []))


def _check_python(session: Session, fence: Fence) -> None:
    """A file is written, for later commands to import; anything else is executed."""
    compile(fence.text, fence.place, "exec")
    if _write(session, fence) is None:
        for name, thing in at_hand().items():
            session.names.setdefault(name, thing)
        session.python(fence)


def _check_yaml(session: Session, fence: Fence) -> None:
    content = yaml.safe_load(fence.text)
    folder = _folder(fence, content)
    if folder is not None:
        file = _write(session, fence) or session.write(f"{folder}/{content['name']}.yaml", fence.text)
        ran = session.bench(["validate", str(file)])
        assert ran.code == 0, f"{fence.place}: {ran.stdout}{ran.stderr}"
        return
    _write(session, fence)
    if not isinstance(content, dict) or "jobs" in content:  # a workflow of GitHub, or a list
        return
    if "figures" in content:  # a table of published figures
        read_card(session.write("published.yaml", fence.text), PublishedTable)
        return
    known: set[str] = {name for model in CARDS.values() for name in model.model_fields}
    if set(content) <= known:
        return  # a part of a card
    names = {str(name).replace("-", "_") for name in content}
    assert names <= set(RunRequest.model_fields), f"{fence.place}: neither a card, nor a part of one, nor a grid"
    _check_grid(content)


def _check_grid(content: dict[str, Any]) -> None:
    read_request({str(name).replace("-", "_"): value for name, value in content.items()})


def _folder(fence: Fence, content: Any) -> str | None:
    """The folder that a whole card belongs to; None for what is none."""
    named = Path(fence.path).parent.name if fence.path else ""
    if named in CARDS:
        return named
    if not isinstance(content, dict) or "name" not in content or "summary" not in content:
        return None
    if "shape" in content:
        return "datasets"
    return "threat_models" if "knowledge" in content else "detectors"
