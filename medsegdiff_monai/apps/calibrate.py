# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import list_data_collate
from tqdm import tqdm

from medsegdiff_monai.apps.bundle_config import bundle_files
from medsegdiff_monai.apps.calibration_record import CalibrationRecord, Measured
from medsegdiff_monai.data import ScreenedDataset, find_cases
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.metrics import TEMPERATURE_BOUNDS, MemberLogits, fit_temperature
from medsegdiff_monai.utils import (
    InputError,
    check_writable,
    checked_device,
    find_input_error,
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
    files = bundle_files(bundle, overlay)
    place = _temperature_file(files)
    for folder in ([] if dry_run else [place.parent]) + ([] if out is None else [Path(str(out))]):
        check_writable(folder)
    try:
        sampler = _Sampler.of(Path(str(bundle)), files, str(data), section, checkpoint, device)
    except Exception as e:
        if (cause := find_input_error(e)) is not None:
            raise cause from e
        raise
    members = MemberLogits()
    for batch in sampler.members():
        members.update(*batch)
    fit = fit_temperature(members)
    record = sampler.record(members, float(f"{fit.temperature:.4g}"))
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
    sampler.dataset.report()
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


@dataclass
class _Sampler:
    """A bundle's inference on labelled cases."""

    parser: ConfigParser
    dataset: ScreenedDataset
    network: Any
    inferer: Any
    device: torch.device
    channels: list[int]
    checkpoint: Path
    data: Path
    section: str

    @classmethod
    def of(
        cls, bundle: Path, files: list[Path], data: str, section: str, checkpoint: str | None, device: str | None
    ) -> _Sampler:
        places: dict[str, Any] = {"bundle_root": str(bundle), "dataset_dir": data, "temperature": 1.0}
        if checkpoint is not None:
            places["checkpoint"] = str(checkpoint)
        if device is not None:
            places["device"] = checked_device(device)
        parser = _parser(files, places)
        if parser["fusion"] != "mean":
            raise InputError(
                f"A temperature changes the fusion 'mean' alone, and the bundle's is {parser['fusion']!r}."
            )
        training = bundle / "configs" / "train.json"
        if not training.is_file():
            raise InputError(f"The bundle {bundle} has no configs/train.json, which says how labels are prepared.")
        # Its datalist comes first: a section without labels is said before weights are read.
        dataset = _dataset(_parser([training, *files[1:]], places), data, section)
        network = parser.get_parsed_content("network_def")
        weights = Path(parser.get_parsed_content("checkpoint"))
        load_weights(network, weights)
        found = torch.device(parser.get_parsed_content("device"))
        regions = parser.get_parsed_content("regions")
        channels = [c for c, values in enumerate(regions.values()) if values]
        inferer = parser.get_parsed_content("inferer")
        return cls(parser, dataset, network.to(found).eval(), inferer, found, channels, weights, Path(data), section)

    def members(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Members ``(1, N, C, *spatial)`` and reference ``(1, C, *spatial)`` of each case, of the labelled regions."""
        amp = bool(self.parser.get_parsed_content("amp"))
        for index in tqdm(range(len(self.dataset)), desc="Sampling", unit="case"):
            batch = list_data_collate([self.dataset[index]])
            with torch.autocast(self.device.type, enabled=amp):
                members = self.inferer.sample(batch["image"].to(self.device), self.network)
            yield members[:, :, self.channels], batch["label"][:, self.channels]

    def record(self, members: MemberLogits, temperature: float) -> CalibrationRecord:
        """What the temperature changes."""
        names = list(self.parser.get_parsed_content("regions"))
        return CalibrationRecord(
            temperature=temperature,
            data_set=self.data.resolve().name,
            section=self.section,
            cases=len(self.dataset),
            regions=[names[c] for c in self.channels],
            num_inference_steps=self.parser["num_inference_steps"],
            num_ensemble=self.parser["num_ensemble"],
            weights_sha256=hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            before=Measured.of(members.reliability(1.0)),
            after=Measured.of(members.reliability(temperature)),
        )


def _parser(files: list[Path], settings: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update(settings)
    return parser


def _dataset(training: ConfigParser, data: str, section: str) -> ScreenedDataset:
    cases = find_cases(data, section, training["datalist"], with_labels=True)
    if not any(case["label"] for case in cases):
        raise InputError(
            f"None of the {len(cases)} cases under {section!r} in {data} has a label, and a temperature is fitted to "
            "labels: give a section that has some."
        )
    return ScreenedDataset(cases, training.get_parsed_content("validate#preprocessing"), cache_rate=0.0)


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
