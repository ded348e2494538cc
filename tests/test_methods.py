import sys

import pytest

from bench.cards.code.methods import import_method
from bench.cards.code.static_code import look_up
from bench.errors import CardError


@pytest.fixture
def module(empty_cards):
    """Writes a module with the given code into a workspace; gives its name and the workspace."""

    def write(code):
        folder = empty_cards("ws")
        (folder.root / f"{folder.module}.py").write_text(code)
        return folder.module, folder.root

    return write


def test_a_method_of_a_workspace_is_imported_and_the_path_left_as_it_was(module):
    name, root = module("class Mine: pass\n")
    before = list(sys.path)
    assert import_method(f"{name}:Mine", root).__name__ == "Mine"
    assert sys.path == before


def test_a_workspace_replaces_nothing_that_is_installed(empty_cards):
    folder = empty_cards("ws")
    (folder.root / "shellingham.py").write_text("def detect_shell(): return 'replaced'\n")
    sys.modules.pop("shellingham", None)
    assert "site-packages" in import_method("shellingham:detect_shell", folder.root).__code__.co_filename


def test_a_module_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CardError, match=r"there is no module 'nowhere_at_all'; allowed is what is installed or below"):
        import_method("nowhere_at_all.x:Y", tmp_path)


def test_a_module_that_is_not_there_inside_a_package_is_named():
    with pytest.raises(
        CardError, match=r"there is no module 'bench\.detectors\.nothing'; allowed is what is installed;"
    ):
        import_method("bench.detectors.nothing:Y")


def test_a_dependency_that_is_missing_is_named(module):
    name, root = module("import some_missing_dependency\n")
    with pytest.raises(CardError, match="its module needs 'some_missing_dependency', which is not here; install it"):
        import_method(f"{name}:Mine", root)


def test_a_wrong_attribute_proposes_the_nearest(module):
    name, root = module("class Detector: pass\n")
    with pytest.raises(CardError, match=r"has no 'Detektor'; did you mean Detector\?"):
        import_method(f"{name}:Detektor", root)


@pytest.mark.parametrize("code", ["raise ValueError('no good')", "import sys; sys.exit('no good')", "x = ("])
def test_a_module_that_fails_is_named_with_its_line(module, code):
    name, root = module(f"\n{code}\n")
    with pytest.raises(CardError) as caught:
        import_method(f"{name}:Mine", root)
    assert f"importing '{name}' failed in" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["os", "os:", ":system", "os:path.join", "../x:Y", "a b:c", "os.:path"])
def test_what_is_no_method_path_is_refused(path):
    with pytest.raises(CardError, match=r"give package\.module:attribute"):
        import_method(path)


@pytest.mark.parametrize(("workspace", "where"), [(None, "installed;"), ("mine", "installed or below .*mine;")])
def test_a_module_that_no_source_is_found_of_is_told_where_it_was_looked_for(tmp_path, workspace, where):
    folder = None if workspace is None else tmp_path / workspace
    with pytest.raises(CardError, match=f"no module 'nowhere_at_all' with a source file; allowed is what is {where}"):
        look_up("nowhere_at_all", "Thing", folder)
