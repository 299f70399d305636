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

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from tqdm import tqdm

from medsegdiff_monai.apps.dicom.headers import uid_suffix
from medsegdiff_monai.apps.dicomweb.credentials import Credentials
from medsegdiff_monai.apps.dicomweb.errors import PacsError, pacs_errors
from medsegdiff_monai.apps.dicomweb.session import make_session

__all__ = ["Pacs", "StoredSeries"]

_AS_STORED = (("application/dicom", "*"),)  # in the transfer syntax that the PACS holds
_PART, _WHOLE = 10**6, 1 << 40  # bytes: of an answer at a time; more than any request has
_BAR_AFTER = 2.0  # seconds


@dataclass
class StoredSeries:
    """A series as a PACS lists it.

    Attributes:
        uid: Series Instance UID.
        modality: its modality.
        instances: SOP Class UID of each object, by its SOP Instance UID.
    """

    uid: str
    modality: str
    instances: dict[str, str] = field(default_factory=dict)


class Pacs:
    """A DICOMweb service (PS3.18, 8 and 10): queries, retrieves and stores.

    A request to store is sent whole, with its length: of a request sent in chunks, Orthanc stores each object as soon
    as it has arrived, so that a connection that breaks leaves some of them; of one with a length it stores none.

    Args:
        url: its address.
        credentials: what lets this program in.
        timeout: longest wait for a connection and for data, in seconds.
    """

    def __init__(self, url: str, credentials: Credentials, timeout: float) -> None:
        self.url = url
        self._timeout, self._authenticated = timeout, credentials.given
        self._session = make_session(credentials)
        self._client = DICOMwebClient(url, session=self._session, chunk_size=_PART, timeout=timeout)
        self._client.set_http_retry_params(retry=False)
        self._client.host = urlsplit(url).netloc  # the client leaves the port out of the Host header

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return pacs_errors(self.url, doing, self._timeout, self._authenticated)

    def series_of(self, study: str) -> dict[str, StoredSeries]:
        """All series of a study with the UIDs of their objects, by their UIDs.

        Raises:
            PacsError: when there is no such study, it is empty, or the PACS does not answer as it should.
        """
        with self._errors("asking for the study"):
            found = self._client.search_for_studies(search_filters={"StudyInstanceUID": study})
            if study not in {_value(item, "0020000D") for item in found}:
                raise PacsError(f"The PACS has no study {uid_suffix(study)}: check --study.")
        with self._errors("listing the study"):
            listed = _pages(lambda offset: self._client.search_for_series(study, offset=offset), "0020000E")
            series = {uid: StoredSeries(uid, _value(item, "00080060")) for uid, item in listed.items()}
            for uid, item in self._instances(study).items():
                stored = series.setdefault(_value(item, "0020000E"), StoredSeries(_value(item, "0020000E"), ""))
                stored.instances[uid] = _value(item, "00080016")
        if not any(s.instances for s in series.values()):
            raise PacsError(f"The study {uid_suffix(study)} is empty: the PACS lists no object in it.")
        return series

    def _instances(self, study: str) -> dict[str, dict[str, Any]]:
        return _pages(lambda offset: self._client.search_for_instances(study, offset=offset), "00080018")

    def instances_of(self, study: str) -> set[str]:
        """SOP Instance UIDs of all objects of a study.

        Raises:
            PacsError: when the PACS does not answer as it should.
        """
        with self._errors("looking what is stored"):
            return set(self._instances(study))

    def header(self, study: str, series: str, instance: str) -> Dataset:
        """Header of an object, without pixels and other bulk data.

        Raises:
            PacsError: when the PACS does not answer as it should.
        """
        with self._errors("asking for a header"):
            content = self._client.retrieve_instance_metadata(study, series, instance)
            return _header(content)

    def retrieve(self, study: str, series: Iterable[StoredSeries], folder: Path) -> int:
        """Retrieve series, each into a folder of its own, under names that tell nothing.

        Args:
            study: Study Instance UID.
            series: the series.
            folder: where to put them.

        Returns:
            Number of objects.

        Raises:
            PacsError: when the PACS does not answer as it should or sends fewer objects than it lists.
        """
        series = list(series)
        total = sum(len(s.instances) for s in series)
        with tqdm(total=total, desc="Retrieving", unit="object", leave=False, delay=_BAR_AFTER) as bar:
            for number, one in enumerate(series, start=1):
                place = folder / f"series_{number}"
                place.mkdir()
                self._retrieve_series(study, one, place, bar)
        return total

    def _retrieve_series(self, study: str, series: StoredSeries, folder: Path, bar: tqdm) -> None:
        lacking = set(series.instances)
        with self._errors("retrieving the images"):
            for number, ds in enumerate(self._client.iter_series(study, series.uid, media_types=_AS_STORED), start=1):
                ds.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
                lacking.discard(str(ds.SOPInstanceUID))
                bar.update()
        if lacking:  # a connection that closes early can look like the end
            raise PacsError(
                f"The PACS sent {len(series.instances) - len(lacking)} of the {len(series.instances)} objects of "
                f"series {uid_suffix(series.uid)}: run the command again."
            )

    def store(self, study: str, objects: Mapping[str, Dataset]) -> None:
        """Store objects with one request; what is stored then is another question, see :func:`store_objects`.

        Raises:
            PacsError: when the PACS does not say that it stored them.
        """
        for ds in objects.values():
            ds.preamble = b"\0" * 128
        self._session.close()  # a connection that was kept may close just when it is used; this is not asked twice
        with self._errors("storing the results"):
            self._client.set_chunk_size(_WHOLE)
            try:
                answer = self._stored(study, list(objects.values()))
            finally:
                self._client.set_chunk_size(_PART)
        refused = answer.get("FailedSOPSequence") or []
        if refused:
            raise PacsError(
                f"The PACS refuses {len(refused)} of {len(objects)} objects{_reasons(refused)}: see its log."
            )

    def _stored(self, study: str, objects: list[Dataset]) -> Dataset:
        """The answer to a request to store (PS3.18 10.5.3), also where it is that all objects are refused (409)."""
        try:
            return self._client.store_instances(objects, study)
        except requests.HTTPError as e:
            answer = e.response
            if answer is None or answer.status_code != 409 or "json" not in answer.headers.get("Content-Type", ""):
                raise
            return Dataset.from_json(answer.json())

    def delete(self, study: str, series: str, instance: str) -> None:
        """Delete an object; few services allow that.

        Raises:
            PacsError: when it is not deleted.
        """
        with self._errors("deleting what was stored"):
            self._client.delete_instance(study, series, instance)


def _header(content: Mapping[str, Any]) -> Dataset:
    """A header from DICOM JSON; attributes with a damaged value are taken out, as they are of files."""
    header = Dataset()
    for tag, element in content.items():
        try:
            header.update(Dataset.from_json({tag: element}, bulk_data_uri_handler=lambda *_: None))
        except Exception:  # whatever the conversion raises
            continue
    return header


def _value(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute of a DICOM JSON object (PS3.18 F.2) as text; empty where there is none."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _pages(search: Callable[[int], list[dict[str, Any]]], key: str) -> dict[str, dict[str, Any]]:
    """All matches of a search, by a UID: a service may answer with some of them at a time (PS3.18 8.3.4.4)."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        fresh = {_value(item, key): item for item in search(len(found))}
        if not fresh.keys() - found.keys():  # none more, or a service that knows no offset
            return found
        found.update(fresh)


def _reasons(refused: Iterable[Dataset]) -> str:
    """The codes of PS3.18 table I.2-2 that it gives."""
    codes = sorted({f"{int(item.FailureReason):04X}H" for item in refused if "FailureReason" in item})
    return f" (failure reason {', '.join(codes)})" if codes else ""
