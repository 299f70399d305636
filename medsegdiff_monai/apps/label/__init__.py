# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI Label for the bundles of this project: preparing an app, and the app itself.

Only :mod:`~medsegdiff_monai.apps.label.app` and :mod:`~medsegdiff_monai.apps.label.datastore` import ``monailabel``,
which lives in an environment of its own.
"""

from .bundles import add_bundle, prepare_app
from .load import LoadStudyd
