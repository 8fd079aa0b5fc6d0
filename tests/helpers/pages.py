"""Pages as browsers read them."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags, text and sources of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.sources = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data
