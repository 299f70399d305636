# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Mapping

from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicomweb.errors import PacsError
from medsegdiff_monai.apps.dicomweb.pacs import Pacs

__all__ = ["store_objects"]

_LOOKS, _BETWEEN = 4, 1.0  # a PACS may still be busy with a request whose connection broke; seconds


def store_objects(pacs: Pacs, study: str, objects: Mapping[str, Dataset]) -> None:
    """Store the objects of a case, all of them or none, as far as the PACS allows that.

    DICOMweb knows no transaction, and the answer to a request is no proof either way: Orthanc says "stored" of what
    its filter dropped, and "bad request" where it has stored the rest. So they are sent in one request, and then the
    PACS is asked what it has. Where that is a part, the part is deleted. Where it cannot be deleted, or the PACS is
    gone, a later run of the command recognises the part by its UIDs and stores what is missing.

    Args:
        pacs: the PACS.
        study: Study Instance UID.
        objects: the objects, which it does not have yet, by their SOP Instance UIDs.

    Raises:
        PacsError: when not all are stored; the sentence says what is.
    """
    problem: PacsError | None = None
    try:
        pacs.store(study, objects)
    except PacsError as e:
        problem = e
    try:
        there = _look(pacs, study, set(objects))
        if len(there) == len(objects):
            return  # also where only the answer was lost
        kept = _delete(pacs, study, [objects[uid] for uid in there])
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


def _look(pacs: Pacs, study: str, wanted: set[str]) -> set[str]:
    """Those of the objects that the PACS lists, once all are there or time enough has gone."""
    for left in reversed(range(_LOOKS)):
        there = wanted & pacs.instances_of(study)
        if there == wanted or not left:
            break
        time.sleep(_BETWEEN)
    return there


def _delete(pacs: Pacs, study: str, objects: list[Dataset]) -> int:
    """Delete objects; the number of those that stay."""
    for ds in objects:
        try:
            pacs.delete(study, ds.SeriesInstanceUID, ds.SOPInstanceUID)
        except PacsError:
            break  # what one is refused for, all are
    uids = {str(ds.SOPInstanceUID) for ds in objects}
    return len(uids & pacs.instances_of(study)) if uids else 0
