# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from medsegdiff_monai.data import Regions
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["add_bundle", "label_values", "prepare_app"]

# What is labelled where a region lies outside the regions within it; other regions keep their names.
_OWN_PARTS = {"TC": "necrotic core", "WT": "oedema", "ET": "enhancing tumour", "disc": "disc rim"}
_REQUEST_OPTIONS = ("num_inference_steps", "num_ensemble")
_MAIN = "from medsegdiff_monai.apps.label.app import MedSegDiffLabelApp\n"
_LOADER = "medsegdiff_monai.apps.label.LoadStudyd"
_LEFT_BEHIND = shutil.ignore_patterns("eval", "data", "last.pt", "__pycache__")


def prepare_app(app: str | os.PathLike[str], bundles: Sequence[str | os.PathLike[str]]) -> Path:
    """Make a MONAI Label app of this project's bundles, or add them to an app that is there.

    An app without ``main.py`` gets that of this project, whose strategy offers the most uncertain image first; MONAI
    Label's own ``monaibundle`` app takes the bundles as well. They are copied into ``model``, as training changes them.

    Returns:
        Folder of the app.
    """
    folder = check_writable(app)
    if not bundles:
        raise InputError("No bundle is given: name the folder of one at least.")
    models = check_writable(folder / "model")
    for bundle in bundles:
        add_bundle(bundle, models)
    if not (folder / "main.py").exists():
        replace_atomically(folder / "main.py", lambda partial: partial.write_text(_MAIN, encoding="utf-8"))
    return folder


def add_bundle(bundle: str | os.PathLike[str], models: Path) -> None:
    """Copy a bundle and fit the copy's configurations to MONAI Label.

    MONAI Label takes the label values and their names from ``channel_def`` of ``pred``, writes ``pred`` itself, and
    offers ``displayable_configs`` to the annotator. The label map numbers its classes 1, 2, ... without a gap, as
    viewers number the segments that they save; training reads these numbers.
    """
    source = Path(bundle).resolve()
    copy = models / source.name
    if not (source / "configs" / "inference.json").is_file() or not (source / "models" / "model.pt").is_file():
        raise InputError(f"There is no bundle with weights in {source}: give the folder that holds configs and models.")
    if copy.exists():
        raise InputError(f"{copy} exists and may hold weights that were trained on: move it away or take another app.")
    partial = models / f".{source.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(source, partial, ignore=_LEFT_BEHIND)
        _fit(partial / "configs")
        os.rename(partial, copy)
    except OSError as e:  # shutil's own holds those of all files
        raise InputError(f"Cannot copy {source} to {copy}: free space or take another app.") from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def label_values(region_values: Mapping[str, Sequence[int]]) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Regions and named classes of a label map that numbers its classes 1, 2, ... in the order of their values.

    Returns label values of each region in the new numbers, and the number of each class by its name.
    """
    regions = Regions(region_values)
    own = sorted(regions.own_values.items(), key=lambda item: item[1])
    numbers = {value: number for number, (_, value) in enumerate(own, start=1)}
    renumbered = {name: [numbers[v] for v in values if v in numbers] for name, values in regions.items()}
    return renumbered, {_OWN_PARTS.get(name, name): numbers[value] for name, value in own}


def _fit(configs: Path) -> None:
    files = {name: configs / f"{name}.json" for name in ("metadata", "inference", "train")}
    fitted = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    regions, classes = label_values(fitted["inference"]["region_values"])
    channels = {"0": "background"} | {str(number): name for name, number in classes.items()}
    fitted["metadata"]["network_data_format"]["outputs"]["pred"]["channel_def"] = channels
    inference = fitted["inference"]
    options = {name: inference[name] for name in _REQUEST_OPTIONS}
    inference |= {name: f"@displayable_configs#{name}" for name in _REQUEST_OPTIONS}
    inference |= {"displayable_configs": options, "region_values": regions, "output_dir": None}
    inference["load"]["_target_"] = _LOADER
    inference["postprocessing"]["transforms"] += [
        {"_target_": "DeleteItemsd", "keys": "pred"},
        {"_target_": "CopyItemsd", "keys": "segmentation", "names": "pred"},
        {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0},
    ]
    training = fitted["train"]
    training["train"]["trainer"]["max_epochs"] = training["max_epochs"]
    # The app inserts a loader that skips what does not fit, which is all of it here, unless there is one of that name.
    training["train"]["handlers"].insert(0, {"_target_": "CheckpointLoader", "_disabled_": True})
    training["load"]["_target_"] = _LOADER
    training["best_model"]["path"] = "$@bundle_root + '/models/model.pt'"
    training |= {
        "region_values": regions,
        "max_epochs": "@train#trainer#max_epochs",
        "val_interval": 1,
        "finetune_from": "$@bundle_root + '/models/model.pt'",
        # Any other file in models is offered as a model, first of all to the app itself.
        "ckpt_dir": "$@bundle_root + '/training'",
    }
    for name, config in fitted.items():
        files[name].write_text(json.dumps(config, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
