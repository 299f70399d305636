# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from highdicom.seg import Segmentation
from monai.data import MetaTensor
from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from PIL import Image
from pydicom.datadict import tag_for_keyword
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.apps.dicom import (
    BundleCodes,
    Equipment,
    ImageKind,
    ObjectMaker,
    PictureGrid,
    PictureInput,
    ResultUIDs,
    find_dicom_cases,
    image_classes,
    number_of_frames,
    problem_of,
    read_codes,
    read_headers,
    read_picture,
    without_values_in_logs,
)
from medsegdiff_monai.apps.dicomweb import (
    Limits,
    Pacs,
    PacsError,
    StudyPrivacy,
    check_url,
    exposes_credentials,
    read_credentials,
    store_objects,
)
from medsegdiff_monai.apps.label.load import LoadStudyd
from medsegdiff_monai.utils import InputError

__all__ = ["PacsDatastore", "open_pacs", "picture_name"]

logger = logging.getLogger(__name__)

_STUDY_UID = "0020000D"


class StoredPicture(NamedTuple):
    """Study, Series and SOP Instance UID of an object in a PACS."""

    study: str
    series: str
    instance: str


class PicturePacs(Pacs):
    """A DICOMweb service as a source of pictures; see :class:`~medsegdiff_monai.apps.dicomweb.Pacs`."""

    def pictures(
        self, modalities: Collection[str], classes: Collection[str], study_filter: Mapping[str, str]
    ) -> list[StoredPicture]:
        """The objects of modalities (0008,0060) and SOP classes that the PACS lists, in the order of their UIDs.

        ``study_filter`` holds further attributes of the studies, by keyword (PS3.18 8.3.4).
        """
        studies: set[str] = set()
        for modality in modalities:
            with self._errors("listing the studies"):
                studies |= set(self._pages("studies", _STUDY_UID, {**study_filter, "ModalitiesInStudy": modality}))
        return sorted(
            StoredPicture(study, series.uid, instance)
            for study in studies
            for series in self.series_of(study).values()
            if series.modality in modalities
            for instance, kind in series.instances.items()
            if kind in classes
        )


def picture_name(instance: str) -> str:
    """Anonymous name of an object in the data store, from its SOP Instance UID."""
    return f"picture-{hashlib.sha256(instance.encode()).hexdigest()[:16]}"


def open_pacs(url: str, bundle: str | os.PathLike[str], folder: Path, study_filter: str = "{}") -> PacsDatastore:
    """The data store of the pictures that a PACS has for a bundle.

    Credentials come from the environment, see :func:`~medsegdiff_monai.apps.dicomweb.read_credentials`.

    Copies of pictures and labels are kept in a folder of each address in ``folder``. ``study_filter`` is a JSON object
    of what the studies must be, by the keyword of the attribute. A bundle of volumes is refused.
    """
    opened = Bundle(bundle)
    codes = read_codes(bundle, opened.regions, opened.contrasts)
    if codes.kind is ImageKind.VOLUME:
        raise InputError(
            f"{Path(bundle).name} takes several series an image, of which MONAI Label knows nothing: give it a folder "
            "of files as --studies, or segment the PACS's studies with the command dicomweb."
        )
    filters = _read_filter(study_filter)
    credentials, url = read_credentials(), check_url(url)
    if credentials.given and exposes_credentials(url):
        logger.warning("The credentials can be read on the way to the PACS: use https.")
    place = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    return PacsDatastore(PicturePacs(url, credentials, Limits()), Path(bundle), codes, place, filters)


def _read_filter(text: str) -> dict[str, str]:
    try:
        study_filter = json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError(f"The study filter is no JSON ({e}): write it again.") from e
    if not isinstance(study_filter, dict) or not all(isinstance(v, str) for v in study_filter.values()):
        raise InputError('The study filter is no object of texts: give one such as {"StudyDate": "20260101-"}.')
    unknown = [key for key in study_filter if tag_for_keyword(key) is None]
    if unknown:
        raise InputError(f"The study filter has the unknown attribute {unknown[0]}: give DICOM keywords as StudyDate.")
    return study_filter


class PacsDatastore(LocalDatastore):
    """The pictures of a PACS as MONAI Label's data store; a final label goes back as a DICOM segmentation.

    MONAI Label's own data store for DICOMweb puts a series into patient space, where neither an ultrasound image nor a
    photograph has a place. Here each object of one frame is an image, a PNG with the values that the command ``dicom``
    segments. Copies lie in a folder that its owner alone can read. They hold nothing of the patient but what is burned
    into the pixels. Objects that are no image for the bundle cost one line in the log.
    """

    def __init__(
        self, pacs: PicturePacs, bundle: Path, codes: BundleCodes, folder: Path, study_filter: Mapping[str, str]
    ) -> None:
        self._pacs, self._bundle, self._codes, self._filter = pacs, bundle, codes, dict(study_filter)
        self._left_out: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        super().__init__(str(folder), extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT)
        self.fetch()

    def fetch(self) -> None:
        """Fetch the pictures that the PACS has and this store has not."""
        listed = self._pacs.pictures(self._codes.modalities, image_classes(self._codes), self._filter)
        named = {picture_name(picture.instance): picture for picture in listed}
        # A copy without its place in the PACS is one that was cut off.
        new = {n: p for n, p in named.items() if n not in self._left_out and "instance" not in self.get_image_info(n)}
        for name, stored in tqdm(new.items(), desc="Fetching", unit="picture", leave=False, delay=2.0):
            try:
                self._fetch(name, stored)
            except PacsError:
                raise
            except Exception as e:  # damaged headers fail in more ways than can be listed; the others go on
                self._left_out.add(name)
                logger.warning("Left out: %s: %s", name, problem_of(e))

    def fetch_new(self) -> None:
        """:meth:`fetch`, but a PACS that does not answer costs a line in the log: the pictures here can be labelled."""
        try:
            self.fetch()
        except PacsError as e:
            logger.warning("No new pictures: %s", e)

    def _fetch(self, name: str, stored: StoredPicture) -> None:
        if number_of_frames(self._pacs.header(stored.study, stored.series, stored.instance)) > 1:  # it may be large
            raise InputError("It has several frames, single pictures are labelled here: use the command dicomweb.")
        (image,) = self._source(stored).images
        with tempfile.TemporaryDirectory(prefix="medsegdiff-") as folder:
            file = Path(folder) / f"{name}.png"
            _as_picture(image).save(file)
            self.add_image(name, str(file), stored._asdict())

    def _source(self, stored: StoredPicture) -> PictureInput:
        """An object of the PACS, which is deleted here once it is read."""
        with tempfile.TemporaryDirectory(prefix="medsegdiff-") as folder, without_values_in_logs():
            privacy = StudyPrivacy()
            file = self._pacs.retrieve_object(stored.study, stored.series, stored.instance, Path(folder))
            instances, damaged = read_headers([file], privacy)
            cases, refused = find_dicom_cases(instances, self._codes, privacy)
            for left_out in (*damaged, *refused):
                raise InputError(f"{left_out.what} {left_out.reason}")
            return read_picture(cases[0].series[0].instances[0], self._codes.kind)

    def json(self) -> dict[str, Any]:
        """All that is known of images and labels, the scores among it, which another process writes."""
        self.refresh()
        return super().json()

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Save a label, on the picture's grid; a final one only once it is stored in the PACS. See ``Datastore``."""
        if label_tag == DefaultLabelTag.FINAL:
            self._store(image_id, label_filename)
        return super().save_label(image_id, label_filename, label_tag, label_info)

    def _store(self, name: str, label: str) -> None:
        info = self.get_image_info(name)
        if "instance" not in info:
            raise InputError(f"There is no image {name} in the data store: name one of those that it lists.")
        loaded = LoadStudyd(["image", "label"])({"image": info["path"], "label": label})["label"]
        stored = StoredPicture(info["study"], info["series"], info["instance"])
        label_map = np.moveaxis(loaded.numpy()[0], 0, 1)  # pictures have the axes (columns, rows) in MONAI
        checksum = hashlib.sha256((self._bundle / "models" / "model.pt").read_bytes()).hexdigest()
        equipment = Equipment(self._bundle.name, self._codes.algorithm.version, f"weights-{checksum[:16]}")
        seg = _annotation(self._source(stored), label_map, self._codes, equipment)
        if seg.SOPInstanceUID not in self._pacs.instances_of(stored.study):
            store_objects(self._pacs, stored.study, {seg.SOPInstanceUID: seg})


def _annotation(source: PictureInput, label_map: np.ndarray, codes: BundleCodes, equipment: Equipment) -> Segmentation:
    """A binary segmentation (PS3.3 A.51) of an annotator's label ``(rows, columns)`` of a picture.

    It says SEMIAUTOMATIC of its segments (Segment Algorithm Type, PS3.3 C.8.20.2), where those of the commands say
    AUTOMATIC. The same label of the same picture has the same UIDs, so that saving it again makes no second object.
    """
    size = (int(source.header.Rows), int(source.header.Columns))
    if label_map.shape != size:
        raise InputError(f"The label has {label_map.shape} rows and columns, its picture {size}: save it on its grid.")
    classes = {value for segment in codes.segments for value in segment.values}
    unknown = sorted(set(np.unique(label_map).tolist()) - classes - {0})
    if unknown:
        raise InputError(
            f"The label has the value {unknown[0]:g}, the classes are {sorted(classes)}: save it with these."
        )
    content = hashlib.sha256(label_map.astype(np.uint8).tobytes()).hexdigest()
    uids = ResultUIDs(f"annotation|{source.header.SOPInstanceUID}|{equipment.model}", content)
    masks = np.stack([np.isin(label_map, segment.values) for segment in codes.segments], axis=-1)
    maker = ObjectMaker(PictureGrid(source), codes, equipment, uids)
    seg = maker.binary(masks[None], "annotation")
    for segment in seg.SegmentSequence:
        segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    seg.ContentDescription = "Segmentation accepted or corrected by a person"
    return seg


def _as_picture(image: MetaTensor) -> Image.Image:
    """Image ``(C, columns, rows)`` as a picture of 8 bits."""
    values = image.numpy()
    stored = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if (stored != values).any():
        raise InputError(
            "It has more than 8 bits a value, pictures of 8 bits are labelled here: use the command dicomweb."
        )
    pixels = np.ascontiguousarray(stored.transpose(2, 1, 0))
    return Image.fromarray(pixels[..., 0] if len(stored) == 1 else pixels)
