# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Checks bundles against the rules of the MONAI model zoo (make zoo-check)."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundle.zoo_rules import RULES, BundleCopy, explain

from medsegdiff_monai.apps.program import run_program
from medsegdiff_monai.utils import InputError, printable

__all__ = ["Verdict", "check_bundle", "run_zoo_check"]


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a bundle: ``problem`` is empty where it is met, ``checked`` false where a file is missing."""

    bundle: str
    rule: str
    problem: str = ""
    checked: bool = True


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and warnings of MONAI's commands between ours: what is wrong is in the verdicts."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _judge(bundle: BundleCopy, name: str) -> Verdict:
    rule = RULES[name]
    missing = [file for file in rule.needs if not (bundle.root / file).is_file()]
    if missing:
        return Verdict(bundle.name, name, f"not checked without {', '.join(missing)}", checked=False)
    try:
        problems = rule.check(bundle)
    except Exception as e:  # MONAI and the bundle's configs raise whatever they raise
        problems = [explain(e)]
    return Verdict(bundle.name, name, "; ".join(problems).replace(f"{bundle.root}/", ""))


def _folder_of(bundle: str | os.PathLike[str]) -> Path:
    folder = Path(bundle).resolve()
    if not folder.is_dir():
        raise InputError(f"There is no bundle in {bundle}: give the folder of a bundle.")
    return folder


def check_bundle(
    bundle: str | os.PathLike[str],
    schema: str | os.PathLike[str] | None = None,
    rules: Sequence[str] = tuple(RULES),
) -> list[Verdict]:
    """Check a bundle against the rules of the MONAI model zoo, on a copy of it.

    Args:
        bundle: folder of the bundle.
        schema: folder or file of the metadata's schema; by default what the environment variable
            ``MEDSEGDIFF_SCHEMA`` names, or else the folder ``shared/schema`` beside the repository.
        rules: names of the rules to check, out of ``RULES``.

    Returns:
        What each rule says.

    Raises:
        InputError: when there is no such folder.
    """
    folder = _folder_of(bundle)
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        root, work = Path(temporary) / "bundle" / folder.name, Path(temporary) / "work"
        shutil.copytree(folder, root, symlinks=True)
        work.mkdir()
        copy = BundleCopy(folder.name, root, work, None if schema is None else Path(schema))
        return [_judge(copy, rule) for rule in rules]


def run_zoo_check(*bundles: str, schema: str | None = None) -> None:
    """Check bundles against the rules of the MONAI model zoo and print what each rule says.

    Args:
        bundles: folders of the bundles.
        schema: folder or file of the metadata's schema; by default what MEDSEGDIFF_SCHEMA names, or else the folder
            shared/schema beside the repository.

    Raises:
        InputError: when no bundle is given, a folder is missing or a rule is not met.
    """
    if not bundles:
        raise InputError("Give the folder of at least one bundle.")
    verdicts: list[Verdict] = []
    for folder in [_folder_of(bundle) for bundle in bundles]:
        print(f"Checking {printable(folder.name)} ...", flush=True)
        verdicts += check_bundle(folder, schema)
    width = max(len(v.bundle) for v in verdicts)
    for v in verdicts:
        print(f"{printable(v.bundle):<{width}}  {v.rule:<11}  {printable(v.problem or 'ok')}")
    failed = [f"{v.bundle}/{v.rule}" for v in verdicts if v.problem]
    if failed:
        raise InputError(f"{len(failed)} of {len(verdicts)} rules are not met ({', '.join(failed)}): see the table.")


if __name__ == "__main__":
    run_program("zoo_check", lambda: run_zoo_check)
