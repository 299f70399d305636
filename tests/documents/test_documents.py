# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import json
import pkgutil
import re
from pathlib import Path

import pytest
import torch
from documents.collected import DOCUMENTS, REPOSITORY, Block, blocks

import medsegdiff_monai

PYTHON = [block for document in DOCUMENTS for block in blocks(document) if block.language == "python"]


def test_python_example_of_the_readme_runs() -> None:
    torch.manual_seed(0)
    (code,) = [block.text for block in PYTHON if block.document == "README.md"]
    names: dict = {}
    exec(code, names)
    assert names["probability"].shape == names["uncertainty"].shape == (1, 1, 128, 128)
    assert names["members"].shape == (1, 5, 1, 128, 128)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.document}: {block.heading}")
def test_python_examples_import_what_exists(block: Block) -> None:
    imports = [n for n in ast.parse(block.text).body if isinstance(n, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), block.document, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_linked_and_named_files_exist(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith(("http", "../../actions/"))]
    configs = re.findall(r"configs/\w+\.json", re.sub(r"\]\(.*?\)", "", text))
    root = document.parent.parent if document.parent.name == "docs" else document.parent
    bundle = root if (root / "configs").is_dir() else REPOSITORY / "bundle" / "thyroid_ultrasound_medsegdiff"
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [config for config in configs if not (bundle / config).is_file()]
    assert missing == []


_PATH = re.compile(r"`((?:medsegdiff_monai|tests|benchmarks|tools|examples|label|bundle)/[\w/.-]+)`")
_NAME = re.compile(r"`(medsegdiff_monai(?:\.\w+)+)[`(]")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_named_places_in_the_repository_and_in_the_package_exist(document: Path) -> None:
    text = document.read_text()
    assert [path for path in _PATH.findall(text) if not (REPOSITORY / path).exists()] == []
    for name in _NAME.findall(text):
        pkgutil.resolve_name(name)


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = {t for d in DOCUMENTS for t in re.findall(r"(?:`|^)make ([a-z-]+)", d.read_text(), re.MULTILINE)}
    assert {"install", "test", "docs", "stats", "bundles"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


def test_version_is_stated_alike() -> None:
    version = medsegdiff_monai.__version__
    assert re.search(rf"^version: {re.escape(version)}$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"^## {re.escape(version)}\b", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_dice_of_the_bundles_is_that_of_their_readmes() -> None:
    rows = re.findall(
        r"^\| \[[^]]+\]\((bundle/\S+?)\) \| (.+?) \|", (REPOSITORY / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len(list(REPOSITORY.glob("bundle/*/configs/metadata.json")))
    for link, dice in rows:
        text = (REPOSITORY / link).read_text()
        for number in re.findall(r"0\.\d+", dice):
            assert any(f"{float(n):.3f}" == number for n in re.findall(r"0\.\d{4}", text)), (link, number)


def test_issue_templates_and_citation_are_there() -> None:
    assert len(list((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.md"))) >= 2
    assert ".ci/run" in (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    assert json.dumps("MedSegDiff: Medical Image Segmentation")[1:-1] in (REPOSITORY / "CITATION.cff").read_text()
