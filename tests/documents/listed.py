# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Where each command of the documentation is run, or why it is run nowhere.

A pattern is a regular expression that is searched in a command. Commands that are run as they stand are in
``test_run.py``; they need no entry here.
"""

from __future__ import annotations

__all__ = ["NOT_RUN", "RUN_BY"]

_ENV = r"^(PYTHONPATH=tests )?(\.venv/bin/)?python "
_OURS = _ENV + r"-m medsegdiff_monai "
_BUNDLE = r"^python -m monai\.bundle run .*"

# Pattern, and the tests or the script that run the same command with data of their own.
RUN_BY = [
    (r"^make install$", "Makefile"),  # of every other target
    (r"^make (lint|test)$", ".ci/run"),
    (r"^make demo$", "tests/apps"),
    (r"^pip install -c constraints\.txt torch$", ".ci/wheel"),
    (_OURS + "phantoms", "tests/apps"),
    (_OURS + "datalist", "tests/apps"),
    (_OURS + "calibrate", "tests/apps"),
    (_OURS + "animate", "tests/apps"),
    (_OURS + "export", "tests/export"),
    (r"^PYTHONPATH=tests \.venv/bin/python - <<|" + _OURS + "dicom study", "tests/documents/test_run.py"),
    (_OURS + "dicomweb", "tests/clinical"),
    (r"^export MEDSEGDIFF_DICOMWEB_USER=radiology", "tests/clinical"),
    (r"^\(umask 077", "tests/apps/dicomweb"),
    (r"^Orthanc orthanc\.json|^cat > orthanc\.json|^curl -u radiology", "tests/clinical"),
    (r"^apt-get install -y orthanc|^service orthanc stop", ".ci/run"),
    (r"monai\.bundle (ckpt|onnx)_export", "tests/export"),
    (_BUNDLE + r"train\.json", "tests/bundle"),
    (_BUNDLE + r"inference\.json", "tests/bundle"),
    (r"^torchrun .* -m monai\.bundle run", "tests/bundle"),
    (r"^make label-env$|^\.label-env/bin/python|^curl .*127\.0\.0\.1:8000", "tests/label"),
    (r"^mkdir studies|^for f in BraTS2021|^export MEDSEGDIFF_DICOMWEB_USER=\.\.\.", "tests/label"),
    (r"^make deploy-env$|\.deploy-env/bin/python|^ulimit -s|^find results", "tests/deploy"),
    (_ENV + r"benchmarks/(accuracy|peers|training_profile)\.py", "tests/benchmarks"),
    (_ENV + r"benchmarks/fuzz\.py", "tests/fuzz"),
    (_ENV + r"benchmarks/(dicom_study|sampling|uncertainty_cost|readers)\.py", "tests/documents/test_benchmarks.py"),
]

# Pattern, and the reason.
NOT_RUN = [
    (r"^\.ci/run$", "it runs these tests"),
    (r"^(cd|source) |^B=|^export OMP_NUM_THREADS", "a setting of the shell"),
    (
        r"^(\.venv/bin/)?pip install (-c constraints\.txt )?(-e )?'",
        "make install installs the same extras",
    ),
    (
        r"^pip install --no-deps -c constraints\.txt med-seg-diff-pytorch",
        "needs the network; tests have doubles",
    ),
    (_ENV + r"benchmarks/calibration\.py", "trains for minutes on real data; its parts are in tests/benchmarks"),
    (r"^monai-deploy package", "needs Docker, and docs/deploy.md says that it has not been tried"),
    (r"^tensorboard ", "a server of another project"),
]
