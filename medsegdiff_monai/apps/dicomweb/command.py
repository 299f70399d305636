# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.dicom.command import CaseResult, problem_of, summary_of
from medsegdiff_monai.apps.dicom.contrasts import parse_contrasts
from medsegdiff_monai.apps.dicom.discovery import LeftOut
from medsegdiff_monai.apps.dicom.headers import uid_suffix
from medsegdiff_monai.apps.dicom.output import prepare_folder, write_summary
from medsegdiff_monai.apps.dicom.privacy import without_values_in_logs
from medsegdiff_monai.apps.dicomweb.address import check_url, exposes_credentials
from medsegdiff_monai.apps.dicomweb.credentials import read_credentials
from medsegdiff_monai.apps.dicomweb.exchange import Limits
from medsegdiff_monai.apps.dicomweb.pacs import Pacs
from medsegdiff_monai.apps.dicomweb.study import StudyOptions, segment_study
from medsegdiff_monai.utils import InputError, locked_folder

__all__ = ["read_studies", "run_dicomweb", "segment_studies"]

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")  # PS3.5 9.1
_UID_LENGTH = 64
_NOISY = ("requests", "urllib3")  # they log addresses with UIDs in them


def read_studies(study: Any, arguments: Sequence[str] = ()) -> list[str]:
    """Study Instance UIDs, each once.

    Args:
        study: one, or several with commas between, or a sequence of them.
        arguments: the command line, where fire keeps only the last of options that are repeated, and takes a short UID
            for a number.

    Raises:
        InputError: when there is none, or one is no UID.
    """
    given = [value for i, argument in enumerate(arguments) if (value := _option(argument, arguments[i + 1 :]))]
    if not given:
        given = [str(s) for s in study] if isinstance(study, (list, tuple)) else [str(study or "")]
    uids = [uid.strip() for one in given for uid in one.split(",") if uid.strip()]
    if not uids:
        raise InputError("No study is given: give --study the Study Instance UID, or several with commas between.")
    for position, uid in enumerate(uids, start=1):
        if not _UID.fullmatch(uid) or len(uid) > _UID_LENGTH:  # not quoted: it may be a patient's number
            raise InputError(f"What --study gives as number {position} is no UID: give Study Instance UIDs.")
    return list(dict.fromkeys(uids))


def _option(argument: str, rest: Sequence[str]) -> str:
    """Value of ``--study`` where an argument is that."""
    name, separator, value = argument.partition("=")
    if name != "--study":
        return ""
    return value if separator else next(iter(rest), "")


def segment_studies(
    pacs: Pacs, segmenter: DicomSegmenter, studies: Sequence[str], options: StudyOptions
) -> tuple[int, list[CaseResult]]:
    """Segment studies of a PACS, going on with the others where one fails.

    Args:
        pacs: the PACS.
        segmenter: the bundle.
        studies: Study Instance UIDs.
        options: how.

    Returns:
        Number of the studies of which something failed, and what became of each case.
    """
    results: list[CaseResult] = []
    left_out: list[LeftOut] = []
    failed = 0
    with without_values_in_logs(*_NOISY):
        for study in studies:
            try:
                cases, others = segment_study(pacs, segmenter, study, options, len(results) + 1)
            except Exception as e:  # the other studies go on
                options.report(f"Error: Study {uid_suffix(study)}: {problem_of(e)}")
                failed += 1
                continue
            results += cases
            left_out += others
            failed += any(case.problem is not None for case in cases)
    if options.out is not None:
        write_summary(options.out, summary_of(segmenter, results, left_out))
    return failed, results


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
    """The command ``dicomweb``: images from a PACS, DICOM SEG and SR into it.

    Args:
        url: address of the DICOMweb service.
        studies: Study Instance UIDs.
        bundle: folder of the bundle.
        out: folder that keeps the results as well; None for none.
        contrasts: contrasts that the user names.
        resample: whether contrasts on other grids are resampled onto the first's.
        steps: number of network evaluations of each member; None for the bundle's.
        members: number of members; None for the bundle's.
        device: where the network runs; None for the bundle's choice.
        again: whether new results are made where there are some.
        credentials: file with credentials; None for those of the environment.
        limits: what the PACS may take and send; None for the usual.

    Returns:
        Exit status: 0, or 1 where a study failed.

    Raises:
        InputError: when the command is used wrongly.
    """
    address = check_url(url)
    for name, value in asdict(limits or Limits()).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be a number above 0, got {value!r}.")
    allowed = read_credentials(credentials)
    if allowed.given and exposes_credentials(address):
        print(
            "Warning: the credentials go over plain http, which others can read on the way: use https.", file=sys.stderr
        )
    segmenter = DicomSegmenter(bundle, steps, members, device)
    named = parse_contrasts(contrasts, segmenter.codes.contrasts)
    with nullcontext() if out is None else locked_folder(out):
        folder = None if out is None else prepare_folder(out, overwrite=False, advice="choose another folder")
        options = StudyOptions(named, resample, again, folder)
        failed, results = segment_studies(Pacs(address, allowed, limits or Limits()), segmenter, studies, options)
    done = sum(result.problem is None for result in results)
    print(f"{len(studies) - failed} of {len(studies)} studies done, {done} cases segmented.")
    return 1 if failed else 0
