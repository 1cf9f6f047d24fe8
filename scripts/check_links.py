"""Does every link within a built site lead somewhere, and does it open without a server?

    python scripts/check_links.py build/docs

Reads the HTML alone and asks no server: links to other sites are listed, not tried. Ends with 1 if
a link or picture leads nowhere, or if a page loads anything from another site.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "src")}


class Page(HTMLParser):
    """Anchors of a page, its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to, and where it can be referred to."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif (tag, name) in LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def check(site: Path) -> tuple[list[str], set[str]]:
    """What is wrong with the site, a line each, and the addresses elsewhere that it names."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    wrong, elsewhere = [], set()
    for path, page in pages.items():
        for address in [*page.loaded, *page.links]:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                elsewhere.add(address)
                if address in page.loaded:
                    wrong.append(f"{path.name} loads {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.is_file():
                wrong.append(f"{path.name}: no file {address}")
            elif fragment and target in pages and fragment not in pages[target].anchors:
                wrong.append(f"{path.name}: no place {address}")
    if not pages:
        wrong.append(f"no page in {site}")
    return wrong, elsewhere


def main(site: str) -> int:
    """Print what is wrong."""
    wrong, elsewhere = check(Path(site))
    print("\n".join([*wrong, *(f"elsewhere, not tried: {each}" for each in sorted(elsewhere))]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
