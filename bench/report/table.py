"""From cells to tables: which cells stand together, in which order, under which names.

Pure functions of the cells' metadata; how a table looks is known to `text`, `markdown`, `latex` and `records`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from bench.cards.base import content_hash
from bench.cards.threat import Norm, Side
from bench.evaluation.results import CellMeta
from bench.report.conditions import parts_of


@dataclass(frozen=True)
class SetColumn:
    """One OOD set, and whether it enters the mean."""

    name: str
    counts: bool

    @property
    def title(self) -> str:
        """The name, with a star where the set does not enter the mean."""
        return self.name if self.counts else f"{self.name}*"


@dataclass(frozen=True)
class Row:
    """One cell under the name that tells it from its neighbours.

    Attributes:
        label: The name.
        meta: The cell.
        failed: Soundness checks that say FAIL: its figure cannot be believed, and it is not ranked.
    """

    label: str
    meta: CellMeta
    failed: tuple[str, ...] = ()

    @property
    def doubted(self) -> bool:
        """Whether its figure cannot be believed: a check or the ceiling says so, or a part of the attack failed."""
        return bool(self.failed) or is_doubted(self.meta)


@dataclass(frozen=True)
class Section:
    """The cells of one threat at one radius, best attacked mean first, those that cannot be believed after all others.

    Worst cases over different attacks are different threats: "auto-l2 (6 of 7)" stands apart from "auto-l2".
    """

    threat: str
    norm: Norm | None
    eps: float | None
    attacked: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """The cells of one track that can be compared: one attacked side, one choice of images.

    Attributes:
        track: The track's name.
        side: The attacked side; None where no cell is an attack.
        limit: The most images that were taken of a set; None where all were.
        columns: The OOD sets, those that enter the mean first.
        sections: Unattacked cells first, then by norm, threat and radius.
        without: OOD sets of the track that the run left out: the mean is not that of the track.
        groups: Groups of OOD sets that have a mean of their own.
        content: What tells its images from those of another table of the same track; "" where there is none.
    """

    track: str
    side: Side | None
    limit: int | None
    columns: tuple[SetColumn, ...]
    sections: tuple[Section, ...]
    without: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    content: str = ""

    @property
    def attacked(self) -> bool:
        """Whether any cell is an attack."""
        return any(section.attacked for section in self.sections)

    @property
    def nearest(self) -> bool:
        """Whether its attacks look for the nearest image across a threshold, and so have radii and no AUROC."""
        return any(meta.nearest is not None for meta in self.metas)

    @property
    def metas(self) -> list[CellMeta]:
        """Every cell of the table, in the order of its rows."""
        return [row.meta for section in self.sections for row in section.rows]


@dataclass(frozen=True)
class Choice:
    """Which cells to show; an empty choice shows all."""

    tracks: Sequence[str] = field(default=())
    detectors: Sequence[str] = field(default=())
    threats: Sequence[str] = field(default=())

    def __call__(self, meta: CellMeta) -> bool:
        """Whether the cell is to be shown; the unattacked cells of a chosen detector always are."""
        return (
            (not self.tracks or meta.track in self.tracks)
            and (not self.detectors or meta.detector in self.detectors)
            and (not self.threats or meta.threat in self.threats or not is_attack(meta))
        )


def is_attack(meta: CellMeta) -> bool:
    """Whether anything was spent on the cell: a clean cell has no radius, no gradients and no queries."""
    return meta.eps is not None or meta.gradients > 0 or meta.queries > 0


Failed = Mapping[str, tuple[str, ...]]
"""Key of a cell -> the soundness checks that say FAIL of it."""


def above_ceiling(meta: CellMeta) -> bool:
    """Whether the whole interval of the attacked mean lies above the ceiling: copying ID images would attack better."""
    mean = meta.mean
    return is_attack(meta) and mean is not None and mean.ceiling is not None and mean.low > mean.ceiling


def is_doubted(meta: CellMeta, failed: Failed = MappingProxyType({})) -> bool:
    """Whether a cell's figure cannot be believed.

    Args:
        meta: The cell.
        failed: Which cells failed which soundness checks.
    """
    return meta.key in failed or bool(meta.failed_needs) or above_ceiling(meta)


def build_tables(metas: Iterable[CellMeta], failed: Failed = MappingProxyType({})) -> tuple[Table, ...]:
    """The tables of these cells, one a track, content of its images, choice of OOD sets, side and limit.

    Attacks that look for the nearest image across a threshold have a table of their own. Clean cells stand
    in each that they belong to.

    Args:
        metas: The cells.
        failed: Which of them failed which soundness checks.
    """
    unique = list({meta.key: meta for meta in metas}.values())
    places: dict[tuple[str, tuple[str, ...], str, str, str], list[CellMeta]] = {}
    for meta in unique:
        place = (meta.track, meta.without, str(meta.limit), meta.track_hash, _content(meta))
        places.setdefault(place, []).append(meta)
    tables = []
    for place, together in sorted(places.items(), key=lambda item: item[0]):
        alike = [other for other in places if other[:4] == place[:4]]
        content = place[4][:6] if len(alike) > 1 else ""
        clean = [meta for meta in together if not is_attack(meta)]
        sides = [side for side in Side if any(is_attack(meta) and meta.side is side for meta in together)]
        if not sides:
            tables.append(_table(clean, None, failed, content))
        for side in sides:
            attacks = [meta for meta in together if is_attack(meta) and meta.side is side]
            nearest = [meta for meta in attacks if meta.nearest is not None]
            others = [meta for meta in attacks if meta.nearest is None]
            tables += [_table([*clean, *chosen], side, failed, content) for chosen in (others, nearest) if chosen]
    return tuple(tables)


def mean_auroc(meta: CellMeta) -> float:
    """What rows are ranked by: the attacked AUROC, mean over the sets that count (over all sets where none does).

    An attack that looks for the nearest image has none; there it is the median radius.
    """
    if meta.nearest is not None:
        radius = (meta.nearest.mean or next(iter(meta.nearest.sets.values()))).median_radius
        return math.inf if radius is None else radius
    if meta.mean is not None:
        return meta.mean.auroc
    return sum(m.auroc for m in meta.sets.values()) / max(1, len(meta.sets))


def _content(meta: CellMeta) -> str:
    """What tells the images of a cell from others; some detectors use training images too, which figures are not of."""
    return content_hash({name: digest for name, digest in meta.set_digests.items() if name != "train"})


def _table(metas: list[CellMeta], side: Side | None, failed: Failed, content: str) -> Table:
    first = metas[0]
    found: dict[str, bool] = {}
    for meta in metas:
        for name, metrics in meta.sets.items():
            found.setdefault(name, metrics.counts)
    columns = sorted((SetColumn(name, counts) for name, counts in found.items()), key=lambda c: not c.counts)
    groups = tuple(dict.fromkeys(group for meta in metas for group in meta.groups))
    return Table(
        first.track, side, first.limit, tuple(columns), _sections(metas, failed), first.without, groups, content
    )


def _sections(metas: list[CellMeta], failed: Failed) -> tuple[Section, ...]:
    by_attack: dict[tuple[bool, str, str, str, float], list[CellMeta]] = {}
    for meta in metas:
        attack = (True, str(meta.norm or ""), meta.threat, _settings_of(meta), meta.eps or 0.0)
        by_attack.setdefault(attack if is_attack(meta) else (False, "", "", "", 0.0), []).append(meta)
    names = _threat_names(metas)
    sections = []
    for attack in sorted(by_attack, key=lambda a: tuple(map(_sortable, a))):
        cells = by_attack[attack] if attack[0] else _once_a_detector(by_attack[attack])
        first = cells[0]
        name = names[first.threat, _settings_of(first)]
        sections.append(Section(name, first.norm, first.eps, is_attack(first), _rows(cells, failed)))
    return tuple(sections)


def _sortable(part: object) -> tuple[float, str]:
    return (float(part), "") if isinstance(part, int | float) else (0.0, str(part))


def _settings_of(meta: CellMeta) -> str:
    return content_hash([meta.threat_hash, meta.threat_params, *_absent(meta)])


def _absent(meta: CellMeta) -> tuple[list[str], ...]:
    """What is missing of a worst case; the images of a transfer attack come from whom there is."""
    return (sorted(meta.left_out), sorted(meta.failed_needs)) if meta.members else ()


def _threat_names(metas: list[CellMeta]) -> dict[tuple[str, str], str]:
    """Threats by name; where one was run with several settings, what differs stands beside it."""
    variants: dict[str, dict[str, CellMeta]] = {}
    for meta in metas:
        variants.setdefault(meta.threat, {}).setdefault(_settings_of(meta), meta)
    names = {}
    for threat, by_settings in variants.items():
        params = [meta.threat_params for meta in by_settings.values()]
        keys = sorted({key for p in params for key in p})
        differing = [key for key in keys if len({repr(p.get(key)) for p in params}) > 1]
        taken: dict[str, int] = {}
        for settings, meta in by_settings.items():
            words = ", ".join(f"{key.replace('_', ' ')} {meta.threat_params.get(key)}" for key in differing)
            name = " ".join(filter(None, (threat, f"({words})" if words else "", parts_of(meta))))
            taken[name] = taken.get(name, 0) + 1
            names[threat, settings] = name if taken[name] == 1 else f"{name} #{meta.threat_hash[:6]}"
    return names


def _once_a_detector(clean: list[CellMeta]) -> list[CellMeta]:
    """Clean scores depend on no seed and no side: one cell for each state of a detector."""
    return list({(m.detector, m.detector_hash, m.weights_sha256): m for m in clean}.values())


def _rows(metas: list[CellMeta], failed: Failed) -> tuple[Row, ...]:
    def place(meta: CellMeta) -> tuple[bool, float, str, int, str]:
        return is_doubted(meta, failed), -mean_auroc(meta), meta.detector, meta.seed, meta.key

    ranked = sorted(metas, key=place)
    return tuple(
        Row(_label(meta, [m for m in metas if m.detector == meta.detector]), meta, failed.get(meta.key, ()))
        for meta in ranked
    )


def _label(meta: CellMeta, namesakes: list[CellMeta]) -> str:
    """The detector's name, and of seed, early stop, budget and key what is needed to tell it from its namesakes."""
    words = []
    if len({m.seed for m in namesakes}) > 1:
        words.append(f"seed {meta.seed}")
    if len({m.early_stop for m in namesakes}) > 1 and not meta.early_stop:
        words.append("no early stop")
    if len({m.evidence is None for m in namesakes}) > 1 and meta.evidence is None:
        words.append("full budget")
    if len({m.nested for m in namesakes}) > 1 and meta.nested:
        words.append("nested")
    if len({m.search for m in namesakes}) > 1 and meta.search:
        words.append(f"search {meta.search}")
    alike = [m for m in namesakes if _manner(m) == _manner(meta)]
    if len(alike) > 1:
        words.append(f"#{meta.key[:6]}")
    return " ".join([meta.detector, *words])


def _manner(meta: CellMeta) -> tuple[int, bool, bool, bool, str]:
    return meta.seed, meta.early_stop, meta.evidence is None, meta.nested, meta.search
