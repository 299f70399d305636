# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from highdicom.color import CIELabColor
from highdicom.sr.coding import CodedConcept

from medsegdiff_monai.utils import InputError

__all__ = ["AlgorithmCodes", "BundleCodes", "ImageKind", "Measure", "RatioCodes", "SegmentCodes", "read_codes"]


class ImageKind(StrEnum):
    """Kind of image that a bundle segments: a volume of several contrasts, or pictures one by one."""

    VOLUME = "volume"
    GREY = "grey picture"
    RGB = "RGB picture"


class Measure(StrEnum):
    """Quantity that the structured report states of a segment."""

    VOLUME = "volume"
    AREA = "area"
    DIAMETERS = "diameters"
    VERTICAL_EXTENT = "vertical extent"


@dataclass(frozen=True)
class SegmentCodes:
    """A segment: the label values that it is made of, its name and its codes."""

    name: str  # of the region, or any other for a part of the label map
    label: str  # segment label (PS3.3 C.8.20.4), at most 64 characters
    values: tuple[int, ...]  # of the label map, which make the segment up
    category: CodedConcept  # segmented property category (PS3.16 CID 7150)
    property_type: CodedConcept  # segmented property type (CID 7151 and those it includes)
    anatomy: CodedConcept
    colour: CIELabColor


@dataclass(frozen=True)
class RatioCodes:
    """The ratio of the vertical extent of the segment ``of`` to that of the segment ``to``."""

    of: str
    to: str
    label: str  # at most 64 characters: says what it is where the standard has no code as specific
    code: CodedConcept


@dataclass(frozen=True)
class AlgorithmCodes:
    """Name, version and family for the algorithm identification of every object."""

    name: str
    version: str
    family: CodedConcept


@dataclass(frozen=True)
class BundleCodes:
    """Names and codes of a bundle's input and output in DICOM."""

    kind: ImageKind
    modalities: tuple[str, ...]  # values of Modality (0008,0060) that it takes
    body_part: str  # Body Part Examined (0018,0015) of what is written
    contrasts: tuple[str, ...]  # in the order of the network's channels; empty for pictures
    algorithm: AlgorithmCodes
    segments: tuple[SegmentCodes, ...]  # in the order of their numbers in the binary segmentation
    regions: tuple[SegmentCodes, ...]  # that the network gives a probability for, in the order of its channels
    measures: tuple[Measure, ...]  # of each segment in the report
    ratio: RatioCodes | None


def read_codes(
    bundle: str | os.PathLike[str], regions: Mapping[str, Sequence[int]], contrasts: Sequence[str] = ()
) -> BundleCodes:
    """Read a bundle's ``configs/dicom.json``, for its regions with their label values and the contrasts of its network.

    Raises:
        InputError: when the file is missing, is no JSON, or lacks or misstates an entry.
    """
    path = Path(bundle) / "configs" / "dicom.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        metadata = json.loads((path.parent / "metadata.json").read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"Cannot read {e.filename} ({e.strerror}): give a bundle that has it.") from e
    except ValueError as e:
        raise InputError(f"The file {path} or its metadata.json is not valid JSON: write it again.") from e
    try:
        algorithm, ratio = content["algorithm"], content.get("ratio")
        segments = {name: _segment(name, entry, regions) for name, entry in content["segments"].items()}
        if missing := [name for name in regions if name not in segments]:
            raise ValueError(f"the regions {', '.join(missing)} have no segment")
        return BundleCodes(
            kind=ImageKind(content["kind"]),
            modalities=tuple(content["modalities"]),
            body_part=content["body_part"],
            contrasts=tuple(contrasts),
            algorithm=AlgorithmCodes(algorithm["name"], str(metadata["version"]), _code(algorithm["family"])),
            segments=tuple(segments.values()),
            regions=tuple(segments[name] for name in regions),
            measures=tuple(Measure(m) for m in content["measures"]),
            ratio=None if ratio is None else RatioCodes(ratio["of"], ratio["to"], ratio["label"], _code(ratio["code"])),
        )
    except KeyError as e:
        raise InputError(f"The file {path} lacks the entry {e}: add it.") from e
    except (TypeError, ValueError) as e:
        raise InputError(f"The file {path} cannot be understood ({e}): mend it.") from e


def _segment(name: str, entry: Mapping[str, Any], regions: Mapping[str, Sequence[int]]) -> SegmentCodes:
    values = regions[name] if name in regions else entry["values"]
    return SegmentCodes(
        name=name,
        label=entry["label"],
        values=tuple(int(v) for v in values),
        category=_code(entry["category"]),
        property_type=_code(entry["type"]),
        anatomy=_code(entry["anatomy"]),
        colour=CIELabColor.from_rgb(*entry["colour"]),
    )


def _code(entry: Sequence[str]) -> CodedConcept:
    value, scheme, meaning = entry
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
