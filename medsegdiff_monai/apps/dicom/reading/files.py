# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from tqdm import tqdm

from medsegdiff_monai.apps.dicom.limits import bounded_memory
from medsegdiff_monai.apps.dicom.reading.attributes import IMAGE_CLASSES, MODALITIES, derived_uid, text
from medsegdiff_monai.apps.dicom.reading.header import Instance, LeftOut, looks_like_dicom, read_header
from medsegdiff_monai.apps.dicom.reading.identity import Privacy
from medsegdiff_monai.apps.dicom.reading.pixels import decode_frames
from medsegdiff_monai.utils import InputError

__all__ = ["read_headers"]

_BAR_FROM = 200  # files: about the number that takes longer than a few seconds to read
_START = 256  # bytes by which DICOM is told from other files
_SUFFIXES = (".dcm", ".dicom", ".ima")
_NAMED = 3  # files that are no DICOM are counted, and so many of them named
_IDENTITY_KEYS = ("PatientID", "PatientName", "StudyID", "AccessionNumber")  # one of them tells a study from others
_RENAMED = "SOPInstanceUID is that of other images as well and was replaced by a UID made of it and the pixels"
_STUDY_KEYS = ("PatientID", "PatientName", "StudyID", "StudyDate", "StudyTime", "AccessionNumber")
_SERIES_KEYS = ("SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "Modality")


def read_headers(folders: Sequence[str | os.PathLike[str]], privacy: Privacy) -> tuple[list[Instance], list[LeftOut]]:
    """Headers of all files in and below folders, and of single files, each SOP Instance UID once, and what is left out.

    ``privacy`` learns of the patients. Raises an :class:`InputError` when a folder does not exist or none holds a file.
    """
    problems: list[tuple[Path, str]] = []
    files = [file for folder in folders for file in _files(Path(folder), problems)]
    if not files and not problems:
        raise InputError(f"There is no file in {', '.join(map(str, folders))}: give folders that hold DICOM objects.")
    instances: list[Instance] = []
    others: list[Path] = []
    given = {Path(folder) for folder in folders}
    bar = tqdm(files, desc="Reading headers", unit="file", leave=False, disable=len(files) < _BAR_FROM)
    with bounded_memory():
        for file in bar:
            instance = _read(file)
            if isinstance(instance, Instance):
                privacy.learn(instance.header)
                instances.append(instance)
            elif instance is not None:
                problems.append((file, instance))
            elif file.suffix.lower() in _SUFFIXES or file in given:
                problems.append((file, "is no DICOM file (or has lost its beginning)"))
            else:
                others.append(file)
        unique, copies = _each_once(instances)
    left_out = [LeftOut(privacy.shown(file), f"{problem}.", True) for file, problem in problems]
    left_out += [LeftOut(privacy.shown(file), "is a copy of another file.") for file in copies]
    if others:
        named = ", ".join(privacy.shown(Path(file.name)) for file in others[:_NAMED])
        more = ", ..." if len(others) > _NAMED else ""
        what, verb = (f"{len(others)} files", "are") if len(others) > 1 else ("1 file", "is")
        left_out.append(LeftOut(what, f"{verb} no DICOM ({named}{more})."))
    return unique, left_out


def _files(folder: Path, problems: list[tuple[Path, str]]) -> Iterator[Path]:
    """Files in a folder and those below, in order; what cannot be looked at is put among the problems."""
    if not os.path.lexists(folder):
        raise InputError(f"The folder {folder} does not exist: give a folder with DICOM objects.")
    seen: set[str] = set()
    paths = [] if folder.is_dir() else [folder]

    def unreadable(error: OSError) -> None:
        problems.append((Path(error.filename), f"is a folder that cannot be read ({error.strerror})"))

    for place, folders, names in os.walk(folder, onerror=unreadable if not paths else None, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # by a link
            folders.clear()
            continue
        seen.add(real)
        paths += [Path(place, name) for name in names if name[0] != "." and name != "DICOMDIR"]
    for path in sorted(paths):
        try:
            regular = stat.S_ISREG(path.stat().st_mode)  # others, as a pipe, may let one wait without end
        except OSError as e:
            problems.append((path, "is a link to nothing" if path.is_symlink() else f"cannot be read ({e.strerror})"))
            continue
        if regular:
            yield path
        else:
            problems.append((path, "is no file but a pipe, a socket or a device"))


def _read(file: Path) -> Instance | str | None:
    """A file's object, or why it cannot be read; None where it is no DICOM."""
    try:
        with file.open("rb") as f:
            start = f.read(_START)
    except OSError as e:
        return f"cannot be read ({e.strerror})"
    if not looks_like_dicom(start):
        return None
    try:
        header, has_pixels = read_header(file)
        notes = _completed(header, file)
    except MemoryError:
        return "has a header that is larger than any that describes an image"
    except RecursionError:
        return "has attributes that are nested too deeply"
    except Exception:  # pydicom raises a dozen kinds of errors for damaged files
        return "is damaged or truncated: copy or export it again"
    is_image = text(header, "SOPClassUID") in IMAGE_CLASSES or "Rows" in header or "Modality" not in header
    if is_image and not has_pixels:
        return "is truncated or no image, for it has no pixels: copy or export it again"
    return Instance(file, header, notes)


def _completed(header: Dataset, file: Path) -> tuple[str, ...]:
    """Put into a header what it lacks to belong to a study and a series, and say what had to be made up for that."""
    meta = getattr(header, "file_meta", Dataset())
    made: dict[str, str] = {}

    def complete(keyword: str, *parts: str) -> None:
        if not text(header, keyword):
            made[keyword] = derived_uid(*parts)
            setattr(header, keyword, made[keyword])

    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not text(header, keyword) and (stated := text(meta, f"MediaStorage{keyword}")):
            setattr(header, keyword, stated)
    if not text(header, "SOPInstanceUID"):
        complete("SOPInstanceUID", "object", _file_digest(file))
    known = [text(header, keyword) for keyword in _STUDY_KEYS]
    if not any(text(header, keyword) for keyword in _IDENTITY_KEYS):
        known = [text(header, "SeriesInstanceUID") or text(header, "SOPInstanceUID")]
    complete("StudyInstanceUID", "study", *known)
    series = [text(header, keyword) for keyword in ("StudyInstanceUID", *_SERIES_KEYS)]
    complete("SeriesInstanceUID", "series", *series)
    modality = text(header, "Modality").upper()
    if not modality and (modality := MODALITIES.get(text(header, "SOPClassUID"), "")):
        made["Modality"] = modality
    header.Modality = modality
    return (f"{', '.join(made)} is not stated by the images and was made up for them",) if made else ()


def _each_once(instances: Sequence[Instance]) -> tuple[list[Instance], list[Path]]:
    """Objects without copies, and the files of the copies.

    Of one SOP Instance UID and different pixels, each gets a UID made of both, so that no result refers to another.
    """
    by_uid: dict[str, list[Instance]] = {}
    for instance in instances:
        by_uid.setdefault(text(instance.header, "SOPInstanceUID"), []).append(instance)
    unique: list[Instance] = []
    copies: list[Path] = []
    for uid, same in by_uid.items():
        by_pixels: dict[str, Instance] = {}
        for instance in same:
            digest = _digest(instance) if len(same) > 1 else ""
            if by_pixels.setdefault(digest, instance) is not instance:
                copies.append(instance.path)
        unique += by_pixels.values()
        if len(by_pixels) > 1:
            for digest, instance in by_pixels.items():
                instance.header.SOPInstanceUID = derived_uid("object", uid, digest)
                instance.notes += (_RENAMED,)
    return unique, copies


def _digest(instance: Instance) -> str:
    """A checksum of the pixels, however these are compressed."""
    try:
        pixels = decode_frames(instance, "the object")
    except Exception:  # whatever the decoders raise: no image, or one that will be refused for this reason
        return _file_digest(instance.path)
    return hashlib.sha256(f"{pixels.shape}{pixels.dtype.kind}".encode() + pixels.tobytes()).hexdigest()


def _file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
