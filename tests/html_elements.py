"""What a page holds, for tests of pages."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Every element with its attributes, and all text, that of scripts and styles too."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]
