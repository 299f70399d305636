# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from medsegdiff_monai.apps.dicom import BundleCodes, ImageKind, read_codes
from medsegdiff_monai.utils import InputError

REGIONS: dict[str, dict[str, list[int]]] = {
    "thyroid_ultrasound_medsegdiff": {"nodule": [1, 255]},
    "fundus_optic_medsegdiff": {"disc": [1, 2], "cup": [2]},
    "brats_mri_medsegdiff": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
}
# FMA is a scheme of PS3.16, of which pydicom holds a few codes only; 77664 is its optic cup (excavatio disci).
BEYOND_THE_DICTIONARY = {("FMA", "77664", "Optic cup")}


def in_dictionary(scheme: str, value: str) -> set[str]:
    """Meanings that pydicom's dictionary of PS3.16 gives a code."""
    return {code[value][0].lower() for code in concepts.get(scheme, {}).values() if value in code}


def codes_in(entry: Any) -> list[tuple[str, str, str]]:
    """All codes of a configuration: lists of value, scheme and meaning."""
    if isinstance(entry, list) and len(entry) == 3 and all(isinstance(v, str) for v in entry):
        return [(entry[1], entry[0], entry[2])]
    coded = {k: v for k, v in entry.items() if k != "measures"} if isinstance(entry, dict) else {}
    return [code for child in coded.values() for code in codes_in(child)]


@pytest.mark.parametrize("name", REGIONS)
def test_codes_are_those_of_the_standard(bundles: Path, name: str) -> None:
    content = json.loads((bundles / name / "configs" / "dicom.json").read_text(encoding="utf-8"))
    found = codes_in(content)
    assert len(found) >= 4
    for scheme, value, meaning in found:
        if (scheme, value, meaning) not in BEYOND_THE_DICTIONARY:
            assert meaning.lower() in in_dictionary(scheme, value), (scheme, value, meaning)


@pytest.mark.parametrize("name", REGIONS)
def test_every_region_has_a_segment_with_its_label_values(bundles: Path, name: str) -> None:
    codes = read_codes(bundles / name, REGIONS[name])
    assert [(r.name, list(r.values)) for r in codes.regions] == list(REGIONS[name].items())
    assert {r.name for r in codes.regions} <= {s.name for s in codes.segments}
    assert all(len(s.label) <= 64 for s in codes.segments)
    metadata = json.loads((bundles / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert codes.algorithm.version == metadata["version"]


def test_the_parts_of_a_tumour_make_up_its_regions(bundles: Path) -> None:
    codes: BundleCodes = read_codes(bundles / "brats_mri_medsegdiff", REGIONS["brats_mri_medsegdiff"])
    values = {s.name: set(s.values) for s in codes.segments}
    assert values["TC"] == values["NCR"] | values["ET"]
    assert values["WT"] == values["TC"] | values["ED"]
    assert not values["NCR"] & values["ED"]
    assert codes.kind is ImageKind.VOLUME


@pytest.fixture
def broken(bundles: Path, tmp_path: Path) -> Path:
    """A bundle of which each test spoils the file of codes."""
    (tmp_path / "configs").mkdir()
    for name in ("dicom.json", "metadata.json"):
        shutil.copy(bundles / "thyroid_ultrasound_medsegdiff" / "configs" / name, tmp_path / "configs" / name)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda c: c.pop("kind"), "lacks the entry 'kind'"),
        (lambda c: c.update(kind="animation"), "cannot be understood"),
        (lambda c: c["segments"].pop("nodule"), "the regions nodule have no segment"),
        (lambda c: c["segments"]["nodule"].update(type=["1", "SCT"]), "cannot be understood"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(broken: Path, change: Any, fragment: str) -> None:
    path = broken / "configs" / "dicom.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=fragment):
        read_codes(broken, REGIONS["thyroid_ultrasound_medsegdiff"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*dicom\.json"):
        read_codes(tmp_path, {"nodule": [1]})
