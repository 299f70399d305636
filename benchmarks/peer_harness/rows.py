# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The rows of the benchmark's tables: which method answers which image, with which settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CASES", "Case", "Row", "row_of", "table_rows"]

BUNDLES = Path(__file__).resolve().parents[2] / "bundle"
PARTIAL_STEPS = 4


@dataclass(frozen=True)
class Case:
    """An image to segment.

    Args:
        title: what is segmented.
        bundle: name of the bundle that gives the channels, the regions and this project's network.
        phantom: kind of the phantom that is segmented.
        size: usual size.
    """

    title: str
    bundle: str
    phantom: str
    size: tuple[int, ...]

    @property
    def folder(self) -> Path:
        """Folder of the bundle."""
        return BUNDLES / self.bundle


CASES = {
    "2d": Case("One fused mask", "thyroid_ultrasound_medsegdiff", "ultrasound", (256, 256)),
    "3d": Case("One volume of four contrasts", "brats_mri_medsegdiff", "brain", (128, 128, 64)),
}


@dataclass(frozen=True)
class Row:
    """One measurement, made in a process of its own.

    Args:
        key: short name.
        title: what the tables and plots call it.
        method: name of the method in ``methods.py``.
        case: name of the case.
        size: size of the image.
        settings: settings of the method.
        partial_steps: number of sampler steps that are run of a longer chain, whose cost is then calculated; None runs
            the whole.
        threads: number of threads.
        device: where the network runs, ``"cpu"`` or ``"cuda"``.
        keep_memory: whether the process keeps freed memory for what comes next.
        sweep: name of the sweep that the row is part of, empty for the table.
        position: where the row is on the axis of its sweep.
    """

    key: str
    title: str
    method: str
    case: str
    size: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    partial_steps: int | None = None
    threads: int = 1
    device: str = "cpu"
    keep_memory: bool = True
    sweep: str = ""
    position: float = 0.0


def row_of(content: dict[str, Any]) -> Row:
    """A row from what JSON has kept of it."""
    return Row(**{**content, "size": tuple(content["size"])})


def _ours(**config: Any) -> dict[str, Any]:
    return {"config": config}


def _diffusion(steps: int, members: int, **sampler: Any) -> dict[str, Any]:
    return {"steps": steps, "members": members, **sampler}


# key, title, method, settings, whether the chain is too long to be run whole
_TABLE: dict[str, list[tuple[str, str, str, dict[str, Any], bool]]] = {
    "2d": [
        ("default", "MedSegDiff", "medsegdiff", {}, False),
        ("bf16", "MedSegDiff, bf16 autocast", "medsegdiff", {"dtype": "bfloat16"}, False),
        (
            "channels_first",
            "MedSegDiff, channels first",
            "medsegdiff",
            _ours(**{"network_def#channels_last": False}),
            False,
        ),
        ("memory_returned", "MedSegDiff, freed memory given back", "medsegdiff", {}, False),
        ("fast", "MedSegDiff, fast mode", "medsegdiff", _ours(num_inference_steps=1, num_ensemble=1), False),
        ("onnx", "MedSegDiff, ONNX Runtime", "onnx", {}, False),
        ("paper", "MedSegDiff, paper's recipe (S)", "medsegdiff", {"overlays": ["paper.json"]}, True),
        (
            "paper_b",
            "MedSegDiff, paper's recipe (B)",
            "medsegdiff",
            {"overlays": ["paper.json"], "config": {"denoiser#name": "B"}},
            True,
        ),
        ("med_seg_diff", "med-seg-diff-pytorch, DDPM", "med_seg_diff_pytorch", _diffusion(1000, 5), True),
        ("med_seg_diff_ddim", "med-seg-diff-pytorch, DDIM", "med_seg_diff_pytorch", _diffusion(50, 5), True),
        ("diffusion_unet", "MONAI DiffusionModelUNet, DDPM", "diffusion_model_unet", _diffusion(1000, 5), True),
        ("basic_unet", "MONAI BasicUNet", "basic_unet", {}, False),
    ],
    "3d": [
        ("default", "MedSegDiff", "medsegdiff", {}, False),
        ("bf16", "MedSegDiff, bf16 autocast", "medsegdiff", {"dtype": "bfloat16"}, False),
        ("fast", "MedSegDiff, fast mode", "medsegdiff", _ours(num_inference_steps=1, num_ensemble=1), False),
        ("paper", "MedSegDiff, paper's recipe (S, by slices)", "medsegdiff", {"overlays": ["paper.json"]}, True),
        ("med_seg_diff", "med-seg-diff-pytorch, DDPM, by slices", "med_seg_diff_pytorch", _diffusion(1000, 3), True),
        ("diffusion_unet", "MONAI DiffusionModelUNet, DDPM", "diffusion_model_unet", _diffusion(1000, 3), True),
        ("basic_unet", "MONAI BasicUNet", "basic_unet", {}, False),
    ],
}


def table_rows(
    case: str,
    size: Sequence[int] | None = None,
    threads: int = 1,
    partial_steps: int | None = PARTIAL_STEPS,
    window: int | None = None,
    onnx: str | None = None,
) -> list[Row]:
    """The rows of one case's table.

    Args:
        case: name of the case.
        size: size of the image; the case's own by default.
        threads: number of threads.
        partial_steps: number of steps that are run of chains that are too long; None runs all.
        window: side of the windows of volumes; the bundle's own by default.
        onnx: file for ONNX Runtime.
    """
    rows = []
    for key, title, method, settings, long in _TABLE[case]:
        given = dict(settings)
        if method == "medsegdiff" and case == "3d" and window is not None:
            given["window"] = window
        if method == "onnx":
            given["file"] = onnx
        limit = partial_steps if long else None
        shape, keep = tuple(size or CASES[case].size), key != "memory_returned"
        rows.append(Row(key, title, method, case, shape, given, limit, threads, keep_memory=keep))
    return rows
