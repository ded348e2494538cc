"""What the documentation asks a reader to do: the fences of its pages, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*/README.md")

_OPENS = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[\w-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_NAMED = re.compile(r"^# (?P<path>[\w./-]+\.(?:py|ya?ml|toml|json))$")
_INLINE = re.compile(r"(?<!`)`((?:bench|python) [^`]+)`(?!`)")
_OPERATORS = "();<>|&"


@dataclass(frozen=True)
class Fence:
    """A block of code: its language, its text without the indentation of the block, and the line of its first tick.

    `path` is the file that the block shows, said by its title or by its first line, `# detectors/mine.yaml`.
    """

    page: str
    line: int
    language: str
    text: str
    path: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass
class Command:
    """What stands behind a `$`: its words, `&&` between the parts of a list, and what the page says that it prints."""

    page: str
    line: int
    words: list[str]
    shown: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def parts(self) -> list[list[str]]:
        """The simple commands of `a && b`, in order."""
        parts: list[list[str]] = [[]]
        for word in self.words:
            if word == "&&":
                parts.append([])
            else:
                parts[-1].append(word)
        return parts


@dataclass
class Page:
    """One page: what it asks for, in its order."""

    name: str
    steps: list[Command | Fence] = field(default_factory=list)


def page_names(root: Path = CHECKOUT) -> list[str]:
    """Every page there is, by its path."""
    found = {path.relative_to(root).as_posix() for pattern in PAGES for path in root.glob(pattern)}
    return sorted(found)


def read_page(name: str, root: Path = CHECKOUT) -> Page:
    """The commands of a page's console fences and its other fences, in the page's order."""
    return parse_page(name, (root / name).read_text(encoding="utf-8"))


def parse_page(name: str, text: str) -> Page:
    """The same of a page's text; a text fence below commands is what the last of them prints."""
    page, last = Page(name), None
    for fence in fences(name, text):
        if fence.language == "console":
            found = commands(fence)
            page.steps += found
            last = found[-1] if found else None
        elif fence.language == "text" and last is not None:
            last.shown, last = last.shown or fence.text, None
        else:
            page.steps.append(fence)
            last = None
    return page


def fences(name: str, text: str) -> Iterator[Fence]:
    """The fenced blocks of a page, those inside lists and tabs too."""
    opened: re.Match[str] | None = None
    start, body = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if opened is None:
            opened = _OPENS.match(line)
            start, body = number, []
        elif line.strip().startswith(opened["ticks"]) and not line.strip().strip(opened["ticks"][0]):
            yield _fence(name, start, opened, body)
            opened = None
        else:
            body.append(line.removeprefix(opened["indent"]))
    if opened is not None:
        raise ValueError(f"{name}:{start}: a fence is opened and never closed")


def commands(fence: Fence) -> list[Command]:
    """The commands of a console fence: lines behind `$ `, with what a backslash continues, without comments."""
    found: list[Command] = []
    continued = False
    for number, line in enumerate(fence.text.splitlines(), start=fence.line + 1):
        if line.startswith("$ "):
            found.append(Command(fence.page, number, [line[2:]]))
        elif continued:
            found[-1].words.append(line)
        elif found:
            found[-1].shown += f"{line}\n"
        elif line.strip():
            raise ValueError(
                f"{fence.page}:{number}: a console fence begins with '$ ' and a command, not with {line!r}"
            )
        continued = line.endswith("\\") and (continued or line.startswith("$ "))
    for command in found:
        command.words = split("\n".join(command.words))
    return found


def split(text: str) -> list[str]:
    """The words of a command as a shell has them; operators such as `&&` are words of their own."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)


def inline_commands(name: str, text: str) -> Iterator[Command]:
    """Commands of `bench` and `python` that stand in the prose, between single backticks."""
    inside = {
        number
        for fence in fences(name, text)
        for number in range(fence.line, fence.line + len(fence.text.splitlines()) + 1)
    }
    lines = text.splitlines()
    prose = "\n".join("" if number in inside else line for number, line in enumerate(lines, start=1))
    for match in _INLINE.finditer(prose):
        yield Command(name, prose.count("\n", 0, match.start()) + 1, split(" ".join(match[1].split())))


def _fence(name: str, start: int, opened: re.Match[str], body: list[str]) -> Fence:
    title = _TITLE.search(opened["rest"])
    named = _NAMED.match(body[0]) if body else None
    path = title[1] if title else named["path"] if named else ""
    return Fence(name, start, opened["language"], "".join(f"{line}\n" for line in body), path)
