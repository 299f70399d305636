# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle.zoo_check import check_bundle, run_zoo_check
from bundle.zoo_rules import RULES
from monai.bundle import ConfigParser

from bundle import zoo_check, zoo_rules
from medsegdiff_monai.utils import InputError

QUICK = ("files", "metadata", "readme", "keys", "sizes", "paths")
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "properties": {"authors": {"type": "string"}, "network_data_format": {"type": "object"}},
    "required": ["authors", "version"],
}
META, TRAIN, README = "configs/metadata.json", "configs/train.json", "docs/README.md"
INFERENCE, PACKAGES = "configs/inference.json", "required_packages_version"


@pytest.fixture
def bundle(thyroid_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the thyroid bundle, without what local runs leave in it."""
    leftovers = shutil.ignore_patterns("eval", "last.pt", "__pycache__")
    return Path(shutil.copytree(thyroid_bundle, tmp_path / thyroid_bundle.name, ignore=leftovers))


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """Folder of a small schema under the zoo's name."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "meta_schema_20240725.json").write_text(json.dumps(SCHEMA))
    return tmp_path / "schema"


def edit(bundle: Path, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((bundle / file).read_text())
    change(content)
    (bundle / file).write_text(json.dumps(content, indent=4))


def replace(bundle: Path, file: str, old: str, new: str) -> None:
    text = (bundle / file).read_text()
    assert old in text
    (bundle / file).write_text(text.replace(old, new))


def append(bundle: Path, file: str, text: str) -> None:
    (bundle / file).parent.mkdir(exist_ok=True)
    with (bundle / file).open("a") as f:
        f.write(text)


def sparse(bundle: Path, file: str, size: int) -> None:
    (bundle / file).touch()
    os.truncate(bundle / file, size)


def complaints(bundle: Path, schema: Path, rules: tuple[str, ...] = QUICK) -> dict[str, str]:
    return {v.rule: v.problem for v in check_bundle(bundle, schema, rules) if v.problem}


BREAKS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "no data licence": (lambda b: (b / "docs/data_license.txt").unlink(), "files", "add docs/data_license.txt"),
    "no licence": (lambda b: (b / "LICENSE").unlink(), "files", "add LICENSE"),
    "no changelog entry": (lambda b: edit(b, META, lambda m: m["changelog"].clear()), "metadata", "no entry of"),
    "no intended use": (lambda b: edit(b, META, lambda m: m.pop("intended_use")), "metadata", "no 'intended_use'"),
    "no packages": (lambda b: edit(b, META, lambda m: m.pop(PACKAGES)), "metadata", f"no '{PACKAGES}'"),
    "authors as a list": (lambda b: edit(b, META, lambda m: m.update(authors=[])), "metadata", "at authors"),
    "no authors": (lambda b: edit(b, META, lambda m: m.pop("authors")), "metadata", "at its top: 'authors' is a req"),
    "an older schema": (lambda b: replace(b, META, "schema_20240725", "schema_20220324"), "metadata", "to be the URL"),
    "no performance": (lambda b: replace(b, README, "## Performance", "## Speed"), "readme", "'## Performance'"),
    "section in a fence": (
        lambda b: replace(b, README, "# License\n", "```\n# License\n```\n"),
        "readme",
        "'# License'",
    ),
    "no export command": (lambda b: replace(b, README, "_export ", "-export "), "readme", "command for export"),
    "no inference command": (
        lambda b: replace(b, README, "--config_file configs/inference.json --bundle_root . --dataset_dir", "--dir"),
        "readme",
        "command for inference",
    ),
    "no validation interval": (lambda b: edit(b, TRAIN, lambda c: c.pop("val_interval")), "keys", "no 'val_interval'"),
    "no epochs": (
        lambda b: edit(b, TRAIN, lambda c: c["train"]["trainer"].pop("max_epochs")),
        "keys",
        "no 'train#trainer#max_epochs'",
    ),
    "no inferer": (lambda b: edit(b, INFERENCE, lambda c: c.pop("inferer")), "keys", "inference.json has no 'inferer'"),
    "26 MB": (lambda b: sparse(b, "models/other.pt", 26 * 10**6), "sizes", "models/other.pt has 26.0 MB"),
    "one byte too many": (lambda b: sparse(b, "models/other.pt", 25 * 10**6 + 1), "sizes", "models/other.pt has 25.0"),
    "resumable checkpoint": (lambda b: append(b, "models/last.pt", "x"), "sizes", "models/last.pt does not belong"),
    "results": (lambda b: append(b, "eval/a_seg.png", "x"), "sizes", "^eval does not belong"),
    "log": (lambda b: append(b, "docs/events.out.tfevents.1", "x"), "sizes", "events.out.tfevents.1 does not"),
    "home in a config": (
        lambda b: edit(b, TRAIN, lambda c: c["train"].update(cache="/home/me/cache")),
        "paths",
        "configs/train.json line .* \\(/home\\)",
    ),
    "home in the README": (lambda b: append(b, README, "\nSee ~/data.\n"), "paths", "README.md line .* \\(~/"),
    "drive letter": (lambda b: append(b, "LICENSE", "\nC:\\data\n"), "paths", "LICENSE line .* \\(C:"),
    "workspace": (lambda b: append(b, README, "\n--dataset_dir /workspace\n"), "paths", "\\(/workspace\\)"),
    "working folder": (
        lambda b: edit(b, TRAIN, lambda c: c.update(ckpt_dir="models")),
        "paths",
        "'ckpt_dir' in configs",
    ),
}


def test_unbroken_bundle_meets_the_quick_rules(bundle: Path, schema: Path) -> None:
    assert complaints(bundle, schema) == {}
    assert [v.rule for v in check_bundle(bundle, schema, QUICK)] == list(QUICK)


@pytest.mark.parametrize("name", BREAKS)
def test_one_broken_rule_complains_and_no_other(bundle: Path, schema: Path, name: str) -> None:
    damage, rule, message = BREAKS[name]
    damage(bundle)
    found = complaints(bundle, schema)
    assert list(found) == [rule]
    with pytest.raises(ValueError, match=message):
        raise ValueError(found[rule])


def test_what_only_looks_like_a_personal_path_passes(bundle: Path, schema: Path) -> None:
    append(bundle, README, "\nhttps://a.org/home/x <https://a.org/~me/> data/home/x /homes ~5/6 px $~mask ~~old~~\n")
    append(bundle, "models/bytes.bin", "\0/home/me")
    sparse(bundle, "models/other.pt", 25 * 10**6)
    assert complaints(bundle, schema) == {}


def test_keys_of_an_overlay_form_count(bundle: Path, schema: Path) -> None:
    edit(bundle, TRAIN, lambda c: c.update({"validate#handlers": c["validate"].pop("handlers")}))
    assert complaints(bundle, schema) == {}


def test_broken_json_is_named(bundle: Path, schema: Path) -> None:
    append(bundle, TRAIN, ",")
    assert complaints(bundle, schema, ("keys",))["keys"].startswith("configs/train.json is not valid JSON")


def test_rules_that_miss_their_file_say_so_and_are_not_met(bundle: Path, schema: Path) -> None:
    (bundle / META).unlink()
    verdicts = {v.rule: v for v in check_bundle(bundle, schema)}
    assert verdicts["files"].problem == "files are missing: add configs/metadata.json"
    unchecked = {rule for rule, v in verdicts.items() if not v.checked}
    assert unchecked == {"metadata", "network", "torchscript", "properties"}
    assert {verdicts[rule].problem for rule in unchecked} == {"not checked without configs/metadata.json"}
    assert all(not verdicts[rule].problem for rule in RULES if rule not in unchecked | {"files"})


def test_schema_is_found_by_option_then_environment(
    bundle: Path, schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    monkeypatch.setenv("MEDSEGDIFF_SCHEMA", str(nowhere))
    (verdict,) = check_bundle(bundle, rules=["metadata"])
    url = json.loads((bundle / META).read_text())["schema"]
    assert verdict.problem == (
        f"{nowhere}/meta_schema_20240725.json does not exist: download {url} and give its path as --schema"
    )
    assert complaints(bundle, schema, ("metadata",)) == {}
    for given in (schema, schema / "meta_schema_20240725.json"):
        monkeypatch.setenv("MEDSEGDIFF_SCHEMA", str(given))
        assert not check_bundle(bundle, rules=["metadata"])[0].problem
    assert "does not exist" in complaints(bundle, nowhere, ("metadata",))["metadata"]


def test_absent_jsonschema_is_said(bundle: Path, schema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    assert complaints(bundle, schema, ("metadata",))["metadata"].startswith("jsonschema is not installed")


def test_output_that_the_metadata_does_not_declare_is_found(bundle: Path, schema: Path) -> None:
    edit(bundle, META, lambda m: m["network_data_format"]["outputs"]["pred"].update(num_channels=2))
    found = complaints(bundle, schema, (*QUICK, "network"))
    assert list(found) == ["network"]
    assert "output channel number `1` doesn't match: `2`" in found["network"]


def test_weights_of_another_shape_are_found(bundle: Path, schema: Path) -> None:
    path = bundle / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    name = next(k for k, v in weights.items() if v.ndim == 4)
    torch.save({**weights, name: weights[name][..., :1]}, path)
    found = complaints(bundle, schema, tuple(RULES))
    assert list(found) == ["torchscript"]
    assert "models/model.pt was made for another architecture" in found["torchscript"]
    assert "1 of another shape" in found["torchscript"]
    assert str(bundle.parent) not in found["torchscript"]


def test_export_of_other_weights_is_found(bundle: Path, schema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``ckpt_export`` does where no name matches: it writes the network with random weights and says nothing."""

    def export(filepath: Path, config_file: str, **kwargs: Any) -> None:
        torch.manual_seed(0)
        parser = ConfigParser()
        parser.read_config(config_file)
        torch.jit.save(torch.jit.script(parser.get_parsed_content("network_def").eval()), str(filepath))

    monkeypatch.setattr(zoo_rules, "ckpt_export", export)
    assert "differs from the network by" in complaints(bundle, schema, ("torchscript",))["torchscript"]


def test_properties_that_nothing_refers_to_are_found(bundle: Path, schema: Path) -> None:
    def rename(config: dict[str, Any]) -> None:
        config["final"] = config.pop("postprocessing")
        config["evaluator"]["postprocessing"] = "@final"

    edit(bundle, INFERENCE, rename)
    found = complaints(bundle, schema, (*QUICK, "properties"))
    message = "lacks the properties postprocessing: add or reference them"
    both = f"{INFERENCE} {message}; {INFERENCE} with configs/evaluate.json {message}"
    assert found == {"properties": both}


def test_config_that_does_not_build_is_named_with_its_component(bundle: Path, schema: Path) -> None:
    edit(bundle, "configs/evaluate.json", lambda c: c.update(inferer={"_target_": "SimpleInferer", "mode": 1}))
    problem = complaints(bundle, schema, ("properties",))["properties"]
    assert problem.startswith("configs/inference.json with configs/evaluate.json does not build a workflow")
    assert "SimpleInferer" in problem
    assert "'mode'" in problem


def test_bundle_of_unknown_kind_is_refused(bundle: Path, schema: Path) -> None:
    other = bundle.rename(bundle.parent / "liver_ct")
    assert "no phantoms are known for liver_ct" in complaints(other, schema, ("properties",))["properties"]


def test_table_has_a_line_for_each_rule_and_the_bundle_stays(
    bundle: Path, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def digests() -> dict[Path, str]:
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in bundle.rglob("*")}

    before = digests()
    run_zoo_check(str(bundle), schema=str(schema))
    assert digests() == before
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["Checking", bundle.name, "..."], *([bundle.name, rule, "ok"] for rule in RULES)]


def test_broken_rules_are_listed_in_one_sentence(
    bundle: Path, schema: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Path(shutil.copytree(bundle, bundle.parent / "broken" / bundle.name))
    (broken / "LICENSE").unlink()
    monkeypatch.setattr(zoo_check, "check_bundle", lambda b, s: check_bundle(b, s, ["files", "keys"]))
    with pytest.raises(InputError, match=f"^1 of 4 rules are not met \\({bundle.name}/files\\)"):
        run_zoo_check(str(bundle), str(broken), schema=str(schema))
    assert capsys.readouterr().out.count(" ok\n") == 3


def test_program_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one bundle"):
        run_zoo_check()
    command = [sys.executable, "-m", "bundle.zoo_check", str(tmp_path / "absent")]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert result.stderr.strip() == f"Error: There is no bundle in {tmp_path}/absent: give the folder of a bundle."
