# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted(REPOSITORY.glob("bundle/*/docs/README.md")),
]


def test_python_example_runs() -> None:
    torch.manual_seed(0)
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["probability"].shape == names["uncertainty"].shape == (1, 1, 128, 128)
    assert names["members"].shape == (1, 5, 1, 128, 128)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_linked_and_named_files_exist(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    configs = re.findall(r"configs/\w+\.json", text)
    root = document.parent.parent if document.parent.name == "docs" else document.parent
    bundle = root if (root / "configs").is_dir() else REPOSITORY / "bundle" / "thyroid_ultrasound_medsegdiff"
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [config for config in configs if not (bundle / config).is_file()]
    assert missing == []


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = {t for d in DOCUMENTS for t in re.findall(r"(?:`|^)make ([a-z-]+)", d.read_text(), re.MULTILINE)}
    assert {"install", "demo", "test"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []
