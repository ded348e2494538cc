"""What a regression check found: lines for a terminal, a summary in Markdown, and JUnit XML."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from bench.leaderboards.baseline import Figure
from bench.leaderboards.regression import Compared, Regression, Verdict
from bench.report import numbers
from bench.report.lines import Line, panels, sentence_lines
from bench.report.markdown import escape_markdown

_HEADER = ("cell", "verdict", "baseline", "now", "difference ± se", "p")
_UNPAIRED = "*"
_NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_MEANS = {
    Verdict.WORSE: "the figure fell: the detector lost, or an attack found more than it did",
    Verdict.WEAKER: "the detector computes the same scores, and more of its AUROC is left: the attack finds less",
    Verdict.MISSING: "there is nothing to hold against the baseline",
}


def summary(found: Regression) -> str:
    """One sentence on the whole check."""
    counts = [f"{len(found.of(verdict))} {verdict}" for verdict in Verdict if found.of(verdict)]
    return f"{len(found.cells)} cell{'s' if len(found.cells) != 1 else ''}: {', '.join(counts)}."


def text_lines(found: Regression, *, width: int = 120) -> list[Line]:
    """The table and what has to be said about it, for a terminal of this width."""
    columns = [((title,), [row[i] for row in map(_words, found.cells)]) for i, title in enumerate(_HEADER)]
    lines = panels(columns[:2], columns[2:], width, texts=2)
    for sentence in _sentences(found):
        lines += sentence_lines(sentence, width, "caption")
    return lines


def render_markdown(found: Regression) -> str:
    """The same as GitHub-flavoured Markdown."""
    rows = [_HEADER, [":--", ":--", "--:", "--:", "--:", "--:"]]
    lines = [f"**bench check: {escape_markdown(summary(found))}**", ""]
    escaped = [list(map(escape_markdown, words)) for words in map(_words, found.cells)]
    lines += [f"| {' | '.join(words)} |" for words in [*rows, *escaped]]
    lines += ["", *(f"- {escape_markdown(sentence)}" for sentence in _sentences(found))]
    return "\n".join(lines) + "\n"


def render_junit(found: Regression) -> str:
    """JUnit XML: one test a cell; a regression is a failure, and a missing cell an error."""
    counts = {
        "tests": len(found.cells),
        "failures": sum(cell.regressed for cell in found.cells),
        "errors": len(found.of(Verdict.MISSING)),
    }
    suite = ElementTree.Element("testsuite", {"name": "bench check", **{k: str(v) for k, v in counts.items()}})
    for cell in found.cells:
        own = cell.before.identity
        case = ElementTree.SubElement(suite, "testcase", {"classname": own.track, "name": _xml(own.label)})
        if cell.regressed or cell.verdict is Verdict.MISSING:
            kind = "failure" if cell.regressed else "error"
            part = ElementTree.SubElement(case, kind, {"type": str(cell.verdict), "message": _xml(_message(cell))})
            part.text = _xml("\n".join([_message(cell), *map(str, cell.changed)]))
        ElementTree.SubElement(case, "system-out").text = _xml(", ".join(_words(cell)[1:]))
    ElementTree.indent(suite, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suite, encoding="unicode")}\n'


def _words(cell: Compared) -> list[str]:
    before, now, change = cell.before, cell.now, cell.change
    if now is None or change is None:
        absent = numbers.ABSENT
        return [before.identity.label, str(cell.verdict), numbers.share(before.value), absent, absent, absent]
    star = "" if cell.paired else _UNPAIRED
    return [
        before.identity.label,
        str(cell.verdict),
        numbers.share(before.value),
        numbers.share(now.value),
        f"{change.difference:+.3f} ± {change.se:.3f}{star}",
        _p_value(cell.p_value),
    ]


def _p_value(value: float) -> str:
    return "<0.0001" if value < 1e-4 else f"{value:.2g}"


def _message(cell: Compared) -> str:
    if cell.change is None or cell.now is None:
        return f"{cell.verdict}: {cell.reason}."
    figure = cell.before.figure.value
    return f"{cell.verdict}: {figure} {cell.before.value:.3f} -> {cell.now.value:.3f}; {_MEANS[cell.verdict]}."


def _sentences(found: Regression) -> list[str]:
    said = [f"{cell.before.identity.label} is missing: {cell.reason}." for cell in found.of(Verdict.MISSING)]
    said += [f"{v}: {_MEANS[v]}." for v in (Verdict.WORSE, Verdict.WEAKER) if found.of(v)]
    said += _changed(found.cells)
    said.append(
        f"A change counts where it is larger than {found.tolerance:g} and significant at {found.alpha:g} over all "
        "cells together (Holm); figures are mean AUROCs over the natural OOD sets."
    )
    if any(cell.before.figure is Figure.WITHSTOOD for cell in found.cells):
        said.append("Of side fool it is the share of ID test images that are right and withstood the attack.")
    if any(cell.now is not None and not cell.paired for cell in found.cells):
        said.append(f"{_UNPAIRED} the images are not the same ones: both errors count.")
    return said


def _changed(cells: Iterable[Compared]) -> list[str]:
    """What is not as it was, each thing once, with the cells that depend on it."""
    compared = [cell for cell in cells if cell.now is not None]
    labels: dict[str, list[str]] = {}
    values: dict[str, dict[str, None]] = {}
    for cell in compared:
        for change in cell.changed:
            labels.setdefault(change.what, []).append(cell.before.identity.label)
            values.setdefault(change.what, {})[f"{change.before} -> {change.now}"] = None
    said = []
    for what, where in labels.items():
        named = "all cells" if len(where) == len(compared) else "; ".join(where)
        said.append(f"changed: {what} in {named} ({', '.join(values[what])}).")
    return said


def _xml(text: str) -> str:
    """Without the characters that XML does not allow."""
    return _NOT_XML.sub("?", text)
