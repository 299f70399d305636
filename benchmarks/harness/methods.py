# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The methods that the accuracy benchmark compares, as overlays of the bundles' configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from medsegdiff_monai.networks.blocks import per_level

__all__ = ["MAIN_METHODS", "METHODS", "Method"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method: an overlay of a bundle's configuration and how it is tested.

    Attributes:
        overlay: gives the settings for the denoiser of the bundle's own configuration and an input size.
        tested: sampler steps and members of each test; the first is the method's default.
        tested_3d: those on volumes, where they are others for want of time.
        plain: whether it is a plain segmentation network, which answers in one evaluation.
    """

    overlay: Callable[[dict[str, Any], tuple[int, ...]], dict[str, Any]]
    tested: tuple[tuple[int, int], ...] = ((1, 1),)
    tested_3d: tuple[tuple[int, int], ...] | None = None
    plain: bool = True

    def tests(self, dims: int) -> tuple[tuple[int, int], ...]:
        """Sampler steps and members of each test in 2 or 3 dimensions, the default first."""
        return self.tested if dims == 2 or self.tested_3d is None else self.tested_3d


_ONE_EVALUATION = {"recycling_probability": 0.0, "val_inference_steps": 1}
_PAPER = {
    "signal_scale": 1.0,
    "recycling_probability": 0.0,
    "timestep_power": 1.0,
    "fusion": "staple",
    "val_inference_steps": 10,
    "scheduler": {
        "_target_": "medsegdiff_monai.networks.schedulers.DDPMSubsequenceScheduler",
        "num_train_timesteps": 1000,
        "schedule": "linear_beta",
        "prediction_type": "epsilon",
        "timestep_spacing": "uniform",
    },
    "loss": {"_target_": "torch.nn.MSELoss"},
}


def _plain(network: dict[str, Any], ours: dict[str, Any], divisor: int = 16) -> dict[str, Any]:
    denoiser = {
        "_target_": "medsegdiff_monai.networks.nets.ImageOnlyDenoiser",
        "network": {"spatial_dims": ours["spatial_dims"], "in_channels": ours["context_channels"], **network},
        "out_channels": ours["out_channels"],
        "divisor": divisor,
    }
    return {"denoiser": denoiser, **_ONE_EVALUATION}


def _basic_unet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    return _plain({"_target_": "BasicUNet", "out_channels": ours["out_channels"]}, ours)


def _dropout_unet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    plain = _basic_unet(ours, size)
    plain["denoiser"]["_target_"] = "harness.networks.DropoutDenoiser"
    plain["denoiser"]["network"]["dropout"] = 0.1
    return plain


def _segresnet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    # The widths of the model zoo's brats_mri_segmentation; MONAI's default is half of them.
    return _plain({"_target_": "SegResNet", "init_filters": 16, "out_channels": ours["out_channels"]}, ours, 8)


def _dynunet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    # As nnU-Net plans it: an axis is halved while at least 4 is left. Half of its widths, so that a CPU gets through a
    # comparable number of updates.
    strides: list[list[int]] = [[1] * len(size)]
    left = list(size)
    for _ in range(4):
        strides.append([2 if s >= 8 else 1 for s in left])
        left = [s // d for s, d in zip(left, strides[-1])]
    network = {
        "_target_": "DynUNet",
        "out_channels": ours["out_channels"],
        "kernel_size": [3] * 5,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": [16, 32, 64, 128, 256],
        "deep_supervision": True,
        "deep_supr_num": 2,
    }
    return _plain(network, ours)


def _concatenated(network: dict[str, Any], ours: dict[str, Any], divisor: int) -> dict[str, Any]:
    return {
        "_target_": "harness.networks.ConcatenationDenoiser",
        "network": {
            "spatial_dims": ours["spatial_dims"],
            "in_channels": ours["in_channels"] + ours["context_channels"],
            "out_channels": ours["out_channels"],
            **network,
        },
        "in_channels": ours["in_channels"],
        "divisor": divisor,
    }


def _same_blocks(ours: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A plain U-Net of the blocks of the bundle's denoiser, and its divisor."""
    same = ("channels", "num_res_blocks", "subpixel_factor", "additive_skips", "deep_supervision")
    network = {"_target_": "harness.networks.ConcatenationUNet", **{key: ours[key] for key in same}}
    return network, max(per_level(ours["subpixel_factor"], 1)) * 2 ** (len(ours["channels"]) - 1)


def _concatenation(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    network, divisor = _same_blocks(ours)
    return {"denoiser": _concatenated(network, ours, divisor)}


def _same_blocks_unet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    # What the blocks do without diffusion: the network of "concatenation" on the image alone.
    network, divisor = _same_blocks(ours)
    plain = _plain({**network, "out_channels": ours["out_channels"]}, ours, divisor)
    plain["denoiser"]["network"] = {
        "_target_": "harness.networks.FixedTimestep",
        "network": plain["denoiser"]["network"],
    }
    return plain


def _diffusion_unet(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    # The tutorial's network at half the width at full resolution, which a CPU has no time for.
    network = {
        "_target_": "DiffusionModelUNet",
        "channels": [32, 64, 64],
        "attention_levels": [False, False, True],
        "num_res_blocks": 1,
        "num_head_channels": 64,
    }
    return {**_PAPER, "fusion": "mean", "denoiser": _concatenated(network, ours, 4)}


def _paper(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    # Two equal encoders, Eq. 3 alone, at widths for which a CPU has the time; configs/paper.json has the paper's size.
    channels = ours["channels"] if ours["subpixel_factor"] == 1 else [ours["channels"][0] // 2, *ours["channels"]]
    settings = {
        "channels": channels,
        "num_res_blocks": 1,
        "fusion_levels": [False, True, True, True, False],
        "spatial_size": list(size),
    }
    same = ("_target_", "spatial_dims", "in_channels", "out_channels", "context_channels")
    return {**_PAPER, "denoiser": {**{key: ours[key] for key in same}, **settings}}


def _without(**settings: Any) -> Callable[[dict[str, Any], tuple[int, ...]], dict[str, Any]]:
    return lambda ours, size: {"denoiser": {**ours, **settings}}


def _without_fusion(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    return _without(fusion_levels=[False] * len(ours["channels"]))(ours, size)


def _full_resolution(ours: dict[str, Any], size: tuple[int, ...]) -> dict[str, Any]:
    """A level more in place of the sub-pixels, at half of the next one's width."""
    if ours["subpixel_factor"] == 1:
        return {"denoiser": ours}
    settings: dict[str, Any] = {key: [ours[key][0] // 2, *ours[key]] for key in ("channels", "mask_channels")}
    settings["num_res_blocks"] = [0, *ours["num_res_blocks"]]
    settings["mask_num_res_blocks"] = [0, *ours["mask_num_res_blocks"]]
    settings["fusion_levels"] = [False, *ours["fusion_levels"]]
    return _without(subpixel_factor=1, **settings)(ours, size)


def _training(**settings: Any) -> Callable[[dict[str, Any], tuple[int, ...]], dict[str, Any]]:
    return lambda ours, size: {"denoiser": ours, **settings}


_TESTS = ((4, 5), (1, 1), (1, 5), (2, 5), (10, 1), (10, 5))
_FEW_TESTS = ((4, 5), (1, 1), (1, 5))
_TESTS_3D = ((4, 3), (1, 1), (1, 3))

# What the tables compare, then Monte-Carlo dropout, which benchmarks/calibration.py compares with, and behind it the
# default with one of its settings changed.
METHODS: dict[str, Method] = {
    "medsegdiff": Method(_without(), _TESTS, _TESTS_3D, plain=False),
    "without_dynamic_encoding": Method(_without_fusion, _FEW_TESTS, _TESTS_3D, plain=False),
    "without_ff_parser": Method(_without(use_ff_parser=False), _FEW_TESTS, _TESTS_3D, plain=False),
    "concatenation": Method(_concatenation, _FEW_TESTS, _TESTS_3D, plain=False),
    "basic_unet": Method(_basic_unet),
    "dynunet": Method(_dynunet),
    "segresnet": Method(_segresnet),
    "same_blocks_unet": Method(_same_blocks_unet),
    "paper": Method(_paper, ((50, 5), (10, 5)), ((10, 5),), plain=False),
    "diffusion_unet": Method(_diffusion_unet, ((50, 1), (10, 1)), ((10, 1),), plain=False),
    "mc_dropout_unet": Method(_dropout_unet),
    "recipe_full_resolution": Method(_full_resolution, _FEW_TESTS, _TESTS_3D, plain=False),
    "recipe_equal_encoders": Method(
        _without(mask_channels=None, mask_num_res_blocks=None), _FEW_TESTS, _TESTS_3D, plain=False
    ),
    "recipe_concatenated_skips": Method(_without(additive_skips=False), _FEW_TESTS, _TESTS_3D, plain=False),
    "recipe_one_resolution_supervised": Method(_without(deep_supervision=0), _FEW_TESTS, _TESTS_3D, plain=False),
    "recipe_without_recycling": Method(_training(recycling_probability=0.0), _FEW_TESTS, _TESTS_3D, plain=False),
    "recipe_recycling_always": Method(_training(recycling_probability=1.0), _FEW_TESTS, _TESTS_3D, plain=False),
    # Nearly all batches that are not recycled then have masks that noise hides.
    "recipe_noisier": Method(_training(timestep_power=12.0), _FEW_TESTS, _TESTS_3D, plain=False),
}
MAIN_METHODS = tuple(name for name in METHODS if name != "mc_dropout_unet" and not name.startswith("recipe_"))
