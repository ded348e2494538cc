"""How every command of the documentation is run: the one table. A command that no rule knows fails its test.

What is changed in a command, and nothing else:

- `--limit`, `--steps` and `--restarts` are lowered to those of `doc_workspace`; `bench run` and `bench diagnose`
  without a limit get one. (The cards of the page's workspace cost less too.)
- Words that stand for something of the reader's get a value: `DIR` that of made-up data, `ROW.json` and any
  `NAME@HASH.json` the row that the page's `bench submit` makes.
- URLs `s3://...` are `memory://...`: objects of this process stand for a bucket's.
- `bench train` takes 2 steps. Weights of a detector that ships are written aside, where they take the place of none.
"""

import itertools
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from doc_pages import CHECKOUT, Command
from doc_session import NeedsWeights, Ran, Session, Unexplained
from doc_workspace import LIMIT, SMALLER

from bench.cards.catalog import Catalog, Kind
from bench.cli.options import comma_separated

CAPS = {"--limit": LIMIT, "--steps": SMALLER["steps"], "--restarts": SMALLER["restarts"]}

ELSEWHERE = (  # a command -> the file that shows where it is run, and what stands there
    (r"pip install -e \.\[test\]", ".ci/run", 'pip install -q -e ".[test'),
    (r"pip install (\.|\./robustood|robustood)", "tests/test_packaging.py", "the wheel that is built from it"),
    (
        r"pip install torch torchvision --index-url \S+",
        "Dockerfile",
        "--index-url https://download.pytorch.org/whl/cpu",
    ),
    (r"pytest -n auto --dist loadfile", ".ci/run", "\npytest -n auto --dist loadfile\n"),
    (r"pytest -m (slow|browser|data)", "pyproject.toml", "markers = ["),
    (r"ruff check \.", ".ci/run", "\nruff check .\n"),
    (r"ruff format --check \.", ".ci/run", "\nruff format --check .\n"),
    (r"python -m tests\.mutants .*", ".ci/run", "python -m tests.mutants --changed"),
    (r"mypy", ".ci/run", "\nmypy\n"),
    (r"mkdocs (build|serve).*", "mkdocs.yml", "docs_dir: docs"),
    (r"playwright install chromium", "tests/conftest.py", "`playwright install chromium`"),
    (r"bench check --baseline leaderboards/baselines/\S+", ".ci/run", "\nbench check --baseline leaderboards/"),
)
HARMLESS = ("mkdir", "touch", "cp", "ls", "cat")
_ROW = re.compile(r"(?:\S*/)?(?:ROW|[\w.-]+@[0-9A-Fa-f.…]+|[\w.-]+@HASH)\.json")


def run(session: Session, command: Command) -> Ran:
    """Run the parts of a command in turn; the last one's outcome.

    Raises:
        Unexplained: No rule says how.
        NeedsWeights: It is about weights that are not here.
    """
    ran = Ran()
    for words in command.parts:
        ran = _run(session, words, command)
        if ran.code:
            return ran
    return ran


def _run(session: Session, words: list[str], command: Command) -> Ran:
    if _shown_elsewhere(" ".join(words)):
        return Ran()
    rule = PROGRAMS.get(words[0]) if words and not set(words) & set("|<>&;") else None
    if rule is None:
        raise Unexplained(
            f"{command.place}: nothing says how `{' '.join(words)}` is run; say it in tests/docs/doc_rules.py."
        )
    return rule(session, words)


def _shown_elsewhere(text: str) -> bool:
    """Whether a command is run at another place; raises where that place no longer does so."""
    for pattern, file, shown in ELSEWHERE:
        if re.fullmatch(pattern, text):
            assert shown in (CHECKOUT / file).read_text(encoding="utf-8"), f"{file} no longer holds {shown!r}"
            return True
    return False


def _cd(session: Session, words: list[str]) -> Ran:
    target = (session.cwd / words[1]).resolve()
    assert target.is_dir(), f"there is no folder {words[1]}"
    session.cwd = target
    return Ran()


def _python(session: Session, words: list[str]) -> Ran:
    """A script of the checkout only says how it is used: what it measures takes minutes."""
    file, *arguments = words[1:]
    return session.script(file, ["--help"] if file.startswith("benchmarks/") else arguments)


def _pip(session: Session, words: list[str]) -> Ran:
    """Nothing is installed, but the extra must be one of the package."""
    extras = re.search(r"\[([\w,-]+)\]", " ".join(words))
    assert words[1] == "install" and extras, f"`{' '.join(words)}` installs no extra"
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(declared), f"the package's extras are {', '.join(declared)}"
    return Ran()


def _pytest(session: Session, words: list[str]) -> Ran:
    """A test that the page has shown."""
    return session.program([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words[1:]])


def _bench(session: Session, words: list[str]) -> Ran:
    arguments = [_value(session, word) for word in _capped(words[1:])]
    return BENCH.get(arguments[0], _as_it_is)(session, arguments)


def _capped(arguments: list[str]) -> list[str]:
    """The arguments with the smaller numbers."""
    before = ["", *arguments]
    return [
        str(min(CAPS[option], int(word))) if option in CAPS else word
        for option, word in zip(before, arguments, strict=False)
    ]


def _value(session: Session, word: str) -> str:
    """What a word of the page stands for."""
    if word == "DIR":
        return str(session.data_dir)
    if word.startswith("s3://"):
        return word.replace("s3://", "memory://")
    return str(_row(session)) if _ROW.fullmatch(word) else word


def _row(session: Session) -> Path:
    """The row that the page has made, or would have made without `--dry-run`."""
    found = sorted(session.root.glob("**/leaderboards/*/*@*.json"))
    if not found and session.submitted is not None:
        ran = session.bench([word for word in session.submitted if word != "--dry-run"])
        assert ran.code == 0, ran.stderr
        found = sorted(session.root.glob("**/leaderboards/*/*@*.json"))
    rows = [path for path in found if path.name.count(".") == 1]
    assert rows, "the page names a row before `bench submit` has made one"
    return rows[-1]


def _as_it_is(session: Session, arguments: list[str]) -> Ran:
    return session.bench(arguments)


def _limited(session: Session, arguments: list[str]) -> Ran:
    if missing := _missing_weights(arguments):
        raise NeedsWeights(f"needs the published weights {', '.join(missing)} (ROBUSTOOD_WEIGHTS)")
    return session.bench(arguments if {"--limit", "--suite"} & set(arguments) else [*arguments, "--limit", str(LIMIT)])


def _missing_weights(arguments: list[str]) -> list[str]:
    """The weights of named detectors that the package does not have and this machine neither."""
    catalog, options = Catalog(), dict(itertools.pairwise(arguments))
    tracks, names = (comma_separated([options.get(name, "")]) for name in ("--track", "--detector"))
    files = [
        weights.file
        for track in tracks
        for name in set(names) & set(catalog.names(Kind.DETECTOR))
        for weights in catalog.detector_spec(name, track).weights
    ]
    return sorted({file for file in files if catalog.weights_path(file) is None})


def _diagnose(session: Session, arguments: list[str]) -> Ran:
    """Two steps are too few, and the checks should say so: exit code 1 is theirs."""
    ran = _limited(session, arguments)
    assert "PASS" in ran.stdout, ran.stdout + ran.stderr
    return Ran(0 if ran.code == 1 else ran.code, ran.stdout, ran.stderr)


def _train(session: Session, arguments: list[str]) -> Ran:
    options = dict(itertools.pairwise(arguments))
    ships = options["--detector"].partition(".")[0] in Catalog().names("detector")
    return session.bench([*arguments, "--out", "trained"] if ships and "--out" not in arguments else arguments)


def _submit(session: Session, arguments: list[str]) -> Ran:
    if "--beats" not in arguments:
        session.submitted = arguments
    return session.bench(arguments)


PROGRAMS: dict[str, Callable[[Session, list[str]], Ran]] = {
    "git": lambda session, words: Ran(),  # it needs a repository to push to
    "bench": _bench,
    "cd": _cd,
    "python": _python,
    "pip": _pip,
    "pytest": _pytest,
    **{name: lambda session, words: session.program(words) for name in HARMLESS},
}
BENCH: dict[str, Callable[[Session, list[str]], Ran]] = {
    "run": _limited,
    "diagnose": _diagnose,
    "train": _train,
    "submit": _submit,
}
"""Subcommands of which something is changed; the others are run as they are."""
