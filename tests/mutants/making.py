"""The small changes that a test should notice: one mutant is one of them, in one file.

A mutant is a replaced stretch of source text, found by walking the syntax tree, so that a diff shows nothing else.
What no number depends on is left alone: docstrings, annotations, the texts of errors and of help, imports, and what
makes the same program by its definition: see `SAME`, `GUARDS`, `WORDS`, `LAYOUT` and `ELSEWHERE`.
"""

import ast
import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
TRANSPARENT = {
    "detach", "abs", "clamp", "clamp_min", "clamp_max", "clip", "eval", "sum", "mean", "log", "exp", "sort", "sorted",
    "sign", "round",
}  # fmt: skip
"""Functions and methods that are left out, their first argument, or what they are called on, put in their place."""
NAMES = {
    "train": "test", "calibration": "test", "min": "max", "max": "min", "amin": "amax", "amax": "amin",
    "argmin": "argmax", "argmax": "argmin", "any": "all", "all": "any", "zeros": "ones", "ones": "zeros",
    "zeros_like": "ones_like", "ones_like": "zeros_like", "minimum": "maximum", "maximum": "minimum",
}  # fmt: skip
SAME = {
    "min", "max", "minimum", "maximum", "fmin", "fmax", "logaddexp", "allclose", "array_equal", "equal", "gcd", "hypot",
    "logical_and", "suppress", "samestat", "math.isclose",
}  # fmt: skip
"""Functions of two arguments that may be swapped; with its module where another module's namesake may not."""
GUARDS = {"strict", "frozen", "slots", "kw_only", "maxsize"}
"""Arguments that only stop programmers: unequal lengths in a `zip`, writing to a dataclass; and sizes of a memory."""
WORDS = {"help", "metavar", "epilog", "rich_help_panel", "show_default", "stacklevel", "description", "title", "bound"}
"""Arguments that change texts, or what is read by a type checker alone."""

LAYOUT = {"justify", "title_justify", "pad_edge", "show_lines", "box", "bar_width"}
"""Arguments of tables and bars that move words on a terminal and change none of them."""

ELSEWHERE = {"device", "return_annotation", "usedforsecurity"}
"""Arguments that say what holds anyway where these tests run: the only device, what a type checker reads, and that a
sum may be computed."""

LEFT_ALONE = GUARDS | WORDS | LAYOUT | ELSEWHERE


@dataclass(frozen=True)
class Mutant:
    """One change to one file.

    Attributes:
        file: The file, relative to the root of the repository.
        line: The first changed line, from 1.
        what: The kind of change, in a few words.
        start: First byte of the stretch that is replaced.
        end: The byte after its last.
        text: What stands there instead.
    """

    file: str
    line: int
    what: str
    start: int
    end: int
    text: str

    @property
    def key(self) -> str:
        """A name that stays the same as long as the file does."""
        return f"{self.file}:{self.line}:{self.start}-{self.end}:{self.text}"

    def applied(self, source: bytes) -> bytes:
        """The changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """The changed lines, as a unified diff without its head."""
        before, after = source.decode().splitlines(), self.applied(source).decode().splitlines()
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[3:]
        return "\n".join(line for line in lines if not line.startswith("@@"))


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Every mutant of one file, in the order of the file; a few may be no other program, see `is_other_code`."""
    return list(dict.fromkeys(_Maker(file, (root / file).read_bytes()).made()))


def sample(
    root: Path, files: list[str], count: int, seed: int, only: dict[str, set[int]] | None = None
) -> list[Mutant]:
    """Mutants drawn at random: every line that can be changed is as likely as any other, and gives one mutant.

    Args:
        root: The repository.
        files: Files, relative to it.
        count: How many; fewer where there are fewer lines.
        seed: The same seed, the same mutants.
        only: For each file the lines that may be changed; None for all.
    """
    lines: dict[tuple[str, int], list[Mutant]] = {}
    for file in sorted(files):
        for mutant in mutants_of(root, file):
            if only is not None and mutant.line not in only.get(file, ()):
                continue
            lines.setdefault((file, mutant.line), []).append(mutant)
    generator = random.Random(seed)
    places = list(lines)
    generator.shuffle(places)
    drawn: list[Mutant] = []
    for place in places:
        if len(drawn) == count:
            break
        source = (root / place[0]).read_bytes()
        shuffled = generator.sample(lines[place], len(lines[place]))
        drawn += [mutant for mutant in shuffled if is_other_code(mutant.applied(source), source)][:1]
    return drawn


def is_other_code(mutated: bytes, source: bytes) -> bool:
    """Whether a change is valid Python and not the same program."""
    try:
        return ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


class _Maker:
    """Walks one file and proposes changes."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file = file
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.source = source
        self.numbers: set[ast.expr] = set()  # what is made a Python number, to which no graph can be attached

    def made(self) -> Iterator[Mutant]:
        for node in _nodes_that_count(self.tree):
            yield from self._of(node)

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        maker = getattr(self, f"_{type(node).__name__.lower()}", None)
        if maker is not None:
            yield from maker(node)

    def _mutant(self, node: ast.AST, what: str, text: str) -> Mutant:
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return Mutant(self.file, node.lineno, what, start, end, text)  # type: ignore[attr-defined]

    def _text(self, node: ast.AST) -> str:
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        text = self.source[start:end].decode()
        return text if "\n" not in text else ast.unparse(node)

    # ------------------------------------------------------------- expressions

    def _compare(self, node: ast.Compare) -> Iterator[Mutant]:
        for index, operator in enumerate(node.ops):
            if type(operator) in COMPARISONS:
                ops = [*node.ops[:index], COMPARISONS[type(operator)](), *node.ops[index + 1 :]]
                changed = ast.Compare(node.left, ops, node.comparators)
                yield self._mutant(node, "another comparison", f"({ast.unparse(changed)})")

    def _binop(self, node: ast.BinOp) -> Iterator[Mutant]:
        if any(isinstance(part, ast.JoinedStr) or _is_text(part) for part in (node.left, node.right)):
            return
        if type(node.op) in ARITHMETIC:
            changed = ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
            yield self._mutant(node, "another operation", f"({ast.unparse(changed)})")

    def _augassign(self, node: ast.AugAssign) -> Iterator[Mutant]:
        if type(node.op) in ARITHMETIC and not _is_text(node.value):
            changed = ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield self._mutant(node, "another operation", ast.unparse(changed))

    def _unaryop(self, node: ast.UnaryOp) -> Iterator[Mutant]:
        if isinstance(node.op, ast.Not | ast.USub):
            yield self._mutant(node, "sign or negation removed", f"({self._text(node.operand)})")

    def _boolop(self, node: ast.BoolOp) -> Iterator[Mutant]:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield self._mutant(node, "and/or", f"({ast.unparse(ast.BoolOp(other, node.values))})")
        for part in node.values[:2]:
            yield self._mutant(node, "one condition left out", f"({self._text(part)})")

    def _constant(self, node: ast.Constant) -> Iterator[Mutant]:
        value = node.value
        if isinstance(value, bool):
            yield self._mutant(node, "a truth reversed", str(not value))
        elif isinstance(value, int):
            yield self._mutant(node, "a number one more", str(value + 1))
            yield self._mutant(node, "a number one less", f"({value - 1})")
            yield self._mutant(node, "a number 0", "0")
        elif isinstance(value, float):
            yield self._mutant(node, "a number twice as large", repr(value * 2))
            yield self._mutant(node, "a number 0", "0.0")
        elif value in ("train", "calibration"):
            yield self._mutant(node, "test in place of training data", "'test'")

    def _call(self, node: ast.Call) -> Iterator[Mutant]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if ast.unparse(node.func) == "float":
            self.numbers.update(node.args)
        if name in TRANSPARENT and not (name == "detach" and node in self.numbers):
            if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
                yield self._mutant(node, f"{name}() removed", self._text(node.func.value))
            elif node.args:
                yield self._mutant(node, f"{name}() removed", f"({self._text(node.args[0])})")
        plain = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
        if len(plain) == len(node.args) >= 2 and SAME.isdisjoint({name, ast.unparse(node.func)}):
            swapped = ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
            yield self._mutant(node, "two arguments swapped", ast.unparse(swapped))
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in LEFT_ALONE:
                others = [other for other in node.keywords if other is not keyword]
                left = ast.Call(node.func, node.args, others)
                yield self._mutant(node, f"argument {keyword.arg} left out", ast.unparse(left))

    def _subscript(self, node: ast.Subscript) -> Iterator[Mutant]:
        if isinstance(node.slice, ast.Name) and isinstance(node.ctx, ast.Load):
            yield self._mutant(node, "index off by one", f"{self._text(node.value)}[{node.slice.id} - 1]")
        elif isinstance(node.slice, ast.Slice):
            for field in ("lower", "upper", "step"):
                if getattr(node.slice, field) is not None and not (
                    field == "lower" and _starts_at_the_first(node.slice)
                ):
                    parts = {name: getattr(node.slice, name) for name in ("lower", "upper", "step")} | {field: None}
                    changed = ast.Subscript(node.value, ast.Slice(**parts), node.ctx)
                    yield self._mutant(node, "a bound of a slice left out", ast.unparse(changed))

    def _attribute(self, node: ast.Attribute) -> Iterator[Mutant]:
        if node.attr in NAMES:
            yield self._mutant(node, "another name", f"{self._text(node.value)}.{NAMES[node.attr]}")

    def _name(self, node: ast.Name) -> Iterator[Mutant]:
        if node.id in NAMES and isinstance(node.ctx, ast.Load):
            yield self._mutant(node, "another name", NAMES[node.id])

    # -------------------------------------------------------------- statements

    def _if(self, node: ast.If) -> Iterator[Mutant]:
        yield self._mutant(node.test, "a condition reversed", f"(not ({self._text(node.test)}))")

    _while = _if
    _ifexp = _if

    def _expr(self, node: ast.Expr) -> Iterator[Mutant]:
        if isinstance(node.value, ast.Call | ast.Await):
            yield self._mutant(node, "a statement left out", "pass")

    def _return(self, node: ast.Return) -> Iterator[Mutant]:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield self._mutant(node, "nothing returned", "return None")

    def _continue(self, node: ast.Continue) -> Iterator[Mutant]:
        yield self._mutant(node, "another jump", "break")

    def _break(self, node: ast.Break) -> Iterator[Mutant]:
        yield self._mutant(node, "another jump", "continue")


def _nodes_that_count(node: ast.AST) -> Iterator[ast.AST]:
    """A tree from the top, without docstrings, annotations, errors' texts, f-strings and imports."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _says_nothing(child):
                yield from _nodes_that_count(child)


def _says_nothing(node: ast.AST) -> bool:
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.keyword) and node.arg in LEFT_ALONE:
        return True
    return isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom)


def _starts_at_the_first(part: ast.Slice) -> bool:
    """Whether it does so with its lower bound and without: 0 is where slices begin that do not go backwards."""
    return isinstance(part.lower, ast.Constant) and part.lower.value == 0 and part.step is None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "np", "functional", "math")
