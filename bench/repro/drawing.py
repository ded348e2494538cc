"""The picture of an entry: a line a row of its table, over columns in their order, with the intervals."""

from bench.report.html.drawing import Drawing, add_legend, drawing_settings, new_panel, plain, style_of
from bench.repro.entry import Entry
from bench.repro.records import Record


def draw(entry: Entry, record: Record) -> Drawing | None:
    """The picture of an entry that was run; None where it has none, or nothing to show.

    Args:
        entry: With its picture.
        record: What came of it.
    """
    picture, figures = entry.picture, record.lookup()
    if picture is None:
        return None
    rows = [row for row in entry.rows if not picture.rows or row.name in picture.rows]
    titles = {column.name: column.shown for column in entry.columns}
    with drawing_settings():
        figure, axes = new_panel(plain(entry.title), x="", y=plain(picture.y))
        handles, labels = [], []
        for number, row in enumerate(rows):
            points = [(x, found) for x, name in enumerate(picture.columns) if (found := figures.get((row.name, name)))]
            if not points:
                continue
            at, values = [x for x, _ in points], [one.value for _, one in points]
            style = style_of(number)
            handles += axes.plot(at, values, **style)
            low, high = [one.low for _, one in points], [one.high for _, one in points]
            axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)
            labels.append(plain(row.shown, 40))
        if not handles:
            return None
        axes.set_xticks(range(len(picture.columns)), [plain(titles[name], 24) for name in picture.columns])
        add_legend(figure, handles, labels)
    caption = f"{', '.join(entry.items)}: {picture.y}; bands: 95 % intervals."
    return Drawing(f"repro-{entry.name}", entry.title, caption, figure)
