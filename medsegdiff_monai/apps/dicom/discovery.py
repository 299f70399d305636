# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from tqdm import tqdm

from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind
from medsegdiff_monai.apps.dicom.headers import number, text, uid_suffix, words
from medsegdiff_monai.apps.dicom.privacy import Privacy
from medsegdiff_monai.utils import InputError

__all__ = ["DicomCase", "Instance", "LeftOut", "Series", "find_dicom_cases", "image_classes", "read_headers"]

_SC = "1.2.840.10008.5.1.4.1.1.7"
_VOLUME_CLASSES = {  # classic, Enhanced, and Legacy Converted Enhanced MR (PS3.4 B.5)
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
}
_PICTURE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound, multi-frame
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # photograph
    "1.2.840.10008.5.1.4.1.1.77.1.5.1",  # ophthalmic photograph, 8 bits
    "1.2.840.10008.5.1.4.1.1.77.1.5.2",  # ophthalmic photograph, 16 bits
    _SC,
    f"{_SC}.2",  # multi-frame grey byte
    f"{_SC}.4",  # multi-frame true colour
}
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_LOCALIZERS = {"LOCALIZER", "SCOUT", "SURVEY"}
_BAR_FROM = 200  # files: about the number that takes longer than a few seconds to read


@dataclass(frozen=True)
class LeftOut:
    """A file, series or study that gives no result, and why, in one sentence without patient data."""

    what: str
    reason: str


@dataclass(frozen=True)
class Instance:
    """A DICOM object: its file and its header without pixels."""

    path: Path
    header: Dataset


@dataclass
class Series:
    """The images of one series.

    Attributes:
        instances: its images.
        place: where it lies in the user's folders, for messages: without patient data.
    """

    instances: list[Instance] = field(default_factory=list)
    place: str = ""

    @property
    def header(self) -> Dataset:
        """Header of its first image."""
        return self.instances[0].header

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return text(self.header, "SeriesInstanceUID")

    @property
    def title(self) -> str:
        """Its number and size, for messages."""
        images = f"{len(self.instances)} images" if len(self.instances) > 1 else "1 object"
        stated = number(self.header, "SeriesNumber")
        return f"series {uid_suffix(self.uid) if stated is None else f'{stated:g}'} ({images})"


@dataclass
class DicomCase:
    """What is segmented as one: the series of a study for a volume, an image object for pictures."""

    series: list[Series]

    @property
    def header(self) -> Dataset:
        """Header of its first image."""
        return self.series[0].header

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return text(self.header, "StudyInstanceUID")


def read_headers(folders: Sequence[str | os.PathLike[str]], privacy: Privacy) -> tuple[list[Instance], list[LeftOut]]:
    """Read the headers of all files in folders and the folders below; what is no DICOM image is left out.

    Args:
        folders: folders, or single files.
        privacy: learns who the headers are about.

    Returns:
        The objects, each SOP Instance UID once, and the files that are left out.

    Raises:
        InputError: when a folder does not exist or none holds a file.
    """
    files = [file for folder in folders for file in _files(Path(folder))]
    if not files:
        raise InputError(f"There is no file in {', '.join(map(str, folders))}: give folders that hold DICOM objects.")
    found: dict[str, Instance] = {}
    problems: list[tuple[Path, str]] = []
    for file in tqdm(files, desc="Reading headers", unit="file", leave=False, disable=len(files) < _BAR_FROM):
        header, problem = _read(file)
        if header is None:
            problems.append((file, problem))
            continue
        privacy.learn(header)
        uid = text(header, "SOPInstanceUID")
        if uid in found:
            problems.append((file, "is a copy of another file (same SOP Instance UID)"))
        else:
            found[uid] = Instance(file, header)
    left_out = [LeftOut(privacy.shown(file), f"{problem}.") for file, problem in problems]
    return list(found.values()), left_out


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist: give a folder with DICOM objects.")
    yield from sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "DICOMDIR" and p.name[0] != ".")


def _read(file: Path) -> tuple[Dataset | None, str]:
    """A file's header, or why there is none."""
    try:
        with file.open("rb") as f:
            marked = f.read(132)[128:] == b"DICM"
    except OSError as e:
        return None, f"cannot be read ({e.strerror})"
    if not marked:
        return None, "is no DICOM file (or has lost its beginning)"
    try:
        header = dcmread(file, stop_before_pixels=True)
        _decode(header)
    except Exception:  # pydicom raises a dozen kinds of errors for damaged files
        return None, "is damaged or truncated: export it again"
    for keyword in _REQUIRED:
        if not text(header, keyword):
            return None, f"has no {keyword}, so it is truncated or no image: export it again"
    return header, ""


def _decode(header: Dataset) -> None:
    """Read every attribute that is not private, so that damaged values are found here and not half-way.

    Those that no image needs are taken out with a damaged value; the others stay and are reported where they are used.
    """
    header.file_meta.get("TransferSyntaxUID")
    for tag in list(header.keys()):
        try:
            header[tag]
        except Exception:  # whatever the conversion raises
            del header[tag]


def find_dicom_cases(
    instances: Sequence[Instance], codes: BundleCodes, privacy: Privacy
) -> tuple[list[DicomCase], list[LeftOut]]:
    """Sort objects into series and those into cases, leaving out what is no image for the bundle.

    Args:
        instances: objects of any kind.
        codes: what the bundle takes.
        privacy: what must not be shown.

    Returns:
        Cases in the order of their studies' and series' UIDs, and what is left out.
    """
    series: dict[str, Series] = {}
    for instance in instances:
        uid = text(instance.header, "SeriesInstanceUID")
        one = series.setdefault(uid, Series(place=privacy.shown(instance.path.parent)))
        one.instances.append(instance)
    usable: list[Series] = []
    left_out: list[LeftOut] = []
    for one in sorted(series.values(), key=lambda s: (text(s.header, "StudyInstanceUID"), _order(s), s.uid)):
        kept: dict[str, list[Instance]] = {}
        for instance in one.instances:
            kept.setdefault(_refusal(instance.header, codes), []).append(instance)
        for reason, refused in kept.items():
            if reason:
                left_out.append(LeftOut(f"{Series(refused).title} in {one.place}", f"{reason}."))
        if "" in kept:
            usable.append(Series(kept[""], one.place))
    return (_studies(usable) if codes.kind is ImageKind.VOLUME else _pictures(usable)), left_out


def _order(series: Series) -> float:
    return number(series.header, "SeriesNumber") or 0.0


def _refusal(header: Dataset, codes: BundleCodes) -> str:
    """Why an object is no image for the bundle; empty where it is one."""
    modality, sop_class = text(header, "Modality"), text(header, "SOPClassUID")
    if modality in ("SEG", "SR", "KO", "PR"):
        return f"is no image ({modality})"
    if modality not in codes.modalities:
        named = modality if modality.isalpha() and len(modality) <= 16 else "not stated"
        return f"has the modality {named}, this bundle takes {' or '.join(codes.modalities)}"
    if _LOCALIZERS & set(words(header, "ImageType")):
        return "is a localizer, no image to segment"
    burned_in = text(header, "BurnedInAnnotation").upper()
    if (sop_class == _SC or sop_class.startswith(f"{_SC}.")) and burned_in != "NO":
        return "is a secondary capture that may have annotation burned in: give the original images"
    if sop_class not in image_classes(codes):
        return "is of an object class that this bundle does not take"
    if not number(header, "Rows") or not number(header, "Columns"):
        return "has no Rows and Columns, so it is truncated or no image"
    return ""


def image_classes(codes: BundleCodes) -> frozenset[str]:
    """SOP Class UIDs of the objects that can be an image for the bundle."""
    return frozenset(_VOLUME_CLASSES if codes.kind is ImageKind.VOLUME else _PICTURE_CLASSES)


def _studies(series: Sequence[Series]) -> list[DicomCase]:
    cases: dict[str, DicomCase] = {}
    for one in series:
        cases.setdefault(text(one.header, "StudyInstanceUID"), DicomCase([])).series.append(one)
    return list(cases.values())


def _pictures(series: Sequence[Series]) -> list[DicomCase]:
    """A case for each object, single-frame or multi-frame: one mask belongs to one image."""

    def order(instance: Instance) -> tuple[float, str]:
        return number(instance.header, "InstanceNumber") or 0.0, text(instance.header, "SOPInstanceUID")

    return [DicomCase([Series([i], s.place)]) for s in series for i in sorted(s.instances, key=order)]
