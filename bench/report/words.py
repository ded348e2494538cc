"""Words of cards, cells and rows as they may be shown: none that a terminal or a page would obey instead."""


def printable(text: str, *, keep: str = "") -> str:
    """The text with a mark in place of every control or invisible character, such as turns of the writing direction.

    Args:
        text: Any text.
        keep: Characters that stay, such as a line's end.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else "\N{REPLACEMENT CHARACTER}" for sign in text)
