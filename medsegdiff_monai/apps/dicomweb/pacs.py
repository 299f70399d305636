# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import dcmwrite
from tqdm import tqdm

from medsegdiff_monai.apps.dicom.reading.attributes import uid_suffix
from medsegdiff_monai.apps.dicomweb.access import Credentials
from medsegdiff_monai.apps.dicomweb.exchange import GIGABYTE, Exchange, LimitError, Limits, PacsError
from medsegdiff_monai.apps.dicomweb.multipart import join_parts, save_parts

__all__ = ["Pacs", "StoredSeries", "store_objects"]

_DICOM = 'multipart/related; type="application/dicom"'
_AS_STORED = f"{_DICOM}; transfer-syntax=*"  # in the transfer syntax that the PACS holds
_PAGES, _OBJECTS = 200, 20_000  # of a listing
_BAR_AFTER = 2.0  # seconds
_LOOKS, _BETWEEN = 4, 1.0  # seconds: a PACS may still be busy with a request whose connection broke


@dataclass
class StoredSeries:
    """A series as a PACS lists it, with the SOP Class UID of each object by its SOP Instance UID."""

    uid: str
    modality: str
    instances: dict[str, str] = field(default_factory=dict)


class Pacs:
    """A DICOMweb service (PS3.18, 8 and 10): queries, retrieves and stores.

    A request to store is sent whole, with its length: of one sent in chunks, Orthanc stores each object as soon as it
    has arrived, so that a connection that breaks leaves some of them; of one with a length it stores none. Every method
    raises a :class:`PacsError` when the PACS does not answer as it should.
    """

    def __init__(self, url: str, credentials: Credentials, limits: Limits) -> None:
        self._exchange = Exchange(url, credentials, limits)
        self._errors = self._exchange.errors

    def series_of(self, study: str) -> dict[str, StoredSeries]:
        """All series of a study that is not empty with the UIDs of their objects, by their UIDs."""
        with self._errors("asking for the study"):
            studies = self._exchange.listing("studies", {"StudyInstanceUID": study})
            if study not in {_value(item, "0020000D") for item in studies}:
                raise PacsError(f"The PACS has no study {uid_suffix(study)}: check --study.")
        with self._errors("listing the study"):
            listed = self._pages(_path(study, "series"), "0020000E")
            series = {uid: StoredSeries(uid, _value(item, "00080060")) for uid, item in listed.items()}
            for uid, item in self._pages(_path(study, "instances"), "00080018").items():
                stored = series.setdefault(_value(item, "0020000E"), StoredSeries(_value(item, "0020000E"), ""))
                stored.instances[uid] = _value(item, "00080016")
        if not any(s.instances for s in series.values()):
            raise PacsError(f"The study {uid_suffix(study)} is empty: the PACS lists no object in it.")
        return series

    def _pages(self, path: str, key: str, params: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """All matches of a search, by a UID: a service may answer with some of them at a time (PS3.18 8.3.4.4)."""
        matches: dict[str, dict[str, Any]] = {}
        deadline = self._exchange.deadline()
        for _ in range(_PAGES):
            page = self._exchange.listing(path, {**(params or {}), "offset": len(matches)}, deadline)
            fresh = {_value(item, key): item for item in page}
            if not fresh.keys() - matches.keys():  # none more, or a service that knows no offset
                return matches
            matches.update(fresh)
            if len(matches) > _OBJECTS:
                break
        raise LimitError(
            f"lists more than {_OBJECTS} objects or {_PAGES} pages",
            "ask for a smaller study, or see its log for what it lists",
        )

    def instances_of(self, study: str) -> set[str]:
        """SOP Instance UIDs of all objects of a study."""
        with self._errors("looking what is stored"):
            return set(self._pages(_path(study, "instances"), "00080018"))

    def header(self, study: str, series: str, instance: str) -> Dataset:
        """Header of an object, without pixels and other bulk data."""
        with self._errors("asking for a header"):
            (content,) = self._exchange.listing(_path(study, "series", series, "instances", instance, "metadata"))
            header = Dataset()
            for tag, element in content.items():
                with suppress(Exception):  # a damaged value is taken out, as it is of files
                    header.update(Dataset.from_json({tag: element}, bulk_data_uri_handler=lambda *_: None))
            return header

    def retrieve(self, study: str, series: Collection[StoredSeries], folder: Path) -> int:
        """Retrieve series, each into a subfolder whose name tells nothing; the number of their objects."""
        total = sum(len(s.instances) for s in series)
        left = self._exchange.limits.max_size * GIGABYTE
        with tqdm(total=total, desc="Retrieving", unit="object", leave=False, delay=_BAR_AFTER) as bar:
            for number, one in enumerate(series, start=1):
                place = folder / f"series_{number}"
                place.mkdir()
                lacking = set(one.instances)
                with self._errors("retrieving the images"):
                    for file in self._objects(_path(study, "series", one.uid), place, left):
                        lacking.discard(str(read_file_meta_info(file).MediaStorageSOPInstanceUID))
                        bar.update()
                if lacking:  # a connection that closes early can look like the end
                    raise PacsError(
                        f"The PACS sent {len(one.instances) - len(lacking)} of the {len(one.instances)} objects of "
                        f"series {uid_suffix(one.uid)}: run the command again."
                    )
                left -= sum(file.stat().st_size for file in place.iterdir())
        return total

    def _objects(self, path: str, folder: Path, left: float) -> Iterator[Path]:
        """Files of objects as they arrive, which may have so many bytes."""
        size = self._exchange.limits.max_size
        refusal = LimitError(f"sends more than {size:g} GB for one study", "give a larger --max-size")
        with self._exchange.request("GET", path, accept=_AS_STORED) as answer:
            files = save_parts(answer.pieces(left, refusal), answer.content_type, folder)
            for number, file in enumerate(files, start=1):
                if number > _OBJECTS:
                    raise LimitError(f"sends more than {_OBJECTS} objects for one series", "see its log")
                yield file

    def retrieve_object(self, study: str, series: str, instance: str, folder: Path) -> Path:
        """Retrieve an object into a folder, under a name that tells nothing."""
        with self._errors("retrieving an image"):
            path = _path(study, "series", series, "instances", instance)
            (file,) = self._objects(path, folder, self._exchange.limits.max_size * GIGABYTE)
        return file

    def store(self, study: str, objects: Mapping[str, Dataset]) -> None:
        """Store objects with one request; what is stored then is another question, see :func:`store_objects`."""
        parts, boundary = [], uuid4().hex
        for ds in objects.values():
            ds.preamble = b"\0" * 128
            dcmwrite(part := BytesIO(), ds)
            parts.append(part.getvalue())
        body = join_parts(parts, boundary), f"{_DICOM}; boundary={boundary}"
        # Also that all objects are refused (409) is an answer (PS3.18 10.5.3).
        posted = self._exchange.request("POST", _path(study), body=body, expected=(409,))
        with self._errors("storing the results"), posted as answer:
            content = answer.json() if "json" in answer.content_type else None
            if content is None and answer.status == 409:
                url = self._exchange.url
                raise PacsError(f"The PACS at {url} refuses the request (409): see its log (storing the results).")
            stored = Dataset.from_json(content or {})
        if refused := stored.get("FailedSOPSequence") or []:
            codes = sorted({f"{int(item.FailureReason):04X}H" for item in refused if "FailureReason" in item})
            reasons = f" (failure reason {', '.join(codes)})" if codes else ""  # PS3.18 table I.2-2
            raise PacsError(f"The PACS refuses {len(refused)} of {len(objects)} objects{reasons}: see its log.")

    def delete(self, study: str, series: str, instance: str) -> None:
        """Delete an object; few services allow that."""
        path = _path(study, "series", series, "instances", instance)
        with self._errors("deleting what was stored"), self._exchange.request("DELETE", path):
            pass  # what it says of its success is of no use


def _path(study: str, *parts: str) -> str:
    """Path of a resource (PS3.18 10.1); a UID that a service made up leads nowhere else."""
    return "/".join(["studies", *(quote(part, safe="") for part in (study, *parts))])


def _value(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute of a DICOM JSON object (PS3.18 F.2) as text; empty where there is none."""
    return str((item.get(tag, {}).get("Value") or [""])[0])


def store_objects(pacs: Pacs, study: str, objects: Mapping[str, Dataset]) -> None:
    """Store the objects of a case, by their SOP Instance UIDs, all of them or none, as far as the PACS allows that.

    DICOMweb knows no transaction, and the answer to a request is no proof either way: Orthanc says "stored" of what its
    filter dropped, and "bad request" where it has stored the rest. So they are sent in one request, and then the PACS
    is asked what it has. A part is deleted. Where that fails, a later run recognises the part by its UIDs and completes
    it; the :class:`PacsError` says what is stored.
    """
    problem: PacsError | None = None
    try:
        pacs.store(study, objects)
    except PacsError as e:
        problem = e
    try:
        for left in reversed(range(_LOOKS)):
            there = objects.keys() & pacs.instances_of(study)
            if len(there) == len(objects):
                return  # also where only the answer was lost
            if left:
                time.sleep(_BETWEEN)
        for uid in there:
            try:
                pacs.delete(study, objects[uid].SeriesInstanceUID, uid)
            except PacsError:
                break  # what one is refused for, all are
        kept = len(there & pacs.instances_of(study)) if there else 0
    except PacsError as e:
        first = problem or e
        raise PacsError(
            f"{first} What of the results it has stored is not known: run the command again, it completes them.",
            first.gone,
        ) from e
    said = str(problem or "The PACS says that it stored the results, but does not list all of them: see its log.")
    if not kept:
        raise PacsError(f"{said} Nothing of the results is stored.")
    raise PacsError(
        f"{said} Of the results, {kept} of {len(objects)} objects are stored, which the PACS does not delete: run the "
        "command again to store the others, or take them out of the PACS."
    )
