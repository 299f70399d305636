# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from monai.data import list_data_collate
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle, parsed
from medsegdiff_monai.apps.calibration_record import CalibrationRecord, Measured
from medsegdiff_monai.data import ScreenedDataset, find_cases
from medsegdiff_monai.metrics import TEMPERATURE_BOUNDS, MemberLogits, fit_temperature
from medsegdiff_monai.utils import (
    InputError,
    check_writable,
    printable,
    replace_atomically,
)
from medsegdiff_monai.visualize import save_reliability_diagram

__all__ = ["calibrate_bundle"]

# The one line of a configuration that holds the temperature as a number.
_LINE = re.compile(r'^(\s*"temperature": )[-+.\deE]+(,?)$', re.MULTILINE)
_ERRORS = {
    "ece": "expected calibration error",
    "ace": "adaptive calibration error",
    "brier": "Brier score",
    "nll": "negative log-likelihood (nats)",
}


def calibrate_bundle(
    bundle: str,
    data: str,
    section: str = "validation",
    checkpoint: str | None = None,
    overlay: str | None = None,
    out: str | None = None,
    device: str | None = None,
    dry_run: bool = False,
) -> CalibrationRecord:
    """Fit the temperature of a bundle to labelled cases, write it into the bundle and print what it changes.

    The members are sampled at temperature 1 as the bundle's inference samples them, from cases prepared as its
    training's validation prepares them: on the network's own grid, where the members are tempered. Regions are not
    nested into one another for this. The temperature takes the place of the number in the line ``"temperature"`` of
    ``configs/inference.json``, or of the overlay where it has such a line, and the record is written beside it as
    ``calibration.json``, or ``<overlay>_calibration.json``.

    Args:
        bundle: folder of the bundle.
        data: folder of the data set with its datalist.
        section: section of the datalist.
        checkpoint: file of the weights; by default the bundle's own.
        overlay: further file of the bundle's folder ``configs``, such as ``disc.json``.
        out: folder that gets ``reliability.png``, the reliability diagram before and after; None draws none.
        device: device that runs the network; by default the bundle's.
        dry_run: whether to leave the bundle as it is.

    Raises:
        InputError: when something is missing or does not fit, no case has a label, or, after all else, when some cases
            could not be used.
    """
    opened = Bundle(bundle, [overlay] if overlay else [], checkpoint, device, dataset_dir=str(data), temperature=1.0)
    place = _temperature_file(opened.files)
    for folder in ([] if dry_run else [place.parent]) + ([] if out is None else [Path(str(out))]):
        check_writable(folder)
    if opened.get("fusion") != "mean":
        raise InputError(
            f"A temperature changes the fusion 'mean' alone, and the bundle's is {opened.get('fusion')!r}."
        )
    dataset = _dataset(opened, data, section)
    members = MemberLogits()
    labelled = [channel for channel, values in enumerate(opened.regions.values()) if values]
    for index in tqdm(range(len(dataset)), desc="Sampling", unit="case"):
        batch = list_data_collate([dataset[index]])
        with opened.precision():
            sampled = opened.inferer.sample(batch["image"].to(opened.device), opened.network)
        members.update(sampled[:, :, labelled], batch["label"][:, labelled])
    fit = fit_temperature(members)
    record = _record(opened, str(data), section, len(dataset), members, float(f"{fit.temperature:.4g}"))
    print(_table(record, at_bound=fit.at_bound))
    if out is not None:
        shown = {"temperature 1": record.before.bins, f"temperature {record.temperature:g}": record.after.bins}
        title = f"How often probabilities came true ({record.cases} {section} cases)"
        diagram = save_reliability_diagram(Path(str(out)) / "reliability.png", shown, title)
        print(f"Wrote {printable(diagram)}")
    if not dry_run:
        beside = "calibration.json" if place.stem == "inference" else f"{place.stem}_calibration.json"
        record.write(place.with_name(beside))
        _write_temperature(place, record.temperature)
        print(f"Wrote the temperature into {printable(place)} and the record {printable(place.with_name(beside))}")
    dataset.report()
    return record


def _temperature_file(files: list[Path]) -> Path:
    """The file whose temperature holds: the last one that has the line.

    Raises:
        InputError: when none has it, or one that brings weights of its own has not.
    """
    for file in reversed(files):
        text = file.read_text(encoding="utf-8")
        found = len(_LINE.findall(text))
        if found == 1:
            return file
        if found > 1 or file is files[0] or "checkpoint" in json.loads(text):
            raise InputError(
                f'{file} must have one line "temperature": 1.0, which the fitted value takes the place of; it has '
                f"{found}."
            )
    raise AssertionError("a bundle has a configuration")


def _write_temperature(file: Path, temperature: float) -> None:
    text = _LINE.sub(rf"\g<1>{temperature!r}\g<2>", file.read_text(encoding="utf-8"))
    replace_atomically(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def _dataset(bundle: Bundle, data: str, section: str) -> ScreenedDataset:
    """The labelled cases, prepared as the training's validation prepares them."""
    training = bundle.training()
    cases = find_cases(data, section, training["datalist"], with_labels=True)
    if not any(case["label"] for case in cases):
        raise InputError(
            f"None of the {len(cases)} cases under {section!r} in {data} has a label, and a temperature is fitted to "
            "labels: give a section that has some."
        )
    return ScreenedDataset(cases, parsed(training, "validate#preprocessing"), cache_rate=0.0)


def _record(
    bundle: Bundle, data: str, section: str, cases: int, members: MemberLogits, temperature: float
) -> CalibrationRecord:
    return CalibrationRecord(
        temperature=temperature,
        data_set=Path(data).resolve().name,
        section=section,
        cases=cases,
        regions=[name for name, values in bundle.regions.items() if values],
        num_inference_steps=bundle.get("num_inference_steps"),
        num_ensemble=bundle.get("num_ensemble"),
        weights_sha256=hashlib.sha256(bundle.checkpoint.read_bytes()).hexdigest(),
        before=Measured.of(members.reliability(1.0)),
        after=Measured.of(members.reliability(temperature)),
    )


def _table(record: CalibrationRecord, at_bound: bool) -> str:
    lines = [
        f"Temperature {record.temperature:g}, fitted to {record.cases} cases under {record.section!r} in "
        f"{record.data_set} ({', '.join(record.regions)})",
        "",
        f"| all voxels | temperature 1 | temperature {record.temperature:g} |",
        "|---|---|---|",
        *(
            f"| {title} | {record.before.errors[k]:.4f} | {record.after.errors[k]:.4f} |"
            for k, title in _ERRORS.items()
        ),
    ]
    if at_bound:
        low, high = TEMPERATURE_BOUNDS
        lines += ["", f"It is at an end of what is searched, {low:g} to {high:g}: look at the weights and the labels."]
    return "\n".join(lines)
