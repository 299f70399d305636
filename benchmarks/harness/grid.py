# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What the accuracy benchmark runs: data sets and the cells of its grid, as overlays of the bundles' configurations."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medsegdiff_monai.apps.bundle import read_config
from medsegdiff_monai.data import load_cases
from medsegdiff_monai.utils import InputError

from .methods import METHODS

__all__ = ["BUNDLES", "DATASETS", "MAIN_DATASETS", "Cell", "Dataset", "read_configs", "without_files"]

BUNDLES = Path(__file__).resolve().parents[2] / "bundle"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and the bundle that segments it.

    Attributes:
        folder: name of its folder below the folder of data sets.
        bundle: name of the bundle.
        size: input size, or patch size of volumes, of every method.
        overlay: name of the bundle's overlay for it.
        settings: further settings of the bundle's configurations.
        also_test: folders of data sets of the same structures that are tested on as a whole.
        training_cases: number of training cases that are used, drawn by the seed; None for all.
    """

    folder: str
    bundle: str
    size: tuple[int, ...]
    overlay: str | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    also_test: tuple[str, ...] = ()
    training_cases: int | None = None

    def training(self, data: Path, seed: int) -> list[dict[str, Any]]:
        """The training cases.

        Raises:
            InputError: when there are fewer than asked for.
        """
        cases = load_cases(str(data / self.folder), "training")
        if self.training_cases is None:
            return cases
        if self.training_cases > len(cases):
            raise InputError(f"{self.folder} has {len(cases)} training cases, {self.training_cases} were asked for.")
        return random.Random(seed).sample(cases, self.training_cases)


_THYROID, _FUNDUS, _BRAIN = "thyroid_ultrasound_medsegdiff", "fundus_optic_medsegdiff", "brats_mri_medsegdiff"
_DDTI = Dataset("ultrasound_ddti", _THYROID, (96, 96))

DATASETS: dict[str, Dataset] = {
    "ultrasound_ddti": _DDTI,
    "ultrasound_busi": Dataset("ultrasound_busi", _THYROID, (96, 96), settings={"region_values": {"lesion": [1, 255]}}),
    "fundus_palm": Dataset("fundus_palm", _FUNDUS, (128, 128), "disc.json", also_test=("fundus_idrid",)),
    "brain_lgg": Dataset("brain_lgg", _BRAIN, (96, 96, 16), "lgg.json", {"batch_size": 2, "cache_rate": 1.0}),
    "ultrasound_ddti_25": dataclasses.replace(_DDTI, training_cases=25),
    "ultrasound_ddti_60": dataclasses.replace(_DDTI, training_cases=60),
}
# Those of the main table, over which a method has a mean.
MAIN_DATASETS = ("ultrasound_ddti", "ultrasound_busi", "fundus_palm", "brain_lgg")


def read_configs(dataset: Dataset, *names: str, **settings: Any) -> ConfigParser:
    """Configuration of a data set's bundle, its overlay for the data set last; see :func:`read_config`."""
    overlays = [dataset.overlay] if dataset.overlay else []
    return read_config(BUNDLES / dataset.bundle, [*names, *overlays], **settings)


def without_files(parser: ConfigParser) -> list[Any]:
    """The postprocessing of a configuration without the transforms that write masks and maps of a case to files."""
    return [t for t in parser["postprocessing#transforms"] if isinstance(t, str) or "output_dir" not in t]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training and its tests.

    Attributes:
        dataset: name of the data set.
        method: name of the method.
        seed: seed of the run.
        seconds: training time.
        threads: number of threads.
        device: device.
        size: input size in place of the data set's own; None for that.
        section: section of the data set that is tested on: "test", or "validation" where the test images are not to be
            looked at.
        default_only: whether each method is tested with its default number of steps and members alone.
    """

    dataset: str
    method: str
    seed: int
    seconds: float
    threads: int = 1
    device: str = "cpu"
    size: tuple[int, ...] | None = None
    section: str = "test"
    default_only: bool = False

    @property
    def tested_sets(self) -> tuple[str, ...]:
        """Folders of the data sets that are tested on, its own first; others have nothing but test images."""
        dataset = DATASETS[self.dataset]
        return (dataset.folder, *(dataset.also_test if self.section == "test" else ()))

    @property
    def tests(self) -> tuple[tuple[int, int], ...]:
        """Sampler steps and members of each test, the method's default first."""
        tests = METHODS[self.method].tests(len(DATASETS[self.dataset].size))
        return tests[:1] if self.default_only else tests

    @property
    def name(self) -> str:
        """Relative path of the cell's folder."""
        return f"{self.dataset}/{self.method}/seed_{self.seed}"

    def settings(self) -> dict[str, Any]:
        """The overlay of the bundle's configurations, for training and inference alike."""
        dataset = DATASETS[self.dataset]
        size = self.size or dataset.size
        ours = {**read_configs(dataset, "train.json")["denoiser"], "spatial_size": list(size)}
        # What a bundle leaves at the network's defaults, for overlays that build on it.
        ours = {
            "subpixel_factor": 1,
            "additive_skips": False,
            "deep_supervision": 0,
            "mask_channels": ours["channels"],
            "mask_num_res_blocks": ours["num_res_blocks"],
            **ours,
        }
        size_key = "image_size" if len(size) == 2 else "patch_size"
        overlay = METHODS[self.method].overlay(ours, size)
        return {size_key: list(size), **dataset.settings, **overlay}
