# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai.data import list_data_collate
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle, parsed
from medsegdiff_monai.data import ScreenedDataset, find_cases
from medsegdiff_monai.metrics import TEMPERATURE_BOUNDS, MemberLogits, Reliability, ReliabilityBins, fit_temperature
from medsegdiff_monai.utils import InputError, check_writable, printable, replace_atomically
from medsegdiff_monai.visualize import save_reliability_diagram

__all__ = ["CalibrationRecord", "Measured", "calibrate_bundle"]

# The one line of a configuration that holds the temperature as a number.
_LINE = re.compile(r'^(\s*"temperature": )[-+.\deE]+(,?)$', re.MULTILINE)
_ERRORS = {
    "ece": "expected calibration error",
    "ace": "adaptive calibration error",
    "brier": "Brier score",
    "nll": "negative log-likelihood (nats)",
}


@dataclass(frozen=True)
class Measured:
    """Calibration of probabilities over all voxels of a set of cases: errors, and points of the reliability diagram."""

    errors: dict[str, float]
    bins: ReliabilityBins

    @classmethod
    def from_reliability(cls, reliability: Reliability) -> Measured:
        """Round to six digits what was counted."""
        bins = {name: [_rounded(v) for v in values] for name, values in asdict(reliability.bins()).items()}
        return cls({name: _rounded(v) for name, v in reliability.errors().items()}, ReliabilityBins(**bins))


@dataclass(frozen=True)
class CalibrationRecord:
    """Temperature of a bundle with the cases that it was fitted to and its effect: ``configs/calibration.json``."""

    temperature: float
    data_set: str
    section: str
    cases: int
    regions: list[str]  # those that the data label
    num_inference_steps: int
    num_ensemble: int
    weights_sha256: str
    before: Measured  # at temperature 1
    after: Measured

    def write(self, path: Path) -> None:
        """Write the record, or raise an :class:`InputError`."""
        text = json.dumps(asdict(self), indent=4) + "\n"
        replace_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, path: Path) -> CalibrationRecord:
        """Read a record, or raise an :class:`InputError`."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in ("before", "after"):
                content[name] = Measured(content[name]["errors"], ReliabilityBins(**content[name]["bins"]))
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(f"{path} is no record of a calibration ({e}): run the command calibrate again.") from e


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
    """Fit the temperature of a bundle to labelled cases, as the command does, and print its effect.

    The members are sampled at temperature 1 as the bundle's inference samples them. The cases are prepared as in the
    training's validation: on the network's own grid, where the members are tempered. Regions are not nested into one
    another. The record is written beside the configuration, as ``calibration.json`` or ``<overlay>_calibration.json``.

    Raises:
        InputError: when something does not fit, no case has a label, or, after all else, some cases could not be used.
    """
    opened = Bundle(bundle, [overlay] if overlay else [], checkpoint, device, dataset_dir=str(data), temperature=1.0)
    config = _temperature_file(opened.files)
    for folder in ([] if dry_run else [config.parent]) + ([] if out is None else [Path(str(out))]):
        check_writable(folder)
    fusion = opened.get("fusion")
    if fusion != "mean":
        raise InputError(f"A temperature changes the fusion 'mean' alone, and the bundle's is {fusion!r}.")
    dataset = _dataset(opened, str(data), section)
    members = _sampled(opened, dataset)
    fit = fit_temperature(members)
    temperature = float(f"{fit.temperature:.4g}")
    record = CalibrationRecord(
        temperature=temperature,
        data_set=Path(str(data)).resolve().name,
        section=section,
        cases=len(dataset),
        regions=[name for name, values in opened.regions.items() if values],
        num_inference_steps=opened.get("num_inference_steps"),
        num_ensemble=opened.get("num_ensemble"),
        weights_sha256=hashlib.sha256(opened.checkpoint.read_bytes()).hexdigest(),
        before=Measured.from_reliability(members.reliability(1.0)),
        after=Measured.from_reliability(members.reliability(temperature)),
    )
    print(_table(record, at_bound=fit.at_bound))
    if out is not None:
        diagrams = {"temperature 1": record.before.bins, f"temperature {temperature:g}": record.after.bins}
        title = f"How often probabilities came true ({record.cases} {section} cases)"
        print(f"Wrote {printable(save_reliability_diagram(Path(str(out)) / 'reliability.png', diagrams, title))}")
    if not dry_run:
        beside = "calibration.json" if config.stem == "inference" else f"{config.stem}_calibration.json"
        record.write(config.with_name(beside))
        text = _LINE.sub(rf"\g<1>{temperature!r}\g<2>", config.read_text(encoding="utf-8"))
        replace_atomically(config, lambda partial: partial.write_text(text, encoding="utf-8"))
        print(f"Wrote the temperature into {printable(config)} and the record {printable(config.with_name(beside))}")
    dataset.report()
    return record


def _temperature_file(files: list[Path]) -> Path:
    """The file whose temperature holds: the last one that has the line."""
    for file in reversed(files):
        text = file.read_text(encoding="utf-8")
        lines = len(_LINE.findall(text))
        if lines == 1:
            return file
        if lines > 1 or file is files[0] or "checkpoint" in json.loads(text):  # an overlay's weights need their own
            break
    raise InputError(
        f'{file} must have one line "temperature": 1.0, which the fitted value takes the place of; it has {lines}.'
    )


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


def _sampled(bundle: Bundle, dataset: ScreenedDataset) -> MemberLogits:
    """Members and reference of each case, of the labelled regions."""
    members = MemberLogits()
    labelled = [channel for channel, values in enumerate(bundle.regions.values()) if values]
    for index in tqdm(range(len(dataset)), desc="Sampling", unit="case"):
        batch = list_data_collate([dataset[index]])
        with bundle.precision():
            sampled = bundle.inferer.sample(batch["image"].to(bundle.device), bundle.network)
        members.update(sampled[:, :, labelled], batch["label"][:, labelled])
    return members


def _table(record: CalibrationRecord, at_bound: bool) -> str:
    before, after = record.before.errors, record.after.errors
    lines = [
        f"Temperature {record.temperature:g}, fitted to {record.cases} cases under {record.section!r} in "
        f"{record.data_set} ({', '.join(record.regions)})",
        "",
        f"| all voxels | temperature 1 | temperature {record.temperature:g} |",
        "|---|---|---|",
        *(f"| {title} | {before[name]:.4f} | {after[name]:.4f} |" for name, title in _ERRORS.items()),
    ]
    if at_bound:
        low, high = TEMPERATURE_BOUNDS
        lines += ["", f"It is at an end of what is searched, {low:g} to {high:g}: look at the weights and the labels."]
    return "\n".join(lines)


def _rounded(value: Any) -> Any:
    return None if value is None else float(f"{value:.6g}")
