"""Whole sessions on a small workspace: what every command prints, on which stream, and how it ends."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from goldens import assert_golden
from photo_folders import make_photos
from toy_runs import bench, make_workspace

GOLDEN = Path(__file__).with_name("golden")
CLIMB = {
    "name": "climb",
    "summary": "a short climb",
    "method": "bench.threat_models.pgd:PGD",
    "norm": "l2",
    "eps": [0.25, 2.0],
    "knowledge": "gradients",
    "params": {"steps": 4, "restarts": 1, "step_size": 0.5, "momentum": [0.0]},
}
SLOW = {**CLIMB, "name": "slow", "params": {"steps": 2, "restarts": 1, "step_size": 0.01}}
FEW = {
    **CLIMB,
    "name": "few",
    "method": "bench.threat_models.square:Square",
    "knowledge": "scores",
    "params": {"queries": 30},
}
RUN = ("--track", "toy", "--detector", "dark,corner", "--threat", "climb,few", "--steps", 6)
WITHOUT_WORKSPACE = {"status", "table"}


MORE = """

class Shaky(Dark):
    info = DetectorInfo(classifier=False, random=True)

    def score(self, x, *, noise=None):
        return super().score(x) if noise is None else super().score(x) + 0.05 * noise(())


class Stepped(Dark):
    def score(self, x, *, noise=None):
        return (super().score(x) * 20).round() / 20 - 1e-6 * x[:, 0, 0, 0]
"""


class Session:
    """Commands in one workspace, and all that they said."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_workspace(folder)
        (folder / "threat_models").mkdir()
        for card in (CLIMB, SLOW, FEW):
            (folder / f"threat_models/{card['name']}.yaml").write_text(yaml.safe_dump(card))
        self.module = next(folder.glob("toy_methods_*.py")).stem
        self.said: list[str] = []

    def __call__(self, name: str, *arguments: object, note: str = "") -> None:
        where = () if name in WITHOUT_WORKSPACE else ("--workspace", self.folder)
        done = bench(name, *arguments, *where)
        words = " ".join([name, *map(str, arguments)])
        self.said += [
            f"$ bench {words}{note}",
            done.stdout,
            f"! {done.stderr}" if done.stderr else "",
            f"exit {done.exit_code}",
            "",
        ]

    def file(self, path: Path) -> None:
        self.said += [f"<< {path.name}", path.read_text(encoding="utf-8"), ""]

    def text(self) -> str:
        """What was said, without what is another in every run."""
        text = "\n".join(line.rstrip() for part in self.said if part for line in part.split("\n"))
        text = text.replace(str(self.folder), "WORKSPACE").replace(self.module, "METHODS")
        text = re.sub(r"process \d+ on \S+, begun [\d:]+, ended [\d:]+", "process N on HOST", text)
        text = re.sub(r"\b([0-9a-f]{12,64}|[0-9a-f]{8}|(?<=#)[0-9a-f]{6})\b", "HEX", text)
        text = re.sub(r"-[0-9a-f]{6}(?=\.(png|svg))", "-HEX", text)
        text = re.sub(r"known: .*?[.;] ", "known: NAMES. ", text)
        text = re.sub(r"longest cell, .*?, takes", "longest cell, CELL, takes", text)
        text = re.sub(r"\b\d+(\.\d+)?( ?s\b|(?= seconds))", "T s", text)
        return re.sub(r"\d+\.\d+ GiB", "M GiB", text) + "\n"


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch):
    """A terminal of 120 columns, and times that are none."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("ROBUSTOOD_DATA", raising=False)
    monkeypatch.setattr("bench.report.numbers.seconds", lambda value: "T")
    for module in ("plan", "status"):
        monkeypatch.setattr(f"bench.cli.{module}.duration", lambda value: "T s")


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / "ws")


def test_a_session_of_cards_reads_as_kept(session, monkeypatch):
    (session.folder / "detectors/broken.yaml").write_text("name: broken\nsummary: a toy\ntracks: {toy: {}}\n")
    (session.folder / "detectors/unused.yml").write_text("name: unused\n")
    session("show", "dark")
    session("show", "dark", "--track", "toy")
    session("show", "climb")
    session("show", "toy")
    for name in ("broken", "drak", "dark.steep", "toy@dark", "climb@toy", "dark@nothing"):
        session("show", name)
    session("show", "climb", "--track", "toy")
    monkeypatch.setenv("ROBUSTOOD_DATA", str(session.folder))
    shown = bench("show", "cifar10").stdout.splitlines()
    session.said += [line for line in shown if line.startswith("# ") and not line.startswith(("# file", "# hash"))]
    session("show", "dark", "--track", "digits")
    files = [session.folder / name for name in ("detectors/dark.yaml", "threat_models/climb.yaml", "datasets/toy.yaml")]
    session("validate", *files)
    session("validate", *files, "--no-import")
    session("validate", session.folder / "detectors/broken.yaml")
    session("validate", session.folder / "detectors/absent.yaml")
    assert_golden(GOLDEN / "cards.txt", session.text())


def test_a_session_of_runs_reads_as_kept(session):
    out = session.folder / "runs"
    session("plan", *RUN, "--out", out)
    session("run", *RUN, "--out", out)
    session("run", *RUN, "--out", out)
    session("plan", *RUN, "--out", out)
    session("status", out)
    session("run", *RUN, "--out", out, "--no-evidence", "--side", "both", "--limit", 8, "--seed", 3)
    session("run", "--track", "toy", "--detector", "dark,nan", "--threat", "climb", "--eps", 2, "--out", out)
    session("run", "--track", "toy", "--detector", "corner", "--threat", "clean,climb", "--ood", "bright", "--out", out)
    session("run", "--track", "toy", "--detector", "dar*,corn*", "--threat", "pgd-l2", "--side", "fool", "--eps", "1,2",
            "--steps", 2, "--out", out)  # fmt: skip
    session("run", "--track", "toy", "--detector", "dark", "--threat", "slow", "--eps", 2, "--without", "noise",
            "--diagnose", "--quiet", "--out", out)  # fmt: skip
    session("status", out)
    session("status", out, "--all")
    assert_golden(GOLDEN / "runs.txt", session.text())


def test_a_session_of_stored_cells_reads_as_kept(session):
    out = session.folder / "runs"
    session("run", *RUN, "--out", out, "--quiet", note="  (quiet)")
    session("table", out)
    session("table", out, "--full")
    for kind in ("markdown", "latex"):
        session("table", out, "--format", kind, "--detector", "dark")
    session("table", out, "--detector", "absent")
    session("table", out, "--threat", "climb", "--track", "toy", "--to", session.folder / "table.txt")
    session.file(session.folder / "table.txt")
    session("report", out, "--gallery", 1, "--figures", session.folder / "figures", "--tables", session.folder / "t")
    for folder in ("figures", "t"):
        session.said += [" ".join(sorted(path.name for path in (session.folder / folder).iterdir()))]
    session("baseline", out, "--to", session.folder / "base.json", "--threat", "climb")
    written = (session.folder / "junit.xml", session.folder / "check.md")
    files = ("--junit", written[0], "--markdown", written[1])
    asked = ("--baseline", session.folder / "base.json")
    session("check", *asked, "--run", out, *files)
    for file in written:
        session.file(file)
    session("check", *asked, "--run", out, "--tolerance", 1)
    session("check", *asked, "--run", out, "--alpha", 0)
    other = session.folder / "other"
    session("run", "--track", "toy", "--detector", "dark", "--threat", "climb", "--eps", 2, "--seed", 4, "--out", other)
    session("check", *asked, "--run", other, *files)
    for file in written:
        session.file(file)
    module = session.folder / f"{session.module}.py"
    module.write_text(module.read_text().replace("return -x.flatten(1).mean(1)", "return x.flatten(1).mean(1)"))
    session("check", *asked, "--out", session.folder / "now", *files)
    for file in written:
        session.file(file)
    assert_golden(GOLDEN / "stored.txt", session.text())


def test_a_session_of_diagnoses_reads_as_kept(session):
    out, file = session.folder / "runs", session.folder / "checks.json"
    module = session.folder / f"{session.module}.py"
    module.write_text(module.read_text() + MORE)
    for name, kind in {"shaky": "Shaky", "stepped": "Stepped", "msp": "Corner"}.items():
        card = {"name": name, "summary": "a toy", "method": f"{session.module}:{kind}", "tracks": {"toy": {}}}
        (session.folder / f"detectors/{name}.yaml").write_text(yaml.safe_dump(card))
    asked = ("--track", "toy", "--threat", "climb", "--device", "cpu", "--out", out)
    more = ("--steps", 40, "--restarts", 3, "--eps", 0.5)
    session("run", "--detector", "dark", *asked, "--steps", 40, "--restarts", 3, "--eps", "0.25,1", "--quiet")
    for detector, side in (
        ("dark", "evade"),
        ("corner", "alarm"),
        ("corner", "both"),
        ("shaky", "evade"),
        ("stepped", "evade"),
    ):
        session("diagnose", "--detector", detector, *asked, *more, "--side", side, "--json", file)
        found = json.loads(file.read_text())
        for one in found.pop("findings"):
            figures = {name: round(value, 3) for name, value in one["figures"].items()}
            session.said.append(f"{one['check']} {one['side']} {one['verdict']} {figures}")
        times = [found.pop(name) for name in ("cell_seconds", "seconds")]
        session.said.append(f"{all(time > 0 for time in times)} {json.dumps(found, indent=1)}")
    session("diagnose", "--detector", "corner", *asked, "--eps", 2, "--side", "both", "--quiet")
    asked = ("--track", "toy", "--threat", "slow", "--eps", 2, "--device", "cpu", "--out", out)
    session("diagnose", "--detector", "dark", *asked)
    session("table", out)
    assert_golden(GOLDEN / "diagnoses.txt", session.text())


def test_a_session_of_new_cards_reads_as_kept(tmp_path, monkeypatch):
    module = make_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = []

    def new(*words):
        done = bench("new", *(word.replace("MODULE", module) for word in words))
        said.extend([f"$ bench new {' '.join(words)}", done.stdout, f"! {done.stderr}", f"exit {done.exit_code}", ""])

    folders = ("--id", "photos/things", "--ood", "photos/leaves", "--ood", "rocks=photos/stones")
    new("track", "things", *folders)
    new("track", "things", *folders)
    new("track", "grey", "--id", "photos/leaves", "--classes", "2", "--grey", "--size", "6", "--ood", "a=photos/stones")
    new("track", "twice", "--id", "photos/things", "--ood", "photos/leaves", "--ood", "leaves=photos/stones")
    new("track", "few", "--id", "photos/things", "--ood", "photos")
    (tmp_path / "photos/none").mkdir()
    new("track", "none", "--id", "photos/things", "--ood", "photos/none")
    new("track", "one", "--id", "photos/none", "--ood", "photos/things")
    new("network", "small", "--from", "MODULE:Small", "--track", "things", "--arg", "width=3")
    new("network", "fixed", "--from", "MODULE:Fixed", "--track", "things", "--mean", "0.5,0.4,0.3", "--std", "1,1,2")
    new("network", "made", "--from", "MODULE:made", "--track", "things", "--size", "16", "--mean", "0.5,0.5,0.5")
    for option in ("--mean", "--std"):
        new("network", "wrong", "--from", "MODULE:made", "--track", "things", option, "0.5")
    new("network", "sized", "--from", "MODULE:Sized", "--track", "things")
    new("network", "resized", "--from", "MODULE:Sized", "--track", "things", "--size", "10")
    new("network", "own", "--from", "MODULE:Own", "--track", "things")
    new("network", "grey-one", "--from", "MODULE:Small", "--track", "grey")
    for words in ("--arg width", "--arg width=[", "--std a", "--weights gone.pth"):
        new("network", "wrong", "--from", "MODULE:Small", "--track", "things", *words.split())
    new("network", "wrong", "--from", "MODULE:NETS", "--track", "things")
    new("network", "wrong", "--from", "torchvision:resnet18", "--track", "things")
    new("detector", "my-score")
    new("threat", "my-threat")
    new("threat", "My threat")
    for file in sorted(tmp_path.rglob("*")):
        if file.suffix in (".yaml", ".toml", ".py") and file.stem != module:
            said.extend([f"<< {file.relative_to(tmp_path)}", file.read_text(), ""])
    text = "\n".join(line.rstrip() for part in said for line in part.split("\n"))
    text = re.sub(r"\(Given groups.*?instead\)", "(in the words of torch)", text)
    text = text.replace(str(tmp_path), "HERE").replace(module, "MODULE")
    for name in ("MODULE", *(path.stem for path in tmp_path.rglob("*.py"))):
        sys.modules.pop(name, None)
    assert_golden(GOLDEN / "new.txt", re.sub(r"[0-9a-f]{64}", "HEX", text))


WRONG = (
    ("run",),
    ("run", "--detector", "dark", "--track", "toy", "--limit", "1"),
    ("run", "--detector", "dark", "--track", "toy", "--micro-batch", "5000"),
    ("run", "--detector", "dark", "--track", "toy", "--shard", "3/2"),
    ("run", "--detector", "dark", "--track", "toy", "--shard", "0/2"),
    ("run", "--detector", "dark", "--track", "toy", "--address", "here:1"),
    ("run", "--detector", "dark", "--track", "toy", "--device", "tpu"),
    ("run", "--detector", "dark", "--track", "toy", "--eps", "l3:1"),
    ("run", "--detector", "dark", "--track", "toy", "--eps", "-1"),
    ("run", "--detector", "dark", "--track", "toy", "--threat", "nothing"),
    ("run", "--detector", "dark", "--track", "toy", "--ood", "nothing"),
    ("run", "--detector", "dark", "--track", "toy", "--without", "bright,mixed,noise"),
    ("run", "--detector", "dark", "--track", "toy", "--ood", "bright", "--without", "noise"),
    ("run", "--detector", "dark", "--track", "nowhere"),
    ("run", "--detector", "dark", "--track", "toy", "--side", "fool"),
    ("run", "--detector", "dark", "--track", "toy", "--tolerance", "0.2"),
    ("run", "--detector", "dark", "--track", "toy", "--audit", "0"),
    ("plan", "--detector", "d*x", "--track", "toy"),
    ("diagnose", "--track", "toy"),
    ("diagnose", "--detector", "dark,corner", "--track", "toy"),
    ("diagnose", "--detector", "dark", "--track", "toy", "--threat", "climb"),
    ("diagnose", "--detector", "dark", "--track", "toy", "--threat", "square-l2", "--eps", "1"),
    ("diagnose", "--controls", "--limit", "5"),
    ("status", "nowhere"),
    ("table", "nowhere"),
    ("baseline", "nowhere"),
    ("check", "--baseline", "nowhere.json"),
    ("train", "--detector", "dark", "--network", "net"),
    ("train",),
    ("train", "--network", "nothing"),
    ("submit", "--run", "nowhere", "--detector", "dark"),
    ("verify", "nowhere.json"),
    ("verify", "nowhere.json", "--level", "high"),
    ("verify", "nowhere.json", "--seeds", "1,x"),
    ("leaderboard", "--compare", "a,b"),
    ("leaderboard", "--compare", "a", "--track", "toy"),
    ("leaderboard", "--html", "site", "--certified"),
    ("leaderboard", "--track", "nowhere"),
)


def test_wrong_requests_are_answered_as_kept(session, monkeypatch):
    monkeypatch.chdir(session.folder)
    for arguments in WRONG:
        session(*arguments)
    assert_golden(GOLDEN / "wrong.txt", session.text())
