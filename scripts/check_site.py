"""Fail if a page of the built site loads anything from another server: check_site.py FOLDER."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

LOADING = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
NOT_LOADED = {"canonical", "prev", "next", "edit", "alternate"}  # values of rel that only name a page


class Resources(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address that an element loads."""
        values = dict(attrs)
        address = values.get(LOADING.get(tag, ""))
        if address and not (tag == "link" and values.get("rel") in NOT_LOADED):
            self.addresses.append(address)


def foreign(page: Path) -> list[str]:
    """The addresses on other servers that the page loads."""
    resources = Resources()
    resources.feed(page.read_text(encoding="utf-8"))
    return [address for address in resources.addresses if address.startswith(("http:", "https:", "//"))]


def main() -> None:
    """Check every page, and every style sheet for imports and fonts."""
    folder = Path(sys.argv[1])
    found = {page: foreign(page) for page in sorted(folder.rglob("*.html"))}
    for sheet in sorted(folder.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        found[sheet] = [part for part in ("url(http", "url(//", "@import") if part in text]
    lines = [
        f"{page.relative_to(folder)} loads {address}" for page, addresses in found.items() for address in addresses
    ]
    if not found or lines:
        raise SystemExit("\n".join(lines) or f"error: {folder} has no pages")
    print(f"{len(found)} files load nothing from other servers")


if __name__ == "__main__":
    main()
