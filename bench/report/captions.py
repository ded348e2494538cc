"""The words around a table: what was attacked, what the figures mean, and what a reader must not overlook."""

from collections.abc import Iterable, Mapping

from bench.cards.detector import DEFAULT_RECALL
from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta
from bench.report import numbers
from bench.report.accuracy import accuracy_line
from bench.report.conditions import QUIET_STATUSES
from bench.report.doubts import doubt_lines
from bench.report.extras import extra_columns
from bench.report.fool import CAPTION as FOOL_CAPTION
from bench.report.nearest import nearest_caption
from bench.report.table import Table

_FAILED = "failed"
"""How an attack ended that could do nothing; its image is the clean one."""

REACHABLE_LIMIT = 0.05
"""Above this share of OOD images that can become an ID image, a line says so."""

_SIDES = {
    None: "no attack",
    Side.EVADE: "side evade: the OOD images are attacked to look in-distribution, the ID images stay as they are",
    Side.ALARM: "side alarm: the ID images are attacked to look out-of-distribution, the OOD images stay as they are",
    Side.BOTH: "side both: ID and OOD images are attacked, each against the other's clean scores",
    Side.FOOL: "side fool: the ID images are attacked to be misclassified, the OOD images stay as they are",
    Side.BETWEEN: "side between: paths from ID image to ID image; nothing else is attacked",
}

_USUAL_SHARE = f"{100 * DEFAULT_RECALL:g}"


def heading(table: Table) -> str:
    """The track, its images where another table has others, the OOD sets that the run left out, the attacked side."""
    content = f" (images #{table.content})" if table.content else ""
    reduced = f" without {', '.join(table.without)}" if table.without else ""
    return f"{table.track}{content}{reduced}, {_SIDES[table.side]}"


def caption(table: Table, *, full: bool = False) -> list[str]:
    """What the figures are made of and what they mean, one line each.

    Args:
        table: The table.
        full: For the view with every figure: also at which threshold images count as detected.
    """
    counted = [column.name for column in table.columns if column.counts]
    lines = [_images(table), *_form_lines(table), *_suite_lines(table)]
    if table.side is Side.FOOL:
        return [*lines, *FOOL_CAPTION]
    if table.nearest:
        return [*lines, *nearest_caption(table)]
    if table.attacked:
        lines.append(
            "mean: AUROC clean → attacked [95 % interval over the samples; the ID images are shared by the sets]; "
            "sets: AUROC under attack; at 0 or 1 the interval alone"
        )
    else:
        lines.append("AUROC [95 % interval over the samples]; at 0 or 1 the interval alone")
    starred = " (* does not enter it)" if any(not column.counts for column in table.columns) else ""
    lines.append(f"mean over {', '.join(counted)}{starred}" if counted else "none of these sets enters a mean")
    if table.without:
        lines[-1] += f"; the run left out {', '.join(table.without)}, so this is not the mean of the track"
    lines += _group_lines(table)
    ceiling = "ceiling: mean AUROC that no detector can exceed at this radius; "
    costs = "grads, queries: gradients and scores asked for, on all images together; "
    of_attacks = table.attacked or full
    lines.append(
        f"{ceiling if of_attacks else ''}FPR95: mean share of OOD images accepted where 95 % of ID images are; "
        f"{costs if of_attacks else ''}s: seconds"
    )
    lines += [extra.meaning for extra in extra_columns(table)]
    if table.attacked and (accuracy := accuracy_line(table)):
        lines.append(accuracy)
    return [*lines, _detection(table)] if full else lines


def remarks(table: Table, radii: Mapping[Norm, float] | None = None) -> list[str]:
    """What a reader must not overlook: attacks not to be believed, radii that prove nothing, failures, notes.

    Args:
        table: The table.
        radii: For each norm, the largest radius that is not too large, where it is known.
    """
    doubts = [*doubt_lines(table), *ceiling_lines(table, radii or {}), *_blind_lines(table)]
    return [*doubts, *_status_lines(table), *_note_lines(table)]


def ceiling_lines(table: Table, radii: Mapping[Norm, float]) -> list[str]:
    """One line for each radius at which more than 5 % of the OOD images can be turned into an ID image."""
    worst: dict[tuple[Norm, float], CellMeta] = {}
    for meta in table.metas:
        if meta.norm is not None and meta.eps is not None and reach(meta) > REACHABLE_LIMIT:
            worst.setdefault((meta.norm, meta.eps), meta)
    lines = []
    for (norm, eps), meta in sorted(worst.items()):
        ceiling = meta.mean.ceiling if meta.mean else None
        bound = f", so no detector can exceed an AUROC of {ceiling:.3f} there" if ceiling is not None else ""
        lines.append(
            f"{norm} eps {numbers.radius(eps)} is too large to tell detectors apart: {numbers.percent(reach(meta))} of "
            f"the OOD images can be turned into an ID image within it{bound}; "
            f"{_proposal(norm, table, radii.get(norm))}"
        )
    return lines


def needs_radii(table: Table) -> set[Norm]:
    """The norms in which some radius of the table is too large."""
    return {m.norm for m in table.metas if m.norm is not None and m.eps is not None and reach(m) > REACHABLE_LIMIT}


def reach(meta: CellMeta) -> float:
    """Share of OOD images that can be turned into an ID image: mean over the sets that count, or over all sets."""
    if meta.mean is not None:
        return meta.mean.reachable or 0.0
    return sum(m.reachable or 0.0 for m in meta.sets.values()) / max(1, len(meta.sets))


def _proposal(norm: Norm, table: Table, largest: float | None) -> str:
    """A sweep by halves below the largest radius that leaves the OOD images what they are, where that is known."""
    if largest:
        sweep = ",".join(f"{largest / part:.2g}" for part in (8, 4, 2, 1))
        share = numbers.percent(REACHABLE_LIMIT)
        return f"up to eps {numbers.radius(largest)} at most {share} can: try `--eps {norm}:{sweep}`."
    fine = sorted({m.eps for m in table.metas if m.norm is norm and m.eps is not None and reach(m) <= REACHABLE_LIMIT})
    if fine:
        return f"of the radii shown, {', '.join(numbers.radius(value) for value in fine)} are small enough."
    return "compare it with a smaller radius."


def threshold_source(meta: CellMeta) -> str:
    """Where the thresholds of a cell's detection rates come from, as its card says it: "train per_class".

    A recall other than the usual 95 % is named: "train at 100 %".
    """
    sources = sorted({name.partition("_")[0] for name in meta.thresholds})
    other = [f"at {share} %" for share in _shares(meta) if share != _USUAL_SHARE]
    return " ".join([*sources, *other, *(["per_class"] if any("/" in name for name in meta.thresholds) else [])])


def _shares(meta: CellMeta) -> list[str]:
    """Percentages of clean ID images that the thresholds of a cell accept, as their names hold them: one."""
    return sorted({name.partition("/")[0].partition("_tpr")[2] for name in meta.thresholds})


def _detection(table: Table) -> str:
    by_words: dict[tuple[str, str], list[str]] = {}
    for meta in table.metas:
        source = threshold_source(meta)
        words = f"{source.partition(' ')[0]} images"
        if source.endswith("per_class"):
            words += " predicted to be of the same class"
        users = by_words.setdefault((", ".join(_shares(meta)), words), [])
        users += [meta.detector] if meta.detector not in users else []
    shares = list(dict.fromkeys(share for share, _ in by_words))
    told = []
    for share in shares:
        chosen = {words: users for (other, words), users in by_words.items() if other == share}
        each = [words if len(by_words) == 1 else f"{words} for {', '.join(sorted(chosen[words]))}" for words in chosen]
        told.append(f"{share} % of the clean ID {'; '.join(each)}")
    return f"detected: share of OOD images below the threshold that accepts {'; '.join(told)}"


def _images(table: Table) -> str:
    first = table.metas[0]
    if not first.sets:
        return _attacked_images(table)
    by_count: dict[int, list[str]] = {}
    for column in table.columns:
        holder = next(meta for meta in table.metas if column.name in meta.sets)
        by_count.setdefault(holder.sets[column.name].n_ood, []).append(column.name)
    if len(by_count) == 1:
        ood = f"{next(iter(by_count))} of each OOD set"
    else:
        ood = "; ".join(f"{count} of {', '.join(names)}" for count, names in sorted(by_count.items(), reverse=True))
    n_id = next(iter(first.sets.values())).n_id
    return f"{n_id} ID test images against {ood}; {_choice(table)}"


def _attacked_images(table: Table) -> str:
    """The same where no cell has figures of scores, from those that were attacked."""
    found = {name: own.n for meta in table.metas if meta.nearest for name, own in meta.nearest.sets.items()}
    return f"attacked: {', '.join(f'{count} of {name}' for name, count in found.items())}; {_choice(table)}"


def _choice(table: Table) -> str:
    limit = "no limit" if table.limit is None else f"limit {table.limit}"
    return f"{limit}; seed {', '.join(map(str, sorted({meta.seed for meta in table.metas})))}"


def _form_lines(table: Table) -> list[str]:
    """In which form sets were read whose card accepts several."""
    by_form: dict[str, dict[str, None]] = {}
    for meta in table.metas:
        for name, form in meta.forms.items():
            by_form.setdefault(form, {})[name] = None
    told = [f"{' and '.join(names)} from {form}" for form, names in by_form.items()]
    return [f"read: {'; '.join(told)}"] if told else []


def _group_lines(table: Table) -> list[str]:
    """Over which sets the mean of each group goes."""
    told = []
    for group in table.groups:
        first = next(meta.groups[group] for meta in table.metas if group in meta.groups)
        told.append(f"mean {group} over {', '.join(first.sets)}")
    return ["; ".join(told)] if told else []


def _suite_lines(table: Table) -> list[str]:
    """One line for each choice of attacks that a worst case of the table lacks."""
    lacking: dict[str, None] = {}
    for section in table.sections:
        for row in section.rows:
            meta = row.meta
            if meta.members and (absent := [*meta.left_out, *meta.failed_needs]):
                over = ", ".join(name for name in meta.members if name not in meta.failed_needs)
                lacking[f"{section.threat}: the worst case over {over}, without {', '.join(absent)}"] = None
    return list(lacking)


def _status_lines(table: Table) -> list[str]:
    """One line for each detector and unusual ending of attacks, over all its cells: how often, and what that counts."""
    ended: dict[tuple[str, str], list[CellMeta]] = {}
    for meta in table.metas:
        for status in sorted(status for status, count in meta.statuses.items() if count):
            if status not in QUIET_STATUSES:
                ended.setdefault((meta.detector, status), []).append(meta)
    lines = []
    for (detector, status), metas in ended.items():
        images = sum(meta.statuses[status] for meta in metas)
        total = sum(count for meta in metas for name, count in meta.statuses.items() if name)
        where = sorted({f"{meta.threat}{_radius(meta)}" for meta in metas})
        lines.append(
            f"{detector}: the attack on {images} of {total} images ended as {status} ({', '.join(where)}); "
            f"{'they count' if status == _FAILED else 'where it found nothing, they count'} {_unmoved(metas)}."
        )
    return lines


def _unmoved(metas: Iterable[CellMeta]) -> str:
    """As what an image counts that no attack has moved."""
    ranked = [meta.fool is None and meta.nearest is None for meta in metas]
    return "at their clean scores" if all(ranked) else "as they were" if any(ranked) else "as images that withstood it"


def _blind_lines(table: Table) -> list[str]:
    """One line for each attack that does not see a part of the detector: its figure says little about robustness."""
    told: dict[tuple[str, tuple[str, ...]], str] = {}
    for meta in table.metas:
        if meta.leaves_out:
            told.setdefault((meta.detector, meta.leaves_out), _cell_name(meta))
    return [
        f"{where} is not an adaptive evaluation: the attack does not see the detector's {' and '.join(parts)}."
        for (_, parts), where in told.items()
    ]


def _note_lines(table: Table) -> list[str]:
    told: dict[str, str] = {}
    for meta in table.metas:
        for note in meta.notes:
            told.setdefault(note, _cell_name(meta))
    return [f"{where}: {note}" for note, where in told.items()]


def _cell_name(meta: CellMeta) -> str:
    return f"{meta.detector} under {meta.threat}{_radius(meta)}"


def _radius(meta: CellMeta) -> str:
    return f" eps {numbers.radius(meta.eps)}" if meta.eps is not None else ""
