# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsegdiff_monai.metrics import Reliability, ReliabilityBins
from medsegdiff_monai.utils import InputError, replace_atomically

__all__ = ["CalibrationRecord", "Measured"]


@dataclass(frozen=True)
class Measured:
    """How well probabilities are calibrated over all voxels of a set of cases.

    Attributes:
        errors: ``ece``, ``ace``, ``brier`` and ``nll``, see :meth:`Reliability.errors`.
        bins: what a reliability diagram shows.
    """

    errors: dict[str, float]
    bins: ReliabilityBins

    @classmethod
    def of(cls, reliability: Reliability) -> Measured:
        """What was counted, in numbers of six digits."""
        bins = {name: [_rounded(v) for v in values] for name, values in asdict(reliability.bins()).items()}
        return cls({name: _rounded(v) for name, v in reliability.errors().items()}, ReliabilityBins(**bins))


@dataclass(frozen=True)
class CalibrationRecord:
    """What a bundle's temperature was fitted to, and what it changes; the file ``configs/calibration.json``.

    Attributes:
        temperature: the temperature that was fitted.
        data_set: name of the data set's folder.
        section: section of its datalist.
        cases: number of cases.
        regions: the regions that the data label.
        num_inference_steps: network evaluations of each member.
        num_ensemble: members.
        weights_sha256: checksum of the weights' file.
        before: calibration at temperature 1.
        after: calibration at the temperature.
    """

    temperature: float
    data_set: str
    section: str
    cases: int
    regions: list[str]
    num_inference_steps: int
    num_ensemble: int
    weights_sha256: str
    before: Measured
    after: Measured

    def write(self, path: Path) -> None:
        """Write the record.

        Args:
            path: its file.

        Raises:
            InputError: when it cannot be written.
        """
        text = json.dumps(asdict(self), indent=4) + "\n"
        replace_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, path: Path) -> CalibrationRecord:
        """Read a record.

        Args:
            path: its file.

        Raises:
            InputError: when it is missing or no such record.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in ("before", "after"):
                errors, bins = content[name]["errors"], content[name]["bins"]
                content[name] = Measured(errors, ReliabilityBins(**bins))
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(f"{path} is no record of a calibration ({e}): run the command calibrate again.") from e


def _rounded(value: Any) -> Any:
    return None if value is None else float(f"{value:.6g}")
