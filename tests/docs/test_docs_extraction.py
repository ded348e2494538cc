"""Reading pages: which commands and blocks are found, and that nothing passes unseen."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from doc_checks import check_fence, check_shown
from doc_pages import CHECKOUT, PAGES, Command, inline_commands, page_names, parse_page, read_page, split
from doc_rules import run
from doc_session import Session, Unexplained
from doc_workspace import add_cards, smaller_threat

PAGE = """
# A title

```console
$ bench run --detector gat \\
    --threat pgd-l2            # a comment
$ cd examples && bench list 'a b'
```

Prose, then what the last one prints:

```text
detector  clean
```

- in a list:

    ```python title="mine.py"
    import bench
    if bench:
        pass
    ```

```yaml
# detectors/mine.yaml
name: mine
```
"""


@pytest.fixture
def session(tmp_path, made_up_data):
    return Session("README.md", tmp_path, made_up_data)


def command(text):
    return Command("page.md", 7, split(text))


def test_commands_are_read_with_their_lines_without_comments_and_with_what_they_print():
    first, second, *_ = parse_page("page.md", PAGE).steps
    assert (first.place, first.words) == ("page.md:5", ["bench", "run", "--detector", "gat", "--threat", "pgd-l2"])
    assert (second.place, second.parts) == ("page.md:7", [["cd", "examples"], ["bench", "list", "a b"]])
    assert (first.shown, second.shown) == ("", "detector  clean\n")


def test_blocks_are_read_without_their_indentation_and_know_the_file_that_they_show():
    *_, python, yaml = parse_page("page.md", PAGE).steps
    assert (python.language, python.path, python.text) == ("python", "mine.py", "import bench\nif bench:\n    pass\n")
    assert (yaml.language, yaml.path) == ("yaml", "detectors/mine.yaml")


def test_output_between_commands_belongs_to_the_command_above():
    page = parse_page("page.md", "```console\n$ bench list\nname  kind\n$ bench show gat\n```\n")
    assert [step.shown for step in page.steps] == ["name  kind\n", ""]


@pytest.mark.parametrize("text", ["```console\nbench run\n```\n", "```console\n$ bench run\n"])
def test_a_block_that_could_hide_a_command_is_an_error(text):
    with pytest.raises(ValueError, match=r"page.md:\d"):
        parse_page("page.md", text)


def test_commands_of_the_prose_are_read_and_those_inside_blocks_are_not():
    text = "Say `bench run\n--eps 1`.\n\n```text\n`bench fly`\n```\n\nThen `bench table`.\n"
    found = list(inline_commands("page.md", text))
    assert [(each.line, each.words) for each in found] == [(1, ["bench", "run", "--eps", "1"]), (8, ["bench", "table"])]


def test_every_console_line_of_every_page_is_a_step():
    for name in page_names():
        lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
        asked = [number for number, line in enumerate(lines, start=1) if line.lstrip().startswith("$ ")]
        assert [step.line for step in read_page(name).steps if isinstance(step, Command)] == asked


def test_pages_of_all_places_are_found():
    for pattern in PAGES:
        assert any(Path(name).match(pattern.replace("**/", "")) for name in page_names()), pattern


@pytest.mark.parametrize("text", ["frobnicate now", "bench list | head", "bench list > file", "make"])
def test_a_command_that_no_rule_knows_fails_by_page_and_line(session, text):
    with pytest.raises(Unexplained, match=r"page\.md:7: .* say it in tests/docs/doc_rules.py"):
        run(session, command(text))


def test_a_block_of_shell_commands_must_be_a_console_block(session):
    (fence,) = parse_page("page.md", "```bash\nbench run\n```\n").steps
    with pytest.raises(Unexplained, match=r"page\.md:1: .*'bash'"):
        check_fence(session, fence)


def test_an_option_or_subcommand_that_does_not_exist_ends_with_another_code_than_0(session):
    assert run(session, command("bench list --colour")).code == 2
    assert run(session, command("bench list fish")).code == 2
    assert run(session, command("bench list tracks")).code == 0


@pytest.mark.parametrize(("text", "differs"), [('"""Mine."""\na = 1  # one', False), ("a = 2", True)])
def test_a_block_that_differs_from_the_file_that_is_there_fails(session, text, differs):
    session.write("mine.py", "a = 1\n")
    (fence,) = parse_page("page.md", f'```python title="mine.py"\n{text}\n```\n').steps
    with pytest.raises(AssertionError, match="differs from the mine") if differs else nullcontext():
        check_fence(session, fence)


def test_an_extra_that_the_package_does_not_have_fails(session):
    assert run(session, command("pip install 'robustood[adapters]'")).code == 0
    with pytest.raises(AssertionError, match="extras are"):
        run(session, command("pip install 'robustood[fish]'"))


def test_a_column_or_section_that_is_no_longer_printed_fails():
    shown = Command("page.md", 7, [], shown="detector  clean  FPR95\n-- pgd-l2, l2 eps 1\n")
    check_shown(shown, "detector    clean   FPR95\n-- pgd-l2, l2 eps 1\ndetector  letters\n")
    with pytest.raises(AssertionError, match="columns"):
        check_shown(shown, "detector  clean  ceiling  FPR95\n-- pgd-l2, l2 eps 1\n")
    with pytest.raises(AssertionError, match="sections"):
        check_shown(shown, "detector  clean  FPR95\n-- pgd-l2, l2 eps 2\n")


def test_python_that_fails_or_a_card_that_is_wrong_fails(session):
    for text in ("```python\nimport bench\nbench.fly()\n```\n", "```yaml\nname: mine\nsummary: x\nparms: {}\n```\n"):
        (fence,) = parse_page("page.md", text).steps
        with pytest.raises((AttributeError, AssertionError)):
            check_fence(session, fence)


def test_smaller_cards_are_valid_and_take_the_place_of_no_card_of_the_page(session):
    own = session.write("threat_models/pgd-l2.yaml", "kept")
    add_cards(session.cwd, session.data_dir)
    assert own.read_text() == "kept"
    own.unlink()
    add_cards(session.cwd, session.data_dir)
    validated = session.bench(["validate"])
    assert validated.code == 0, validated.stdout
    assert "mnist-test.npz" in session.bench(["show", "mnist"]).stdout


def test_a_smaller_threat_has_at_most_the_smaller_parameters():
    card = {"params": {"steps": 100, "restarts": 1, "step_size": 2.0}, "source": {"params": {"steps": 1}}}
    assert smaller_threat(card) == {
        "params": {"steps": 2, "restarts": 1, "step_size": 2.0},
        "source": {"params": {"steps": 1}},
    }
