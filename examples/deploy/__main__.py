# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


import sys

from app import main

if __name__ == "__main__":
    sys.exit(main())
