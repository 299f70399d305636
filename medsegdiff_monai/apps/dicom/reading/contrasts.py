# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.reading.attributes import number, text, words
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase, Series
from medsegdiff_monai.utils import InputError

__all__ = ["choose_contrasts", "parse_contrasts", "recognise_contrast", "refuse_unused_names"]

_TOKENS: dict[str, str] = {  # of descriptions, in lower case between separators
    "FLAIR": r"flair|t2 ?flair|tirm dark fluid|dark ?fluid|da ?fl",
    "T2w": r"t2|t2w|t2wi|t2 ?weighted",
    "T1w": r"t1|t1w|t1wi|t1 ?weighted|mprage|mp2rage|spgr|bravo|tfe",
    "gd": r"gd|gad|gado|ce|t1ce|t1c|t1gd|kontrast|post|contrast|km|c\+|"
    r"t1 ?\+ ?(?:c|ce|gd|km)|\+c|\+gd|\+ce|gadolinium|enhanced",
    "native": r"pre|precontrast|native|nativ|without|w/o|nonenhanced|unenhanced",
    "other": r"dwi|dti|adc|trace\w*|b\d{3,4}|swi|swan|t2\*|t2star|(?<!t1 )gre|mip|minip|perf\w*|dsc|dce|asl|tof|mra|"
    r"bold|fmri|field ?map|b0|phase|pha|sub|subtraction|mpr|fa|cbv|cbf|mtt|rcbv|loc|localizer|scout|survey",
}
_T1_ECHO, _T1_REPETITION = 30.0, 1200.0  # ms: above either a spin echo is no longer T1-weighted
_T2_ECHO, _FLAIR_INVERSION = 70.0, 1500.0  # ms
_DERIVED = {"ADC", "PERFUSION", "DIFFUSION", "PROJECTION IMAGE", "PHASE", "P"}  # values of Image Type


def parse_contrasts(value: Any, contrasts: Sequence[str]) -> dict[str, str]:
    """Series that the user names, by folder, UID or number, for contrasts that the bundle takes.

    The value is the command line's ``T1w=3,T1gd=4,...``, or the same as a mapping, or None; an :class:`InputError` is
    raised where it is something else, or names another contrast.
    """
    if isinstance(value, Mapping):
        value = [f"{name}={series}" for name, series in value.items()]
    parts = [] if value is None else value if isinstance(value, (list, tuple)) else str(value).strip("{} ").split(",")
    named: dict[str, str] = {}
    for part in map(str, parts):
        name, separator, series = part.partition("=" if "=" in part else ":")
        if not separator:
            raise InputError(f"--contrasts must be NAME=SERIES,NAME=SERIES,... (folder, UID or number), got {part!r}.")
        named[name.strip(" '\"")] = series.strip(" '\"")
    unknown = [name for name in named if name not in contrasts]
    if unknown or not all(named.values()):
        taken = ", ".join(contrasts) or "none, for it segments single images"
        raise InputError(f"--contrasts names {', '.join(unknown) or 'an empty series'}; the bundle takes {taken}.")
    return named


def _is_meant(series: Series, named: str) -> bool:
    if named in (series.uid, text(series.header, "SeriesNumber")):
        return True
    folder = Path(named)
    return folder.is_dir() and series.instances[0].path.resolve().is_relative_to(folder.resolve())


def refuse_unused_names(named: Mapping[str, str], cases: Sequence[DicomCase]) -> None:
    """Raise an :class:`InputError` where a name fits no series: the contrast is not recognised instead."""
    for name, meant in named.items():
        if not any(_is_meant(series, meant) for case in cases for series in case.series):
            raise InputError(f"--contrasts names for {name} no series that was found: give its folder, UID or number.")


def recognise_contrast(header: Dataset) -> str | None:
    """Contrast of a brain MR series: FLAIR, T1w, T1gd or T2w; None where its attributes do not tell.

    The words of its description and protocol come first, then the sequence's own numbers; for contrast agent, the
    Contrast/Bolus attributes (PS3.3 C.7.6.4) count as much as the words.
    """
    description = f"{text(header, 'SeriesDescription')} {text(header, 'ProtocolName')}".lower()
    separated = re.sub(r"[_.,()-]+", " ", description)
    said = {name for name, word in _TOKENS.items() if re.search(rf"(?<![a-z0-9])(?:{word})(?![a-z0-9])", separated)}
    if "other" in said or _DERIVED & set(words(header, "ImageType")[2:]):
        return None
    is_flair = "FLAIR" in said and not ("T1w" in said and "T2w" not in said)  # T1 FLAIR is T1-weighted
    by_words = {"T1w", "T2w"} & said
    weighting = "FLAIR" if is_flair else by_words.pop() if len(by_words) == 1 else _weighting_by_numbers(header)
    if weighting != "T1w":
        return weighting
    agent = text(header, "ContrastBolusAgent").lower() not in ("", "no", "none", "n", "nein")
    enhanced = agent or header.get("ContrastBolusAgentSequence") or ("gd" in said and "native" not in said)
    return "T1gd" if enhanced else "T1w"


def _weighting_by_numbers(header: Dataset) -> str | None:
    """Weighting by echo, repetition and inversion time (ms)."""
    echo, repetition, inversion = (number(header, k) for k in ("EchoTime", "RepetitionTime", "InversionTime"))
    groups = header.get("SharedFunctionalGroupsSequence")
    if groups and "MRTimingAndRelatedParametersSequence" in groups[0]:
        repetition = number(groups[0].MRTimingAndRelatedParametersSequence[0], "RepetitionTime")
    if echo is None or repetition is None:
        return None
    if echo >= _T2_ECHO:
        return "FLAIR" if (inversion or 0.0) >= _FLAIR_INVERSION else "T2w"
    prepared = 0 < (inversion or 0.0) < _FLAIR_INVERSION and "GR" in words(header, "ScanningSequence")
    return "T1w" if echo < _T1_ECHO and (repetition < _T1_REPETITION or prepared) else None


def choose_contrasts(
    series: Sequence[Series], contrasts: Sequence[str], named: Mapping[str, str] | None = None
) -> list[Series]:
    """Series of a study for each contrast, in their order: those that the user names, the others recognised.

    An :class:`InputError` lists what was found where a contrast is missing or several series show it.
    """
    meant = {name: [s for s in series if _is_meant(s, wanted)] for name, wanted in (named or {}).items()}
    chosen = {name: found for name, found in meant.items() if found}
    taken = {s.uid for found in chosen.values() for s in found}
    recognised = {s.uid: recognise_contrast(s.header) for s in series if s.uid not in taken}
    for name in contrasts:
        chosen.setdefault(name, [s for s in series if recognised.get(s.uid) == name])
    missing = [name for name in contrasts if not chosen[name]]
    several = [name for name in contrasts if len(chosen[name]) > 1]
    if missing or several:
        by_uid = {s.uid: name for name, found in chosen.items() for s in found}
        found = "; ".join(f"{s.title}: {by_uid.get(s.uid, 'not recognised')}" for s in series)
        wrong = [f"{', '.join(missing)} missing"] if missing else []
        wrong += [f"several series for {', '.join(several)}"] if several else []
        raise InputError(
            f"{' and '.join(wrong)} (found {found}): name the series, as --contrasts {contrasts[0]}=SERIES,... "
            "(folder, UID or number)."
        )
    return [chosen[name][0] for name in contrasts]
