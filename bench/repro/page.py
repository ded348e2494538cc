"""The page of reproductions, as Markdown: one summary table, then each entry with what was measured and published."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from bench.own_files import REMARK
from bench.report.grid import Grid
from bench.report.markdown import escape_markdown, markdown_grid
from bench.report.numbers import ABSENT
from bench.repro.claims import Measured, Verdict
from bench.repro.entry import Entry, Scale
from bench.repro.judging import Comparison, Judged, Status, judge
from bench.repro.library import PaperEntries
from bench.repro.records import Record

HEAD = """\
# Papers, made again

What five papers print, made again by one command each, with what is at hand. Published figures are marked as such; all
others were measured here, by the command that stands above them.

- **reproduced**: on the paper's own data and networks, or in closed form: each published figure lies within the error
  of the one here, and no claim fails.
- **same pattern**: on other data or smaller networks: some claim of the paper holds, and none fails.
- **different**: a claim fails, or the errors are too large to decide any.
- **not run**: something is missing.

A claim *holds* or *fails* where the errors allow to say so; else it is *open*. Where a paper claims in words
("breaks"), the number that stands for them was chosen here, and in some entries when figures were known already: the
AUROC of 0.75 below which the `ood-attack` paper's attack counts as a success is one. Entries whose files say so had
their lines written before they were run. `bench repro list` shows the entries, `bench repro NAME` runs one, and
`bench repro all --page FILE` runs those that are not stored yet and writes this page, `bench repro page --page FILE`
writes it from what is kept of earlier runs.
An entry is a YAML file in `benchmarks/papers/`, of this repository or of a workspace.
"""

_Records = Mapping[str, Record]


def render_page(
    papers: Sequence[PaperEntries], records: _Records, scale: Scale, pictures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The page of all entries at one scale.

    Args:
        papers: Papers with their entries.
        records: What came of entries, by their names; an entry without one was not run.
        scale: At which.
        pictures: Where the pictures of entries lie, beside the page.
    """
    judged = {entry.name: judged_by(entry, records.get(entry.name), scale) for one in papers for entry in one.entries}
    lines = [HEAD, *_summary(papers, judged, records, scale), *_different(judged.values())]
    lines += _not_run([found for found in judged.values() if found.status is Status.NOT_RUN], scale)
    for one in papers:
        about = f"*{_text(one.paper.title)}*, {_text(one.paper.authors)}, {one.paper.year}."
        lines += ["", f"## {_text(one.name)}", "", about]
        for entry in one.entries:
            record = records.get(entry.name)
            if record is None:
                continue
            lines += ["", *render_entry(judged[entry.name], record, scale)]
            if entry.name in pictures:
                lines += ["", f"![{_text(entry.title)}]({pictures[entry.name]})"]
    return "\n".join(lines) + f"\n\n<!-- {REMARK} -->\n"


def judged_by(entry: Entry, record: Record | None, scale: Scale) -> Judged:
    """An entry, judged by what is kept of its run; None where it was not run."""
    return judge(entry, scale, {} if record is None else record.lookup())


def render_entry(found: Judged, record: Record, scale: Scale) -> list[str]:
    """The lines of one entry that was run, as the page has them."""
    entry, setting = found.entry, found.entry.at(scale)
    lines = [f"### {_text(entry.title)}", ""]
    lines += [f"{', '.join(map(_text, entry.items))}: {_text(entry.shows)} **{str(found.status).capitalize()}**."]
    lines += [f"Here: {_text(setting.about or '')}"]
    lines += ["", "```text", f"bench repro {entry.name} --scale {scale}", "```", "", _cost(record)]
    lines += ["", *_measured_grid(entry, record)]
    for label, why in record.failed.items():
        lines += ["", f"Not computed: {_text(label)}: {_text(why)}"]
    lines += [*_published(found), *_claims(found)]
    if scale is Scale.SMALL and entry.paper.missing is not None:
        lines += ["", f"For `--scale paper` is missing: {_text(entry.paper.missing)}"]
    return lines


def _summary(
    papers: Sequence[PaperEntries], judged: Mapping[str, Judged], records: _Records, scale: Scale
) -> list[str]:
    rows = []
    for one in papers:
        for entry in one.entries:
            found = judged[entry.name]
            rows.append([one.name, ", ".join(entry.items), entry.title, str(found.status), _claims_in_short(found)])
    words = ", ".join(f"{sum(f.status is status for f in judged.values())} {status}" for status in Status)
    cost = _duration(sum(record.seconds for record in records.values()))
    grid = Grid(["paper", "table or figure", "what it shows", "status", "claims"], 5, [rows])
    return [f"Scale `{scale}`: {len(judged)} entries: {words}. All of it took {cost}.", "", *markdown_grid(grid)]


def _claims_in_short(found: Judged) -> str:
    counted = [(found.count(verdict), verdict) for verdict in (Verdict.HOLDS, Verdict.OPEN, Verdict.FAILS)]
    return ", ".join(f"{count} {verdict}" for count, verdict in counted if count) or ABSENT


def _different(judged: Iterable[Judged]) -> list[str]:
    """A table of the entries that came out otherwise: which claims fail, and why."""
    rows = []
    for found in judged:
        if found.status is not Status.DIFFERENT:
            continue
        failing = "; ".join(claim.says for claim, verdict in found.verdicts if verdict is Verdict.FAILS)
        rows.append([found.entry.title, failing or "nothing is decided", _cause(found).removeprefix("Different: ")])
    grid = Grid(["different", "what fails", "why"], 3, [rows])
    return ["", *markdown_grid(grid)] if rows else []


def _not_run(absent: Sequence[Judged], scale: Scale) -> list[str]:
    """A table of the entries that were not run, and what is missing for each."""
    rows = []
    for found in absent:
        entry, missing = found.entry, found.entry.at(scale).missing
        why = missing if missing is not None else f"nothing; bench repro {entry.name} runs it"
        rows.append([", ".join(entry.items), f"{entry.title}: {entry.shows}", why])
    grid = Grid(["not run", "what it shows", "missing"], 3, [rows])
    return ["", *markdown_grid(grid)] if rows else []


def _cost(record: Record) -> str:
    return (
        f"{record.date}: {record.cells} cells, {record.gradients:,} gradients, {_duration(record.seconds)} on "
        f"{_text(record.device)}."
    )


def _published(found: Judged) -> list[str]:
    if not found.comparisons:
        return []
    source = _text((found.entry.source or "").rstrip("."))
    said = f"Published ({source}), and the difference, with the interval of the figure here:"
    return ["", said, "", *_compared(found.entry, found.comparisons)]


def _claims(found: Judged) -> list[str]:
    lines = [""]
    for claim, verdict in found.verdicts:
        where = f" ({_text(claim.source)})" if claim.source else ""
        lines += [f"- *{verdict}*: {_text(claim.says)}{where}"]
    return [*lines, "", _cause(found)] if found.status is Status.DIFFERENT else lines


def _cause(found: Judged) -> str:
    cause = found.entry.cause
    if found.count(Verdict.FAILS) == 0 and cause is None:
        return "Different: no claim is decided at this size."
    if cause is None:
        return "Different, cause not tested."
    if cause.tested is None:
        return f"Different, cause not tested; it may be: {_text(cause.text)}"
    return f"Different: {_text(cause.text)} Tested: {_text(cause.tested)}"


def _measured_grid(entry: Entry, record: Record) -> list[str]:
    figures = record.lookup()
    rows = [row for row in entry.rows if any((row.name, column.name) in figures for column in entry.columns)]
    columns = [column for column in entry.columns if any((row.name, column.name) in figures for row in rows)]
    words = [[row.shown, *(_with_interval(figures.get((row.name, column.name))) for column in columns)] for row in rows]
    return markdown_grid(Grid(["", *(column.shown for column in columns)], 1, [words])) if rows else []


def _compared(entry: Entry, comparisons: Iterable[Comparison]) -> list[str]:
    titles = {("row", one.name): one.shown for one in entry.rows} | {("column", c.name): c.shown for c in entry.columns}
    words = [
        [
            titles["row", one.row],
            titles["column", one.column],
            _number(one.published),
            _plain(one.here),
            _signed(one.difference),
        ]
        for one in comparisons
    ]
    return markdown_grid(Grid(["row", "column", "published", "here", "difference"], 2, [words]))


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _plain(figure: Measured | None) -> str:
    return ABSENT if figure is None else _number(figure.value)


def _with_interval(figure: Measured | None) -> str:
    if figure is None:
        return ABSENT
    if figure.low == figure.high:
        return _number(figure.value)
    return f"{_number(figure.value)} ({_number(figure.low)} to {_number(figure.high)})"


def _signed(difference: Measured | None) -> str:
    if difference is None:
        return ABSENT
    words = f"{difference.value:+.3f}"
    if difference.low == difference.high:
        return words
    return f"{words} ({difference.low:+.3f} to {difference.high:+.3f})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _text(words: str) -> str:
    return escape_markdown(words)
