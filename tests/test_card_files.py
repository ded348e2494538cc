"""Which files are cards, and that others are not passed over without a word."""

import pytest
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cli.app import app
from bench.errors import CardError
from bench.validation.checks import check_file


def renamed(toy_cards, suffix, folder="detectors", name="flat"):
    path = toy_cards.root / folder / f"{name}.yaml"
    return path.rename(path.with_name(f"{name}{suffix}"))


@pytest.mark.parametrize(
    ("folder", "kind", "name"),
    [
        ("detectors", "detector", "flat"),
        ("datasets", "track", "toy"),
        ("threat_models", "threat", "shove"),
    ],
)
def test_a_yml_card_is_used_as_a_yaml_one(toy_cards, empty_cards, folder, kind, name):
    path = renamed(toy_cards, ".yml", folder, name)
    catalog = Catalog(toy_cards.root, builtin=empty_cards("builtin").root)
    assert catalog.names(kind) == [name]
    assert catalog.where(kind, name) == path
    assert catalog.read(kind, path).name == name


def test_two_cards_of_one_name_are_refused_and_both_are_named(toy_cards, empty_cards):
    path = toy_cards.root / "detectors" / "flat.yaml"
    path.with_suffix(".yml").write_text(path.read_text())
    catalog = Catalog(toy_cards.root, builtin=empty_cards("builtin").root)
    assert catalog.names("detector") == ["flat"]
    with pytest.raises(CardError, match=r"both flat\.yaml and flat\.yml"):
        catalog.detector("flat")
    assert "both flat.yaml and flat.yml" in check_file(path, catalog).problems[0]
    assert "both flat.yaml and flat.yml" in check_file(path.with_suffix(".yml"), catalog).problems[0]


@pytest.mark.parametrize("suffix", [".json", ".YAML", ".Yml", ".yaml.txt", ".toml"])
def test_a_file_that_looks_like_a_card_is_named_in_one_notice(toy_cards, empty_cards, suffix):
    renamed(toy_cards, suffix)
    (said,) = Catalog(toy_cards.root, builtin=empty_cards("builtin").root).passed_over()
    assert f"detectors/flat{suffix}" in said
    for command in (["list"], ["validate"]):
        output = CliRunner().invoke(app, [*command, "--workspace", str(toy_cards.root)]).output
        assert output.count(f"detectors/flat{suffix}") == 1


def test_other_files_are_left_alone(toy_cards, empty_cards):
    (toy_cards.root / "detectors" / "README.md").touch()
    (toy_cards.root / "detectors" / ".hidden.yaml.swp").touch()
    assert Catalog(toy_cards.root, builtin=empty_cards("builtin").root).passed_over() == []
