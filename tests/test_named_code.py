"""A card alone makes nothing run but bench, plug-ins for it and the workspace, and of those what fits its place."""

import sys

import pytest
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.code.static_code import find_module, look_up
from bench.cli.app import app
from bench.datasets.wanted import SOURCE
from bench.detectors.wanted import DETECTOR, NETWORK, SCORER
from bench.errors import CardError, DataError
from bench.threat_models.wanted import THREAT
from bench.training.wanted import RECIPE
from bench.validation.checks import check_file

KINDS = {
    "detector": DETECTOR,
    "threat": THREAT,
    "recipe": RECIPE,
    "network": NETWORK,
    "source": SOURCE,
    "scorer": SCORER,
}
STRANGERS = (
    "subprocess:run", "os:system", "os:popen", "shutil:rmtree", "builtins:exec", "builtins:open", "runpy:run_path",
    "antigravity:fly", "importlib:import_module", "webbrowser:open", "pip.__main__:main", "pytest.__main__:pytest",
    "bench.__main__:main",
)  # fmt: skip
"""Each would do something if it were called, and some if they were only imported."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", STRANGERS)
def test_pythons_own_library_and_programs_are_refused_for_every_place_of_a_card(path, kind):
    with pytest.raises(CardError, match=r"belongs to Python's own library|is the start of a program"):
        import_method(path, None, KINDS[kind])


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package outside any workspace whose import leaves a trace; gives its name and the trace."""
    folder = tmp_path / "site"
    package = folder / "stranger_package"
    package.mkdir(parents=True)
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w').close()\nclass Thing: pass\ndef run(args, data_dir): pass\n"
    (package / "__init__.py").write_text(code)
    (package / "plain.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    yield package, trace
    for name in [name for name in sys.modules if name.startswith("stranger_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", ["detector", "threat", "recipe", "network", "source"])
@pytest.mark.parametrize("name", ["Thing", "run", "nothing"])
def test_an_installed_module_that_knows_nothing_of_bench_is_not_even_imported(installed, kind, name):
    _, trace = installed
    with pytest.raises(CardError):
        import_method(f"stranger_package.plain:{name}", None, KINDS[kind])
    assert not trace.exists()


def test_an_installed_plug_in_is_imported_also_where_another_module_gives_the_class_on(installed):
    package, _ = installed
    (package / "__init__.py").write_text("from .inner import Mine\n")
    (package / "inner.py").write_text("from .middle import Base\nclass Mine(Base): pass\n")
    (package / "middle.py").write_text("from bench.detectors.msp import MSP\nclass Base(MSP): pass\n")
    assert look_up("stranger_package", "Mine").kind == "class"
    assert import_method("stranger_package:Mine", None, DETECTOR).__name__ == "Mine"


WRONG_KIND = """
from bench.detectors.networks.base import Network
from bench.detectors.networks.small import SmallConvNet
from subprocess import run
from torch.nn import Linear
ran = []
made = Linear(2, 2)
class Plain:
    def __init__(self, **args): ran.append(args)
def undeclared(**args): ran.append(args)
def declared(outputs: int = 2) -> Network: return SmallConvNet(outputs=outputs)
def declared_in_text(outputs: int = 2) -> "Network": return SmallConvNet(outputs=outputs)
def other_words(command, shell): ran.append(command)
def source(args, data_dir): pass
"""


@pytest.fixture
def own(empty_cards):
    folder = empty_cards("ws")
    (folder.root / f"{folder.module}.py").write_text(WRONG_KIND)
    return lambda name, wanted: import_method(f"{folder.module}:{name}", folder.root, wanted)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Plain", "network"), ("run", "network"), ("ran", "network"), ("Plain", "detector"), ("Plain", "threat"),
     ("Plain", "recipe"),
     ("other_words", "source"), ("Plain", "source"), ("Plain", "scorer"), ("ran", "scorer"), ("declared", "detector")],
)  # fmt: skip
def test_what_is_not_of_the_kind_is_named_with_what_is_allowed(own, name, kind):
    with pytest.raises(CardError, match=r"allowed: an? ") as caught:
        own(name, KINDS[kind])
    assert KINDS[kind].sentence in str(caught.value)


@pytest.mark.parametrize("name", ["declared", "declared_in_text", "SmallConvNet", "undeclared", "Linear", "made"])
def test_a_network_is_a_module_or_a_class_of_them_or_a_function_that_is_ones_own(own, name):
    assert callable(own(name, NETWORK))


def test_a_source_is_a_function_of_the_declared_form(own):
    assert own("source", SOURCE).__name__ == "source"


def test_a_module_is_found_without_importing_its_parents(installed):
    package, trace = installed
    assert find_module("stranger_package.plain") == package / "plain.py"
    assert find_module("stranger_package.nothing") is None
    assert not trace.exists()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("detectors/flat.yaml", "toy: {}", "toy: {network: {method: COMMAND, args: {args: [touch, TRACE]}}}"),
        ("detectors/flat.yaml", "METHODS:Flat", "COMMAND"),
        (
            "detectors/flat.yaml",
            "toy: {}",
            "toy: {weights: [{file: w.safetensors}], training: {recipe: COMMAND, args: {args: [touch, TRACE]}}}",
        ),
        ("threat_models/shove.yaml", "METHODS:Shove", "COMMAND"),
        ("datasets/toy.yaml", 'test: {source: "METHODS:images"}', 'test: {source: "COMMAND", args: {a: TRACE}}'),
    ],
)
@pytest.mark.parametrize("command", ["subprocess:run", "os:system"])
def test_validate_runs_no_command_of_a_card(toy_cards, tmp_path, path, old, new, command):
    trace = tmp_path / "trace"
    text = (toy_cards.root / path).read_text()
    old = old.replace("METHODS", toy_cards.module)
    assert old in text
    toy_cards.card(path, text.replace(old, new.replace("COMMAND", command).replace("TRACE", str(trace))))
    done = CliRunner().invoke(app, ["validate", "--workspace", str(toy_cards.root), str(toy_cards.root / path)])
    assert done.exit_code == 2
    assert "belongs to Python's own library" in done.output
    assert not trace.exists()


def test_validate_says_what_it_imported_and_nothing_where_it_may_not(toy_cards):
    card = str(toy_cards.root / "detectors/flat.yaml")
    here = ["validate", "--workspace", str(toy_cards.root), card]
    assert f"imported, which ran them: {toy_cards.module}" in CliRunner().invoke(app, here).output
    assert "imported" not in CliRunner().invoke(app, [*here, "--no-import"]).output.replace("was not imported", "")


def test_without_import_the_code_of_a_workspace_is_only_read(toy_cards, tmp_path):
    trace = tmp_path / "trace"
    module = toy_cards.root / f"{toy_cards.module}.py"
    module.write_text(f"open({str(trace)!r}, 'w').close()\n{module.read_text()}")
    catalog = Catalog(toy_cards.root)
    assert check_file(toy_cards.root / "detectors/flat.yaml", catalog, run_code=False).ok
    wrong = toy_cards.card(
        "detectors/flat.yaml", (toy_cards.root / "detectors/flat.yaml").read_text().replace(":Flat", ":F")
    )
    assert "has no 'F'" in check_file(wrong, catalog, run_code=False).problems[0]
    assert not trace.exists()


@pytest.mark.parametrize("command", [["list", "detectors"], ["list", "tracks"], ["show", "flat"], ["table"]])
def test_commands_that_only_show_import_nothing_of_a_card(toy_cards, tmp_path, command, monkeypatch):
    trace = tmp_path / "trace"
    (toy_cards.root / f"{toy_cards.module}.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.chdir(toy_cards.root)
    CliRunner().invoke(app, command)
    assert not trace.exists()


def test_a_source_that_is_a_command_is_refused_where_tracks_are_loaded(tmp_path):
    from bench.datasets.sources import load_source

    with pytest.raises(DataError, match="belongs to Python's own library"):
        load_source("os:system", {"command": "true"}, tmp_path)
