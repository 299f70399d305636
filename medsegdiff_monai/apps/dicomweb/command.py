# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.dicom.command import problem_of
from medsegdiff_monai.apps.dicom.output import CaseResult, made_by, prepare_folder, write_summary
from medsegdiff_monai.apps.dicom.reading.attributes import is_valid_uid, uid_suffix
from medsegdiff_monai.apps.dicom.reading.contrasts import parse_contrasts
from medsegdiff_monai.apps.dicom.reading.header import LeftOut
from medsegdiff_monai.apps.dicom.reading.identity import without_values_in_logs
from medsegdiff_monai.apps.dicomweb.access import check_url, exposes_credentials, read_credentials
from medsegdiff_monai.apps.dicomweb.exchange import Limits
from medsegdiff_monai.apps.dicomweb.pacs import Pacs
from medsegdiff_monai.apps.dicomweb.study import StudyOptions, segment_study
from medsegdiff_monai.utils import InputError, locked_folder

__all__ = ["read_studies", "run_dicomweb", "segment_studies"]

_NOISY = ("requests", "urllib3")  # they log addresses with UIDs in them


def read_studies(study: Any, arguments: Sequence[str] = ()) -> list[str]:
    """Study Instance UIDs, each once, of an option with commas between or a sequence.

    The command line's arguments go before it: fire keeps only the last of options that are repeated, and takes a short
    UID for a number. Raises an :class:`InputError` when there is none, or one is no UID.
    """
    given: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, separator, value = argument.partition("=")
        if name == "--study":
            given.append(value if separator else following)
    if not any(given):
        given = [str(s) for s in study] if isinstance(study, (list, tuple)) else [str(study or "")]
    uids = [uid.strip() for one in given for uid in one.split(",") if uid.strip()]
    if not uids:
        raise InputError("No study is given: give --study the Study Instance UID, or several with commas between.")
    for position, uid in enumerate(uids, start=1):
        if not is_valid_uid(uid):  # not quoted: it may be a patient's number
            raise InputError(f"What --study gives as number {position} is no UID: give Study Instance UIDs.")
    return list(dict.fromkeys(uids))


def segment_studies(
    pacs: Pacs, segmenter: DicomSegmenter, studies: Sequence[str], options: StudyOptions
) -> tuple[int, list[CaseResult], list[LeftOut]]:
    """Segment studies, going on where one fails: how many failed in something, the results, and what was left out."""
    failed, results, left_out = 0, list[CaseResult](), list[LeftOut]()
    with without_values_in_logs(*_NOISY):
        for study in studies:
            try:
                cases, others = segment_study(pacs, segmenter, study, options, len(results) + 1)
            except Exception as e:  # the other studies go on
                options.report(f"Error: Study {uid_suffix(study)}: {problem_of(e)}")
                failed, cases, others = failed + 1, [], []
            results += cases
            left_out += others
            failed += any(case.problem is not None for case in cases)
            if options.out is not None:
                write_summary(options.out, made_by(segmenter), results, left_out)
    return failed, results, left_out


def run_dicomweb(
    url: str,
    studies: Sequence[str],
    bundle: str,
    out: str | os.PathLike[str] | None = None,
    contrasts: Any = None,
    resample: bool = False,
    steps: int | None = None,
    members: int | None = None,
    device: str | None = None,
    again: bool = False,
    credentials: str | None = None,
    limits: Limits | None = None,
) -> int:
    """The command ``dicomweb``, whose help describes its options: images from a PACS, DICOM SEG and SR into it.

    The exit status is 0, or 1 where a study failed or an object was left out that may have been an image.
    """
    address, limits = check_url(url), limits or Limits()
    for name, value in asdict(limits).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be a number above 0, got {value!r}.")
    allowed = read_credentials(credentials)
    if allowed.given and exposes_credentials(address):
        warning = "Warning: the credentials go over plain http, which others can read on the way: use https."
        print(warning, file=sys.stderr)
    segmenter = DicomSegmenter(bundle, steps, members, device)
    named = parse_contrasts(contrasts, segmenter.codes.contrasts)
    with nullcontext() if out is None else locked_folder(out):
        folder = None if out is None else prepare_folder(out, overwrite=False, advice="choose another folder")
        options = StudyOptions(named, resample, again, folder)
        failed, results, left_out = segment_studies(Pacs(address, allowed, limits), segmenter, studies, options)
    done, lost = sum(result.problem is None for result in results), sum(one.counts for one in left_out)
    also = f", {lost} {'file' if lost == 1 else 'files'} left out" if lost else ""
    print(f"{len(studies) - failed} of {len(studies)} studies done, {done} cases segmented{also}.")
    return 1 if failed or lost else 0
