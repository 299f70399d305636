# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest

from medsegdiff_monai.apps.dicom.reading.attributes import decoded_text, python_encodings

MULLER = "Müller^Hans"
CYRILLIC = "".join(map(chr, range(0x041B, 0x0444, 5)))
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
YAMADA_BYTES = (  # PS3.5 H.3.1
    b"Yamada^Tarou=\033$B;3ED\033(B^\033$BB@O:\033(B=\033$B$d$^$@\033(B^\033$B$?$m$&\033(B"
)
HONG_BYTES = (  # PS3.5 I.2
    b"Hong^Gildong=\033$)C\373\363^\033$)C\321\316\324\327=\033$)C\310\253^\033$)C\261\346\265\277"
)


@pytest.mark.parametrize(
    ("stated", "value", "text"),
    [
        (["ISO_IR 100"], MULLER.encode("latin_1"), MULLER),
        (["ISO IR 100"], MULLER.encode("latin_1"), MULLER),
        (["iso_ir 100"], MULLER.encode("latin_1"), MULLER),
        (["ISO-8859-1"], MULLER.encode("latin_1"), MULLER),
        (["ISO_IR 144"], CYRILLIC.encode("iso8859_5"), CYRILLIC),
        (["ISO-8859-5"], CYRILLIC.encode("iso8859_5"), CYRILLIC),
        (["ISO_IR 192"], MULLER.encode(), MULLER),
        (["UTF-8"], MULLER.encode(), MULLER),
        (["GB18030"], "王^小东".encode("GB18030"), "王^小东"),
        (["GB2312"], "王^小东".encode("GB2312"), "王^小东"),
        (["", "ISO 2022 IR 87"], YAMADA_BYTES, YAMADA),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], YAMADA_BYTES, YAMADA),
        (["", "ISO 2022 IR 149"], HONG_BYTES, "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_a_text_is_read_by_the_character_set_that_is_meant(stated: list[str], value: bytes, text: str) -> None:
    assert decoded_text(value, python_encodings(stated)) == text


@pytest.mark.parametrize("stated", [[], [""], ["ISO_IR 6"], ["KLINGON"], ["hex"], ["\x00"]])
@pytest.mark.parametrize(
    ("value", "text"),
    [(b"Doe^Jane", "Doe^Jane"), (MULLER.encode(), MULLER), (MULLER.encode("latin_1"), MULLER), (YAMADA_BYTES, YAMADA)],
)
def test_without_a_known_character_set_what_decodes_is_taken(stated: list[str], value: bytes, text: str) -> None:
    assert decoded_text(value, python_encodings(stated)) == text


def test_bytes_that_the_stated_character_set_does_not_have_are_read_otherwise() -> None:
    assert decoded_text(MULLER.encode("latin_1"), python_encodings(["ISO_IR 192"])) == MULLER
