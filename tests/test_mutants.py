import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from mutants import __main__ as runner
from mutants import running
from mutants.keeping import Answers
from mutants.making import is_other_code, mutants_of, sample
from mutants.named import NAMED
from mutants.recording import TestMap, functions_by_line

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def changes(tmp_path):
    """The texts that a piece of code may be changed into."""

    def of(code):
        (tmp_path / "code.py").write_text(code)
        return [mutant.applied(code.encode()).decode() for mutant in mutants_of(tmp_path, "code.py")]

    return of


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("y = a < b\n", "y = (a <= b)\n"),
        ("y = a + b\n", "y = (a - b)\n"),
        ("y = 3\n", "y = 4\n"),
        ("y = 3\n", "y = 0\n"),
        ("y = 0.5\n", "y = 1.0\n"),
        ("if ready:\n    y = x\n", "if (not (ready)):\n    y = x\n"),
        ("y = not x\n", "y = (x)\n"),
        ("begin(x)\n", "pass\n"),
        ("y = f(a, b)\n", "y = f(b, a)\n"),
        ("y = f(a, b=c)\n", "y = f(a)\n"),
        ("y = x.detach() \n", "y = x \n"),
        ("y = abs(x)\n", "y = (x)\n"),
        ("y = torch.clamp(x, 0, 1)\n", "y = (x)\n"),
        ("def f():\n    return x\n", "def f():\n    return None\n"),
        ("y = x[i]\n", "y = x[i - 1]\n"),
        ("y = x[a:b]\n", "y = x[a:]\n"),
        ("fit(data.train)\n", "fit(data.test)\n"),
        ("y -= 0\n", "y += 0\n"),
        ("y = 'ä'; z = a + b\n", "y = 'ä'; z = (a - b)\n"),
    ],
)
def test_a_small_change_is_proposed(changes, code, changed):
    assert changed in changes(code)


@pytest.mark.parametrize(
    "code",
    [
        '"""Text of 3."""\n',
        "x: Tuple[1, 2]\n",
        "raise ValueError(3)\n",
        "import a\n",
        "y = torch.fmin(a, b)\n",
        "y = np.hypot(a, b)\n",
        "y = torch.logical_and(a, b)\n",
        "y = math.isclose(a, b)\n",
        "y = os.path.samestat(a, b)\n",
        "y = float(x.detach())\n",
        "y = md5(x, usedforsecurity=False)\n",
        "@dataclass(frozen=True, slots=True)\nclass A: pass\n",
        "y = [*zip(*a, strict=True)]\n",
        "app = Typer(help=text + 1)\n",
        "table = Table(box=box.SIMPLE, pad_edge=False, justify='right' if a == b else 'left')\n",
        "y = 'text' + name\n",
        "y = f'{1}'\n",
    ],
)
def test_what_no_number_depends_on_is_left_alone(changes, code):
    assert changes(code) == []


def test_what_only_looks_like_the_same_program_is_proposed(changes):
    assert "y = np.isclose(b, a)\n" in changes("y = np.isclose(a, b)\n")  # its tolerance is a share of the second
    assert "y = float(f(x))\n" in changes("y = float(f(x.detach()))\n")  # nobody knows what f makes of a graph
    assert "y = x[:a]\n" not in changes("y = x[0:a]\n")
    assert "y = x[::-1]\n" in changes("y = x[0::-1]\n")
    assert "y = x[:a]\n" in changes("y = x[1:a]\n")


def test_the_same_program_in_other_words_is_no_mutant():
    assert not is_other_code(b"y = (x)\n", b"y = x\n")
    assert not is_other_code(b"y = (x\n", b"y = x\n")
    assert is_other_code(b"y = -x\n", b"y = x\n")


def test_a_sample_is_the_same_for_a_seed_and_takes_a_line_once():
    drawn = sample(ROOT, ["bench/metrics/roc.py"], 12, seed=3)
    assert drawn == sample(ROOT, ["bench/metrics/roc.py"], 12, seed=3)
    assert drawn != sample(ROOT, ["bench/metrics/roc.py"], 12, seed=4)
    assert len({mutant.line for mutant in drawn}) == len(drawn) == 12


def test_a_sample_can_be_held_to_lines():
    drawn = sample(ROOT, ["bench/metrics/roc.py"], 12, seed=3, only={"bench/metrics/roc.py": set(range(60, 90))})
    assert drawn
    assert all(60 <= mutant.line < 90 for mutant in drawn)


def test_lines_belong_to_their_innermost_function():
    source = b"X = 1\nclass A:\n    def f(self):\n        def g():\n            return 1\n        return g\n"
    assert functions_by_line(source) == {4: "A.f", 5: "A.f.g", 6: "A.f"}


def test_quick_tests_of_the_mirrored_folder_are_asked_first_and_time_is_bounded(tmp_path):
    (tmp_path / "bench/metrics").mkdir(parents=True)
    (tmp_path / "bench/metrics/a.py").write_text("X = 1\ndef f():\n    return 1\n")
    seconds = {
        "tests/cli/t.py::q": 0.1,
        "tests/metrics/t.py::s": 2.0,
        "tests/metrics/t.py::q": 1.0,
        "tests/z.py::l": 9.0,
    }
    known = TestMap(seconds, {"bench/metrics/a.py::f": set(seconds)})
    order = ["tests/metrics/t.py::q", "tests/metrics/t.py::s", "tests/cli/t.py::q", "tests/z.py::l"]
    assert known.tests(tmp_path, "bench/metrics/a.py", 3, limit=100) == order
    assert known.tests(tmp_path, "bench/metrics/a.py", 1, limit=3.5) == order[:3]
    assert known.tests(tmp_path, "bench/metrics/a.py", 3, limit=0.5) == order[:1]
    (tmp_path / "bench/metrics/a.py").write_text("X = 1\ndef newer():\n    return 1\n")
    assert known.tests(tmp_path, "bench/metrics/a.py", 3, limit=100) == order


def test_an_answer_holds_while_the_code_does_and_a_survivor_while_the_tests_do(tmp_path):
    (tmp_path / "code.py").write_text("y = a < b\nz = 3\n")
    (tmp_path / "test_code.py").write_text("")
    mutants = mutants_of(tmp_path, "code.py")
    answers = Answers(tmp_path / "kept", tmp_path, ["test_code.py"])
    answers.keep(mutants[0], "killed", 1.0, 3)
    answers.keep(mutants[1], "survived", 1.0, 3)

    def found():
        again = Answers(tmp_path / "kept", tmp_path, ["test_code.py"])
        return [again.find(mutant) is not None for mutant in mutants[:2]]

    assert found() == [True, True]
    (tmp_path / "test_code.py").write_text("def test_more(): pass\n")
    assert found() == [True, False]
    (tmp_path / "code.py").write_text("y = a < b\nz = 3\n\n")
    assert found() == [False, False]


CODE = "def gap(a, b):\n    return a - b\n"
TESTS = "from bench.code import gap\n\n\ndef test_gap():\n    assert gap(3, 1) == 2\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one function and one test, that the runner takes for the repository."""
    root = tmp_path / "project"
    for name, text in {"bench/__init__.py": "", "bench/code.py": CODE, "tests/test_code.py": TESTS}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / ".gitignore").write_text("__pycache__\n.mutants\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "code"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    monkeypatch.setattr(runner, "ROOT", root)
    monkeypatch.setattr(runner, "CACHE", root / ".mutants")
    return root


@pytest.mark.parametrize(
    ("whole", "code", "said"), [(True, 1, "5 killed, 5 untested"), (False, 0, "5 killed; 100.0 %")]
)
def test_what_no_recorded_test_runs_counts_only_where_all_could_be_recorded(whole, code, said, capsys):
    (mutant, *_) = mutants_of(runner.ROOT, "bench/metrics/roc.py")
    verdicts = [runner.Verdict(mutant, outcome, 1.0, 3, "-a\n+b") for outcome in ("killed", "untested") * 5]
    assert runner._report(verdicts, 0.6, whole=whole) == code
    printed = capsys.readouterr().out
    assert said in printed
    assert ("5 mutants are not counted" in printed) is not whole


def test_a_commit_while_mutants_run_changes_no_answer(project, monkeypatch, capsys):
    """The code gets a line more, and its test another name, as soon as the copy is made."""
    known = TestMap({"tests/test_code.py::test_gap": 0.1}, {"bench/code.py::gap": {"tests/test_code.py::test_gap"}})
    asked = []

    @contextmanager
    def copied(root, folder):
        with running.copied(root, folder) as tree:
            commit()
            yield tree

    def commit():
        (project / "bench/code.py").write_text("# longer than it was\n" + CODE.replace("a - b", "b"))
        (project / "tests/test_code.py").write_text(TESTS.replace("test_gap", "test_other"))

    def answer(folder, arguments, log, timeout):
        asked.append(((folder / "bench/code.py").read_text(), (folder / "tests/test_code.py").read_text()))
        return "killed"

    monkeypatch.setattr(runner, "preload", lambda: None)
    monkeypatch.setattr(runner, "copied", copied)
    monkeypatch.setattr(runner, "_learn", lambda *_: (known, True))
    monkeypatch.setattr(runner, "run_tests", answer)
    monkeypatch.setattr(sys, "argv", ["mutants", "--all", "--parallel", "1"])
    assert runner.main() == 0
    (project / "bench/code.py").write_text(CODE)
    expected = {mutant.applied(CODE.encode()).decode() for mutant in mutants_of(project, "bench/code.py")}
    assert {code for code, _ in asked} == expected
    assert {test for _, test in asked} == {TESTS}
    said = capsys.readouterr().out
    assert said.count("bench/code.py:2") == len(expected)
    assert "100.0 % killed" in said
    asked.clear()
    assert runner.main() == 0
    assert asked == []  # the answers were kept under the code that was judged


def test_changed_lines_are_those_of_the_copy_that_is_judged(project, tmp_path):
    with runner.copied(project, tmp_path / "tree") as tree:
        (tree / "bench/code.py").write_text(CODE.replace("a - b", "a - b - 0"))
        (project / "bench/code.py").write_text("# a line more\n" + CODE)
        assert runner._changed_lines(tree, "main") == {"bench/code.py": {2}}
    assert runner._changed_lines(project, "main") == {"bench/code.py": {1}}
    assert runner._changed_lines(project, "nobody") is None


def test_mutants_are_listed_without_touching_a_file():
    command = [sys.executable, "-m", "tests.mutants", "--files", "bench/metrics/roc.py", "--sample", "2", "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed.count("bench/metrics/roc.py:") == 2


@pytest.mark.slow
def test_a_tested_file_loses_mutants_and_the_working_tree_keeps_its_content():
    source = (ROOT / "bench/metrics/multiple.py").read_bytes()
    command = [sys.executable, "-m", "tests.mutants", "--files", "bench/metrics/multiple.py", "--all", "--fresh"]
    command += ["--tests", "tests/metrics/test_several_tests_at_once.py", "--floor", "0.6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed, asked for at least 60 %" in done.stdout
    assert (ROOT / "bench/metrics/multiple.py").read_bytes() == source


@pytest.mark.parametrize("mistake", NAMED, ids=lambda named: named.name)
def test_every_named_mistake_still_fits_the_code_and_names_tests(mistake):
    assert mistake.fits()
    assert mistake.old != mistake.new
    assert all((ROOT / test).is_file() for test in mistake.tests)


@pytest.mark.slow
def test_every_named_mistake_is_noticed():
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.named"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
