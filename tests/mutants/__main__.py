"""`python -m tests.mutants`: change the code in small ways and see whether a test notices.

    python -m tests.mutants --files bench/metrics --sample 50      fifty mutants of one folder
    python -m tests.mutants --sample 200 --seed 0                   two hundred over all of bench/
    python -m tests.mutants --changed main --sample 10              lines that differ from a branch
    python -m tests.mutants --files bench/metrics/roc.py --all      every mutant of one file

Each mutant is one change in a copy of the tree. The working tree is never touched, and what is committed to it
meanwhile changes no answer: mutants, tests and sources are read from a copy made at the start. Only tests that run the
changed function are run, the quick ones of the mirrored folder first, so the first use of a test file runs it once,
under coverage.py, to learn that (kept in `.mutants/`). Results are kept there too: the same command goes on where it
ended.

Exit code: 0, or 1 where the share of killed mutants is below `--floor` (a mutant that ran out of time counts as
killed), or 2 for a request that cannot be met.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from .keeping import Answers
from .making import Mutant, is_other_code, mutants_of, sample
from .recording import TestMap, read_map, record_path
from .running import FAILED, NO_TESTS, TIMEOUT, copied, preload, run_tests

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".mutants"
BASE_SECONDS, FACTOR, RECORD_SECONDS = 60.0, 6.0, 1800.0
FEWEST = 5
"""A mutant may take `BASE_SECONDS` + `FACTOR` times what its tests took unchanged; a test file to record, this long;
a share of fewer than `FEWEST` mutants is no reason to fail."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    outcome: str
    seconds: float
    tests: int
    diff: str


class Workers:
    """Copies of the tree, each used by one run at a time.

    Args:
        tree: The copy that no mutant is written to: what sources and tests are read from.
        folders: The copies that tests run in.
        logs: Where the output of each run goes.
    """

    def __init__(self, tree: Path, folders: list[Path], logs: Path) -> None:
        self.tree = tree
        self.logs = logs
        self.count = len(folders)
        self.free: SimpleQueue[Path] = SimpleQueue()
        for folder in folders:
            self.free.put(folder)

    def record(self, test_file: str, end: float) -> None:
        """Learn which functions the tests of one file run, within the time that is left."""
        left = min(RECORD_SECONDS, end - time.monotonic())
        if left <= 0:
            return
        folder = self.free.get()
        try:
            target = record_path(CACHE, self.tree, test_file)
            fresh = target.with_suffix(".part")
            outcome = run_tests(folder, [test_file], self.logs / f"{target.stem}.log", left, fresh)
            if fresh.is_file():
                fresh.replace(target)
            else:
                say(f"{test_file} could not be recorded ({outcome}); see {self.logs / target.stem}.log")
        finally:
            self.free.put(folder)

    def judge(self, mutant: Mutant, known: TestMap, limit: float) -> Verdict:
        """Apply one mutant in a copy and run its tests until one fails."""
        source = (self.tree / mutant.file).read_bytes()
        diff = mutant.diff(source)
        tests = known.tests(self.tree, mutant.file, mutant.line, limit)
        if not tests:
            return Verdict(mutant, NO_TESTS, 0.0, 0, diff)
        folder = self.free.get()
        begin = time.monotonic()
        log = self.logs / f"{abs(hash(mutant.key))}.log"
        try:
            (folder / mutant.file).write_bytes(mutant.applied(source))
            allowed = BASE_SECONDS + FACTOR * sum(known.seconds[test] for test in tests)
            outcome = run_tests(folder, ["-x", "--hypothesis-seed=0", *tests], log, allowed)
            gone = _not_found(log)
            if outcome == FAILED and gone:  # a test whose name is another in each run
                tests = [test for test in tests if test not in gone]
                arguments = ["-x", "--hypothesis-seed=0", *tests]
                outcome = run_tests(folder, arguments, log, allowed) if tests else NO_TESTS
        finally:
            (folder / mutant.file).write_bytes(source)
            self.free.put(folder)
        return Verdict(mutant, outcome, time.monotonic() - begin, len(tests), diff)


def main() -> int:
    """Draw, run, report."""
    asked = _arguments()
    if not _files(ROOT, asked.files):
        say(f"no Python file of bench/ is named by {' '.join(asked.files)}; give files or folders below bench/.")
        return 2
    if asked.list:
        for mutant in _drawn(ROOT, asked):
            say(f"{mutant.file}:{mutant.line}: {mutant.what}\n{mutant.diff((ROOT / mutant.file).read_bytes())}")
        return 0
    CACHE.mkdir(exist_ok=True)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
        tree = stack.enter_context(copied(ROOT, work / "tree"))
        mutants = _drawn(tree, asked)
        if not mutants:
            return 0
        begin = time.monotonic()
        preload()
        folders = [Path(shutil.copytree(tree, work / str(number))) for number in range(asked.parallel)]
        workers = Workers(tree, folders, work)
        test_files = _test_files(tree, {mutant.file for mutant in mutants}, asked.tests, asked.mirrored)
        known, whole = _learn(workers, test_files, begin + asked.minutes * 30)
        if asked.learn:
            return 0
        answers = Answers(CACHE / "results.jsonl", tree, test_files)
        verdicts = list(_judged(workers, mutants, known, answers, asked, whole=whole))
    return _report(verdicts, asked.floor, whole=whole)


def _drawn(root: Path, asked: argparse.Namespace) -> list[Mutant]:
    """The mutants that are asked for; says why where there are none."""
    files = _files(root, asked.files)
    if asked.all and asked.changed is None:
        return [mutant for file in files for mutant in _valid(root, file)]
    lines = None
    if asked.changed is not None:
        lines = _changed_lines(root, asked.changed)
        if lines is None:
            say(f"'{asked.changed}' is no commit that git knows here; nothing to compare with, so nothing is tried.")
            return []
        files = [file for file in files if file in lines]
    mutants = sample(root, files, asked.sample, asked.seed, lines)
    if not mutants:
        say("no line that could be changed: 0 mutants.")
    return mutants


def _learn(workers: Workers, test_files: list[str], end: float) -> tuple[TestMap, bool]:
    """The map, after recording what is not known yet, and whether it is whole: what is not begun by `end` is not."""
    known, missing = read_map(CACHE, workers.tree, test_files)
    if missing:
        say(f"{len(missing)} test files are run once to learn what they run; later runs need not do that again.")
        with ThreadPoolExecutor(workers.count) as pool:
            for done, _ in enumerate(as_completed([pool.submit(workers.record, file, end) for file in missing]), 1):
                if done % 10 == 0:
                    say(f"  {done} of {len(missing)}")
        known, missing = read_map(CACHE, workers.tree, test_files)
        if missing:
            say(f"{len(missing)} of {len(test_files)} test files are not asked: they could not be recorded in time.")
    return known, not missing


def _judged(
    workers: Workers, mutants: list[Mutant], known: TestMap, answers: Answers, asked: argparse.Namespace, *, whole: bool
) -> Iterator[Verdict]:
    """Verdicts as they come; those of an earlier run with the same code are read back, unless `--fresh`.

    Where the map is not `whole`, that no test runs a mutant is not kept: one that is not recorded may.
    """
    todo = []
    for mutant in mutants:
        entry = None if asked.fresh else answers.find(mutant)
        if entry is not None:
            diff = mutant.diff((workers.tree / mutant.file).read_bytes())
            yield Verdict(mutant, entry["outcome"], entry["seconds"], entry["count"], diff)
        else:
            todo.append(mutant)

    end = time.monotonic() + asked.minutes * 30

    def judge(mutant: Mutant) -> Verdict | None:
        return workers.judge(mutant, known, asked.limit) if time.monotonic() < end else None

    with ThreadPoolExecutor(workers.count) as pool:
        for future in as_completed([pool.submit(judge, mutant) for mutant in todo]):
            verdict = future.result()
            if verdict is None:
                continue
            if whole or verdict.outcome != NO_TESTS:
                answers.keep(verdict.mutant, verdict.outcome, verdict.seconds, verdict.tests)
            place = f"{verdict.mutant.file}:{verdict.mutant.line}"
            say(f"{verdict.outcome:<9}{verdict.seconds:6.1f} s {verdict.tests:4} tests  {place}  {verdict.mutant.what}")
            if verdict.outcome not in (FAILED, TIMEOUT):
                say(verdict.diff)
            yield verdict


def _report(verdicts: list[Verdict], floor: float, *, whole: bool) -> int:
    """Print what was left, and the share of those whose tests are known; the exit code."""
    if not whole and (unknown := sum(verdict.outcome == NO_TESTS for verdict in verdicts)):
        say(f"\n{unknown} mutants are not counted: none of the test files that were recorded runs them.")
        verdicts = [verdict for verdict in verdicts if verdict.outcome != NO_TESTS]
    counts = Counter(verdict.outcome for verdict in verdicts)
    killed = counts[FAILED] + counts[TIMEOUT]
    left = [verdict for verdict in verdicts if verdict.outcome not in (FAILED, TIMEOUT)]
    for number, verdict in enumerate(sorted(left, key=lambda each: (each.mutant.file, each.mutant.line)), 1):
        say(f"\n{number}. {verdict.mutant.file}:{verdict.mutant.line} {verdict.outcome}: {verdict.mutant.what}")
        say(verdict.diff)
    share = killed / len(verdicts) if verdicts else 1.0
    parts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "none"
    say(f"\n{len(verdicts)} mutants: {parts}; {100 * share:.1f} % killed, asked for at least {100 * floor:g} %.")
    if len(verdicts) < FEWEST:
        return 0  # too few to speak of a share
    return int(share < floor)


# ----------------------------------------------------------------------- what is asked, and what is kept


def _arguments() -> argparse.Namespace:
    head, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m tests.mutants", description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", nargs="+", default=["bench"], help="files or folders below bench/ (all of it)")
    parser.add_argument("--sample", type=int, default=20, help="how many mutants, drawn by line (20)")
    parser.add_argument("--all", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (0)")
    parser.add_argument(
        "--changed", metavar="COMMIT", help="only lines that differ from where this commit branched off"
    )
    parser.add_argument("--tests", nargs="+", default=["tests"], help="test files or folders that are asked (all)")
    parser.add_argument(
        "--mirrored", action="store_true", help="only test files of the folders that mirror the sources"
    )
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds that one mutant's tests may take unchanged (60)"
    )
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time (2)")
    parser.add_argument(
        "--minutes", type=float, default=10**6, help="half of them to learn, half for mutants, then stop"
    )
    parser.add_argument("--floor", type=float, default=0.0, help="exit 1 below this share of killed mutants (0)")
    parser.add_argument("--fresh", action="store_true", help="ask again where an earlier run has an answer")
    parser.add_argument("--learn", action="store_true", help="only learn what the tests run, try no mutant")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    return parser.parse_args()


def _files(root: Path, named: list[str]) -> list[str]:
    """The sources in `root`, relative to it, that names of the working tree stand for."""
    found: set[str] = set()
    for name in named:
        asked = (ROOT / name).resolve()
        if asked.is_relative_to(ROOT / "bench"):
            found.update(_python(root, asked.relative_to(ROOT), "*.py"))
    return sorted(found)


def _python(root: Path, name: Path, pattern: str) -> Iterator[str]:
    """The Python files that a file's or folder's name stands for, relative to `root`."""
    path = root / name
    for file in path.rglob(pattern) if path.is_dir() else [path]:
        if file.is_file() and file.suffix == ".py":
            yield str(file.relative_to(root))


def _valid(root: Path, file: str) -> list[Mutant]:
    source = (root / file).read_bytes()
    return [mutant for mutant in mutants_of(root, file) if is_other_code(mutant.applied(source), source)]


def _test_files(root: Path, sources: set[str], named: list[str], only_mirrored: bool) -> list[str]:
    """Test files that are asked, those of the folders that mirror the sources first."""
    paths = [(ROOT / name).resolve().relative_to(ROOT) for name in named]
    found = {file for path in paths for file in _python(root, path, "test_*.py")}
    mirrored = {"/".join(("tests", *Path(source).parts[1:-1])) for source in sources}
    if only_mirrored:
        found = {file for file in found if str(Path(file).parent) in mirrored}
    return sorted(found, key=lambda file: (str(Path(file).parent) not in mirrored, file))


def _changed_lines(root: Path, commit: str) -> dict[str, set[int]] | None:
    """For each file of bench/, the lines in `root` that differ from where `commit` branched off; None where unknown."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # the index belongs to the working tree, not to a copy
        return subprocess.run(
            ["git", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
        )

    place = git("-C", str(ROOT), "rev-parse", "--absolute-git-dir").stdout.strip()
    base = git("-C", str(ROOT), "merge-base", "HEAD", commit)
    if base.returncode:
        return None
    diff = git(
        f"--git-dir={place}", f"--work-tree={root}",
        "diff", "-U0", "--no-color", "--no-ext-diff", base.stdout.strip(), "--", "bench",
    ).stdout  # fmt: skip
    lines: dict[str, set[int]] = {}
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line[6:]
        elif line.startswith("@@"):
            start, _, count = line.split("+")[1].split(" ")[0].partition(",")
            lines.setdefault(file, set()).update(range(int(start), int(start) + int(count or 1)))
    return lines


def _not_found(log: Path) -> set[str]:
    """Tests that pytest did not find by name."""
    if not log.is_file():
        return set()
    mark = "ERROR: not found: "
    lines = log.read_text(errors="replace").splitlines()
    return {
        line.removeprefix(mark).partition("/mutants-")[2].partition("/")[2].partition("/")[2]
        for line in lines
        if line.startswith(mark)
    }


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
