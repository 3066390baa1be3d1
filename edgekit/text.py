"""Showing text that comes from files: what would steer a terminal or a reader is escaped.

Names of tensors, labels, paths and layers are whatever a stranger wrote. Control characters move a
terminal's cursor or hide lines; bidirectional marks make code read otherwise than it runs (Trojan
Source, CVE-2021-42574); line separators end lines where nobody expects it.
"""

from __future__ import annotations

import unicodedata

_BIDIRECTIONAL = frozenset((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))


def is_unsafe(letter: str) -> bool:
    """Whether a character steers: C0, C1, bidirectional marks, separators of lines, surrogates."""
    if " " <= letter < "\x7f":
        return False
    number = ord(letter)
    return (
        number in _BIDIRECTIONAL
        or unicodedata.category(letter) in _CATEGORIES
        or 0xFFF9 <= number <= 0xFFFB  # interlinear annotations
        or number & 0xFFFE == 0xFFFE  # no characters, and not allowed in XML
    )


def escaped(text: str, keep: str = "") -> str:
    r"""The text with ``\u001b`` in place of what steers, but for the characters in ``keep``.

    Within JSON these escapes read back as what they stand for.
    """
    if text.isprintable():
        return text
    return "".join(
        _escape(letter) if is_unsafe(letter) and letter not in keep else letter for letter in text
    )


def _escape(letter: str) -> str:
    number = ord(letter)
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    return "".join(f"\\u{unit:04x}" for unit in _surrogates(number))


def _surrogates(number: int) -> tuple[int, int]:
    """UTF-16, as JSON, Kotlin and TypeScript write what is beyond the first plane."""
    return 0xD800 + ((number - 0x10000) >> 10), 0xDC00 + (number & 0x3FF)
