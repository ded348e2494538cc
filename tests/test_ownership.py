"""A workspace that is found and not named is used only where nobody else can have put cards into it."""

import os

import pytest

from bench.cards.catalog import Catalog
from bench.errors import UsageError

OTHER = 54321
root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def found(toy_cards, monkeypatch):
    """Looks for a workspace from inside one."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    (toy_cards.root / "deep/er").mkdir(parents=True)

    def find(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(toy_cards.root / "deep/er")
        return Catalog.find().workspace

    find.root = toy_cards.root
    return find


def test_the_users_own_workspace_is_found_from_below(found):
    assert found() == found.root


@root_only
@pytest.mark.parametrize("what", [".", "robustood.toml", "detectors", "threat_models", "datasets"])
def test_what_belongs_to_another_user_is_refused_in_one_sentence_unless_named(found, what):
    os.chown(found.root / what, OTHER, OTHER)
    with pytest.raises(UsageError, match=f"belongs to another user .uid {OTHER}.*name it with --workspace") as caught:
        found()
    assert "\n" not in str(caught.value)
    assert Catalog.find(found.root).workspace == found.root


@root_only
def test_files_of_the_one_who_called_sudo_are_ones_own_and_those_of_a_third_are_not(found):
    os.chown(found.root, OTHER, OTHER)
    assert found(SUDO_UID=str(OTHER)) == found.root
    for value in ("54322", "", "-1", "x"):
        with pytest.raises(UsageError, match="belongs to another user"):
            found(SUDO_UID=value)


@root_only
@pytest.mark.parametrize("foreign", ["link", "target"])
def test_a_link_and_what_it_leads_to_must_both_be_ones_own(found, tmp_path, foreign):
    marker, target = found.root / "robustood.toml", tmp_path / "elsewhere.toml"
    marker.rename(target)
    marker.symlink_to(target)
    assert found() == found.root
    os.chown(marker if foreign == "link" else target, OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(UsageError, match="belongs to another user"):
        found()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_everybody_may_write_into_is_refused(found, mode):
    found.root.chmod(mode)
    with pytest.raises(UsageError, match="everybody may write into"):
        found()


@pytest.mark.parametrize(("mode", "allowed"), [(0o777, False), (0o1777, True), (0o775, True)])
def test_a_folder_that_everybody_may_replace_is_refused(found, mode, allowed):
    found.root.parent.chmod(mode)
    try:
        if allowed:
            assert found() == found.root
        else:
            with pytest.raises(UsageError, match="has no sticky bit"):
                found()
    finally:
        found.root.parent.chmod(0o700)


@root_only
def test_root_owns_nothing_less_than_a_user_does(found, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert found() == found.root


def test_a_folder_that_is_gone_is_one_sentence(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the current folder is gone"):
        Catalog.find()
