# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""From files to images: headers, cases, contrasts, pixels, and the volume or pictures that a bundle segments."""
