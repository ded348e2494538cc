"""What a source passed over or changed, counted and named, one sentence a reason."""

SHOWN = 5
"""How many names a sentence lists."""

NAME_LENGTH = 80


class Tally:
    """Names by what happened to them; the order in which they come does not matter.

    Reasons are written to follow a count of files: "links", "are hidden", ...
    """

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """One more file, by its path below the source's folder."""
        self._names.setdefault(reason, []).append(name)

    def __len__(self) -> int:
        return sum(len(names) for names in self._names.values())

    def sentences(self, what: str) -> tuple[str, ...]:
        """One sentence a reason: "2 files passed over, not images by their suffix: a.txt, b.txt." and the like.

        Args:
            what: What happened to the files, e.g. "passed over".
        """
        return tuple(
            f"{len(names):,} {'file' if len(names) == 1 else 'files'} {what}, {reason}: {named(names)}."
            for reason, names in sorted(self._names.items())
        )


def named(names: list[str]) -> str:
    """The first names in their order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(shown, ordered[:SHOWN])) + more


def shown(name: str) -> str:
    """A file's name as it may be printed: no control characters, no lone surrogates, not too long."""
    clean = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in name)
    return clean if len(clean) <= NAME_LENGTH else f"{clean[: NAME_LENGTH - 3]}..."
