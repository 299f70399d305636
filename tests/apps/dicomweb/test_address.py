# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from medsegdiff_monai.apps.dicomweb import check_url, exposes_credentials
from medsegdiff_monai.utils import InputError


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert check_url(" https://pacs.example/dicom-web/ ") == "https://pacs.example/dicom-web"
    assert check_url("http://[::1]:8042/dicom-web") == "http://[::1]:8042/dicom-web"


@pytest.mark.parametrize(
    ("url", "fragment"),
    [
        ("https://anna:geheim@pacs.example/dicom-web", "must not hold a user name or password"),
        ("https://geheim@pacs.example/dicom-web", "must not hold a user name or password"),
        ("anna:geheim@pacs.example", "must not hold a user name or password"),
        ("pacs.example:8042/geheim", "must begin with http:// or https://"),
        ("ftp://pacs.example/geheim", "must begin with http:// or https://"),
        ("https:///geheim", "must begin with http:// or https:// and a host"),
        ("", "must begin with http:// or https://"),
        ("https://pacs.example:geheim/dicom-web", "is no address"),
        ("https://pacs.example/dicom-web?token=geheim", "leave out what follows"),
    ],
)
def test_other_addresses_are_refused_and_never_repeated(url: str, fragment: str) -> None:
    with pytest.raises(InputError) as e:
        check_url(url)
    assert fragment in str(e.value)
    assert "geheim" not in str(e.value)
    assert "anna" not in str(e.value)


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("http://pacs.example/dicom-web", True),
        ("http://10.0.0.5:8042/dicom-web", True),
        ("http://127.evil.example/dicom-web", True),
        ("https://pacs.example/dicom-web", False),
        ("http://localhost:8042/dicom-web", False),
        ("http://127.0.0.1:8042/dicom-web", False),
        ("http://127.9.9.9/dicom-web", False),
        ("http://[::1]:8042/dicom-web", False),
    ],
)
def test_plain_http_to_another_machine_exposes_credentials(url: str, exposed: bool) -> None:
    assert exposes_credentials(url) is exposed
