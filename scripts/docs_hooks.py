"""Hooks of MkDocs: pages generated from the code, and links to files of the repository. Named in mkdocs.yml.

The reference of commands comes from the Typer commands, and the reference of flags from the embedded server's table, so
neither can differ from what the programs take.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import docs_reference

ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

KNOWN_DIFFERENCES = "<!-- generated: known differences -->"
QUICK_BENCHMARKS = "<!-- generated: quick benchmarks -->"
TABLE_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
CODE = re.compile(r"`[^`]+`")
LINK = re.compile(r"\]\((\.\./[^)#]*)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = {"reference/commands.md": docs_reference.commands(), "reference/server-flags.md": docs_reference.flags()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs passes it by name
    """Point links that lead out of docs/ (`../sample_models`) to the repository. A link to nothing fails the build."""
    folder = posixpath.dirname(page.file.src_uri)

    def resolved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        if target.startswith("docs/"):
            return link[0]
        if not (ROOT / target).exists():
            raise SystemExit(f"{page.file.src_uri} links to {target}, which does not exist")
        return f"]({config.repo_url}/blob/main/{target}{link[2] or ''})"

    return LINK.sub(resolved, _with_generated(TABLE_ROW.sub(_without_escapes, markdown)))


def _without_escapes(row: re.Match[str]) -> str:
    """A row of a table without the backslashes that GitHub wants before `|` in code, and Python-Markdown prints."""
    return CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0])


def _with_generated(markdown: str) -> str:
    """Replace the comments that stand for a generated table."""
    if KNOWN_DIFFERENCES in markdown:
        table = docs_reference.known_differences(ROOT / "tests" / "conformance" / "known_differences.py")
        markdown = markdown.replace(KNOWN_DIFFERENCES, table)
    if QUICK_BENCHMARKS in markdown:
        table = docs_reference.quick_benchmarks(ROOT / "docs" / "benchmarks.json")
        markdown = markdown.replace(QUICK_BENCHMARKS, table)
    return markdown
