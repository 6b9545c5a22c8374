"""Pages read as a browser reads them: is every element closed, could anything run or be fetched."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}
KNOWN = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "figure"),
    *("figcaption", "svg", "g", "path", "text", "table"),
    *("thead", "tbody", "tr", "th", "td", "h1", "h2", "h3", "p", "b", "i", "strong", "small", "br"),
    *("span", "div", "ul", "li", "code", "details", "summary"),
}


class Page(HTMLParser):
    """Reads a page; `tables` are lists of rows of cells' texts, `text` is all that is shown."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    @property
    def text(self):
        return " ".join(self.texts)

    def handle_starttag(self, tag, attributes):
        assert tag in KNOWN, tag
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data.strip())
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += f" {data}"

    def rows(self, first):
        """The rows of the first table whose second column is called so, label -> other cells."""
        table = next(table for table in self.tables if table[0][1].strip() == first)
        return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in table[1:]}


def assert_harmless(page):
    """Asserts that nothing can run or be fetched, whatever the page's policy says."""
    names = {name for _, name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href", "xlink:href", "action", "srcdoc"}
    policy = next(value for _, name, value in page.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'") and "script" not in policy
