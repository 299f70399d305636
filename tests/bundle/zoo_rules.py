# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out

from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.utils import InputError, find_input_error, reason_of

__all__ = ["RULES", "BundleCopy", "Rule", "explain"]

_META, _TRAIN, _INFERENCE, _EVALUATE = (f"configs/{n}.json" for n in ("metadata", "train", "inference", "evaluate"))
_README, _WEIGHTS = "docs/README.md", "models/model.pt"
_FILES = (
    *(_META, _TRAIN, _INFERENCE, _EVALUATE, "configs/multi_gpu_train.json", "configs/logging.conf"),
    *(_README, "docs/data_license.txt", "LICENSE", _WEIGHTS),
)
_SCHEMA = "meta_schema_20240725.json"
_SCHEMA_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "schema"  # beside the repository
_META_KEYS = ("required_packages_version", "supported_apps", "name", "intended_use")
_SECTIONS = ("# Model Overview", "## Data", "## Performance", "## MONAI Bundle Commands", "# References", "# License")
_FENCED = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMANDS = {
    "train": r"monai\.bundle run\b.*configs/train\.json",
    "evaluate": r"monai\.bundle run\b.*configs/evaluate\.json",
    "inference": r"monai\.bundle run\b(?!.*evaluate\.json).*configs/inference\.json",
    "export": r"monai\.bundle \w+_export\b",
}
_COMMON_KEYS = ("bundle_root", "device", "dataset_dir")
_KEYS = {
    _INFERENCE: (*_COMMON_KEYS, "dataset", "evaluator", "network_def", "inferer", "output_dir"),
    _TRAIN: (
        *(*_COMMON_KEYS, "val_interval", "train#trainer", "train#trainer#max_epochs", "train#dataset#data"),
        *("train#inferer", "train#handlers", "validate#evaluator", "validate#dataset#data", "validate#handlers"),
    ),
}
_TOLERANCE = 1e-5
_MAX_BYTES = 25 * 10**6
_FOREIGN = re.compile(r"last\.pt|eval|__pycache__|events\.out.*|\.DS_Store")
_PHANTOMS = {"ultrasound": ("ultrasound", 64), "fundus": ("fundus", 64), "brats": ("brain", 32)}
_WORKFLOWS = (((_TRAIN,), "train"), ((_INFERENCE,), "infer"), ((_INFERENCE, _EVALUATE), "eval"))
_URL = re.compile(r"https?://[^\s\"'<>)]*")
_PERSONAL_PATH = re.compile(
    r"(?<![\w.])/(?:home|Users|root|mnt|workspace)(?![\w-])"  # of a Unix machine
    r"|(?<![A-Za-z0-9])[A-Za-z]:[\\/]"  # a drive letter
    r"|(?<![\w~])~(?:(?:[A-Za-z_][\w.-]*)?/|(?=[\"'\s]|$))"  # a home folder; "~5" is a number
)


@dataclass(frozen=True)
class BundleCopy:
    """A copy of a bundle, which a rule may run and write into.

    Args:
        name: name of the bundle, which is that of its folder.
        root: folder of the copy.
        work: folder for what a rule writes.
        schema: folder or file of the metadata's schema; None looks for it.
    """

    name: str
    root: Path
    work: Path
    schema: Path | None = None

    def path(self, file: str) -> str:
        """Path of one of its files."""
        return str(self.root / file)

    def json(self, file: str) -> dict[str, Any]:
        """Content of one of its JSON files."""
        return _read_json(self.root / file, file)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise InputError(f"{name} is not valid JSON ({e}): mend it") from e
    if not isinstance(content, dict):
        raise InputError(f"{name} does not hold a JSON object: write one")
    return content


def explain(error: Exception) -> str:
    """One line that says why: what MONAI was doing, and the exception behind it."""
    outer = str(error).partition("\n")[0]
    return reason_of(error) if find_input_error(error) or error.__cause__ is None else f"{outer}: {reason_of(error)}"


def _check_files(bundle: BundleCopy) -> list[str]:
    missing = [file for file in _FILES if not (bundle.root / file).is_file()]
    return [f"files are missing: add {', '.join(missing)}"] if missing else []


def _check_metadata(bundle: BundleCopy) -> list[str]:
    metadata = bundle.json(_META)
    problems = [f"{_META} has no '{key}': add it" for key in _META_KEYS if key not in metadata]
    if metadata.get("version") not in metadata.get("changelog", {}):
        problems.append(f"the changelog in {_META} has no entry of version {metadata.get('version')}: add it")
    url = str(metadata.get("schema", ""))
    if not url.endswith(f"/{_SCHEMA}"):
        return [*problems, f"the schema in {_META} is {url!r}: it has to be the URL of {_SCHEMA}"]
    given = Path(bundle.schema or os.environ.get("MEDSEGDIFF_SCHEMA") or _SCHEMA_FOLDER)
    schema = given / _SCHEMA if given.is_dir() else given
    if not schema.is_file():
        return [*problems, f"{schema} does not exist: download {url} and give its path as --schema"]
    return problems + _schema_problems(bundle, metadata, schema)


def _schema_problems(bundle: BundleCopy, metadata: dict[str, Any], schema: Path) -> list[str]:
    """What the schema refuses, in words; where that is nothing, MONAI's own check has to agree."""
    try:
        from jsonschema.validators import validator_for
    except ImportError as e:
        raise InputError("jsonschema is not installed: run pip install jsonschema") from e
    rules = _read_json(schema, str(schema))
    errors = sorted(validator_for(rules)(rules).iter_errors(metadata), key=lambda e: [str(p) for p in e.path])
    if not errors:
        copy = shutil.copyfile(schema, bundle.work / "schema.json")  # where it exists, MONAI downloads nothing
        verify_metadata(meta_file=bundle.path(_META), filepath=copy)
    return [f"{_META} at {'#'.join(map(str, e.path)) or 'its top'}: {e.message[:200]}" for e in errors]


def _check_readme(bundle: BundleCopy) -> list[str]:
    text = (bundle.root / _README).read_text(encoding="utf-8")
    headings = [line.rstrip() for line in _FENCED.sub("", text).splitlines()]
    problems = [f"{_README} has no section '{s}': add it" for s in _SECTIONS if s not in headings]
    blocks = _FENCED.findall(text.partition("\n## MONAI Bundle Commands")[2])
    commands = "\n".join(blocks).replace("\\\n", " ")
    for name, pattern in _COMMANDS.items():
        if not re.search(pattern, commands):
            problems.append(f"{_README} has no fenced command for {name} under MONAI Bundle Commands: add it")
    return problems


def _check_keys(bundle: BundleCopy) -> list[str]:
    problems = []
    for file, keys in _KEYS.items():
        bundle.json(file)  # says which file is broken, where the parser does not
        parser = ConfigParser()
        parser.read_config(bundle.path(file))
        problems += [f"{file} has no '{key}': add it" for key in keys if key not in parser]
    return problems


def _check_network(bundle: BundleCopy) -> list[str]:
    verify_net_in_out(
        net_id="network_def",
        meta_file=bundle.path(_META),
        config_file=bundle.path(_INFERENCE),
        device="cpu",
        bundle_root=str(bundle.root),
    )
    return []


def _check_torchscript(bundle: BundleCopy) -> list[str]:
    """MONAI's export skips weights that do not match, so they are loaded strictly and the outputs compared."""
    parser = ConfigParser()
    parser.read_config(bundle.path(_INFERENCE))
    parser["bundle_root"] = str(bundle.root)
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, bundle.path(_WEIGHTS))
    exported = bundle.work / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=exported,
        ckpt_file=bundle.path(_WEIGHTS),
        meta_file=bundle.path(_META),
        config_file=bundle.path(_INFERENCE),
        bundle_root=str(bundle.root),
    )
    scripted = torch.jit.load(exported).eval()
    declared = bundle.json(_META)["network_data_format"]["inputs"]["image"]
    spatial = [2 * network.divisor] * len(declared["spatial_shape"])
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, declared["num_channels"], *spatial, generator=generator)
    noise = torch.randn(1, 2, network.mask_channels, *spatial, generator=generator)
    with torch.no_grad():
        difference = float((scripted(image, noise) - network(image, noise)).abs().max())
    if difference <= _TOLERANCE:
        return []
    return [f"the TorchScript form of {_WEIGHTS} differs from the network by {difference:.1g}: mend the export"]


def _check_sizes(bundle: BundleCopy) -> list[str]:
    problems: dict[str, None] = {}  # one sentence for all files of a folder
    for path in sorted(p for p in bundle.root.rglob("*") if p.is_file()):
        file = path.relative_to(bundle.root)
        foreign = next((i for i, part in enumerate(file.parts) if _FOREIGN.fullmatch(part)), None)
        if foreign is not None:
            problems[f"{'/'.join(file.parts[: foreign + 1])} does not belong into a bundle: delete it"] = None
        elif path.stat().st_size > _MAX_BYTES:
            problems[f"{file.as_posix()} has {path.stat().st_size / 1e6:.1f} MB: the zoo takes 25"] = None
    return list(problems)


def _check_properties(bundle: BundleCopy) -> list[str]:
    found = [phantoms for part, phantoms in _PHANTOMS.items() if part in bundle.name]
    if not found:
        raise InputError(f"no phantoms are known for {bundle.name}: its name has to hold {' or '.join(_PHANTOMS)}")
    kind, size = found[0]
    data = write_phantoms(bundle.work / "data", kind, 4, 2, 2, size).parent
    problems = []
    for files, workflow_type in _WORKFLOWS:
        try:
            wrong = _wrong_properties(bundle, files, workflow_type, data)
        except Exception as e:  # a config runs whatever it names
            raise InputError(f"{' with '.join(files)} does not build a workflow ({explain(e)}): mend it") from e
        if wrong:
            problems.append(f"{' with '.join(files)} lacks the properties {', '.join(wrong)}: add or reference them")
    return problems


def _wrong_properties(bundle: BundleCopy, files: Sequence[str], workflow_type: str, data: Path) -> list[str]:
    workflow = ConfigWorkflow(
        [bundle.path(f) for f in files],
        workflow_type=workflow_type,
        logging_file=False,
        initialize=[],  # nothing that outlives the check, such as a seed or a hook
        bundle_root=str(bundle.root),
        dataset_dir=str(data),
        output_dir=str(bundle.work / "results"),
        ckpt_dir=str(bundle.work / "models"),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    return workflow.check_properties() or []


def _check_paths(bundle: BundleCopy) -> list[str]:
    problems = []
    for path in sorted(p for p in bundle.root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            if personal := _PERSONAL_PATH.search(_URL.sub("", line)):
                where = f"{path.relative_to(bundle.root).as_posix()} line {number}"
                problems.append(f"{where} has a path of one machine ({personal[0].strip()}): make it relative")
    for path in sorted((bundle.root / "configs").glob("*.json")):
        for key, value in bundle.json(f"configs/{path.name}").items():
            is_path = isinstance(value, str) and (key.endswith("_dir") or key in ("bundle_root", "checkpoint"))
            if is_path and not value.startswith(("@", "$@")) and (key, value) != ("bundle_root", "."):
                problems.append(f"'{key}' in configs/{path.name} is {value!r}: start it from @bundle_root")
    return problems


@dataclass(frozen=True)
class Rule:
    """A rule of the model zoo.

    Args:
        check: gives what is wrong with a bundle, a sentence each; an exception it raises is one more such sentence.
        needs: files without which it cannot be checked.
    """

    check: Callable[[BundleCopy], list[str]]
    needs: tuple[str, ...] = ()


RULES = {
    "files": Rule(_check_files),
    "metadata": Rule(_check_metadata, (_META,)),
    "readme": Rule(_check_readme, (_README,)),
    "keys": Rule(_check_keys, (_TRAIN, _INFERENCE)),
    "sizes": Rule(_check_sizes),
    "paths": Rule(_check_paths),
    "network": Rule(_check_network, (_META, _INFERENCE)),
    "torchscript": Rule(_check_torchscript, (_META, _INFERENCE, _WEIGHTS)),
    "properties": Rule(_check_properties, (_META, _TRAIN, _INFERENCE, _EVALUATE)),
}
