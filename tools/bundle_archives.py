# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""A zip of each bundle as the model zoo hands it out: ``make bundles``.

``dist/<bundle>_v<version>.zip`` holds the folder of the bundle with the files that git knows, so no caches and no
results. The same files give the same bytes: entries are sorted, and their times and modes are fixed.
``dist/SHA256SUMS`` has the hashes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can state
_MODE = 0o100644


def bundle_files(bundle: Path) -> list[Path]:
    """Files of a bundle that git knows, sorted by name."""
    command = ["git", "-C", str(bundle), "ls-files", "-z", "."]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [bundle / name for name in sorted(listed.split("\0")) if name]


def write_archive(bundle: Path, out: Path) -> Path:
    """Write the zip of a bundle into the folder ``out``; returns its path."""
    version = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    archive = out / f"{bundle.name}_v{version}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for path in bundle_files(bundle):
            entry = zipfile.ZipInfo(f"{bundle.name}/{path.relative_to(bundle).as_posix()}", _TIME)
            entry.external_attr = _MODE << 16
            entry.create_system = 3  # modes are those of Unix, on whatever machine it is written
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, path.read_bytes(), compresslevel=9)
    return archive


def main(out: Path = REPOSITORY / "dist") -> int:
    """Write the zips of all bundles and their hashes; returns the exit status."""
    out.mkdir(parents=True, exist_ok=True)
    bundles = sorted(path.parents[1] for path in REPOSITORY.glob("bundle/*/configs/metadata.json"))
    archives = [write_archive(bundle, out) for bundle in bundles]
    sums = [f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n" for archive in archives]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    print("".join(sums), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) > 1 else main())
