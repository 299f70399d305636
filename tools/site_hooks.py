# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Hooks of MkDocs for ``make docs``: pages from outside ``docs/``, the API reference, links and formulas.

README, changelog, contributing guide and the bundles' READMEs become pages of the site, and each package a page of the
API reference. Links between them are kept; links to other files of the repository become their names. Formulas become
MathML, so that no page fetches a program.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "medsegdiff_monai"
# Pages of the site whose source is elsewhere in the repository.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    **{
        f"bundle/{path.name}/docs/README.md": f"bundles/{path.name}.md"
        for path in sorted((REPOSITORY / "bundle").iterdir())
        if (path / "docs" / "README.md").is_file()
    },
}
_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_BADGES = re.compile(r"\A(# .*\n)\n(?:\[?!\[.*\n)+")
_MATH = re.compile(r"(?<!\$)\$([^$\n]+)\$(?!\$)")
_FENCE = re.compile(r"(^ *```.*?^ *```\s*$)", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`[^`\n]*`)")


def _reference_pages() -> dict[str, str]:
    """Pages of the API reference with their Markdown: one for each package, and one for each application."""
    packages = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    pages = {
        f"reference/{folder.name}.md": f"# {folder.name}\n\n::: medsegdiff_monai.{folder.name}\n" for folder in packages
    }
    rows = "\n".join(f"- [medsegdiff_monai.{folder.name}]({folder.name}.md)" for folder in packages)
    pages["reference/index.md"] = f"# API reference\n\nA class is where MONAI keeps its like.\n\n{rows}\n"
    return pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API reference into the navigation."""
    (section,) = (entry for entry in config.nav or [] if "API reference" in entry)
    section["API reference"] = sorted(_reference_pages(), key=lambda page: (page != "reference/index.md", page))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside ``docs/``, their pictures and the API reference."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    for page, text in _reference_pages().items():
        files.append(File.generated(config, page, content=text))
    for picture in sorted(REPOSITORY.glob("bundle/*/docs/*.png")):
        name = f"bundles/{picture.parents[1].name}_{picture.name}"
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def _site_path(path: Path) -> str | None:
    """Place in the site of a file of the repository; None where the site does not have it."""
    name = path.relative_to(REPOSITORY).as_posix()
    if name in PAGES:
        return PAGES[name]
    if path.suffix == ".png" and path.parent.parent.parent == REPOSITORY / "bundle":
        return f"bundles/{path.parents[1].name}_{path.name}"
    return name.removeprefix("docs/") if name.startswith("docs/") and path.is_file() else None


def _moved_link(match: re.Match[str], source: Path, page: str) -> str:
    mark, title, target = match.groups()
    if urlsplit(target).scheme or target.startswith("#"):
        return match.group()
    path, _, anchor = target.partition("#")
    file = Path(os.path.normpath(source.parent / path))
    if REPOSITORY not in file.parents or not file.exists():
        raise PluginError(f"{source.relative_to(REPOSITORY)} links to {target}, which is not there.")
    place = _site_path(file)
    if place is None:
        return title
    link = os.path.relpath(place, os.path.dirname(page) or ".").replace(os.sep, "/")
    return f"{mark}[{title}]({link}{'#' + anchor if anchor else ''})"


def _formulas(text: str) -> str:
    parts = _CODE.split(text)
    parts[::2] = [_MATH.sub(lambda m: convert(m.group(1)), part) for part in parts[::2]]
    return "".join(parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Move links to where the site has their targets, leave the badges out, and write formulas as MathML."""
    place = page.file.src_uri
    source = REPOSITORY / _SOURCES.get(place, f"docs/{place}")
    if not source.is_file():
        return markdown  # of the API reference
    text = _BADGES.sub(r"\1", markdown)
    parts = _FENCE.split(text)
    parts[::2] = [_formulas(_LINK.sub(lambda m: _moved_link(m, source, place), part)) for part in parts[::2]]
    return "".join(parts)
