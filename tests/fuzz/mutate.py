"""Seeded mutations: of bytes, of text, and of trees (JSON)."""

from __future__ import annotations

import json
import random
import re
import struct
from typing import Any

NUMBERS = (
    "0", "-1", "1", "2", "255", "32768", "2147483647", "-2147483648", "4294967296",
    "9223372036854775807", "1e308", "1e999", "-0.0", "1e-400", "nan", "inf", "-inf", "0x10",
    "1_000", "1/0", "1/127.5", "9" * 400, "9" * 5000, "", " ", "٣", "1,2,3,4,5,6", "1%", "101%",
)  # fmt: skip
WORDS = (
    "", " ", ".", "..", "../x", "/etc/passwd", "a" * 256, "b/" * 3000, "\0", "a\0b", "\x1b[2J",
    "\u202eevil", "\u2028", "\udcff", "\ud800", "é" * 200, "%s%n", "{0}", "[bold]", "<b>", "'\"\\",
    "CON", "-o", "--help", "n" * 200_000, "true", "nan", "0", "\ufeff", "=1+1", "null",
)  # fmt: skip
DEEP = "[" * 2000 + "]" * 2000
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """One to four changes that a disk, a copy or a fuzzer makes."""
    result = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(result) + 1)
        match draw.randrange(8):
            case 0 if result:
                result[place % len(result)] ^= 1 << draw.randrange(8)
            case 1 if result:
                result[place % len(result)] = draw.randrange(256)
            case 2:
                del result[place : place + draw.choice((1, 2, 4, 16, 256))]
            case 3:
                result[place:place] = draw.randbytes(draw.choice((1, 4, 64)))
            case 4:
                result[place:place] = result[place : place + draw.choice((4, 32, 512))]
            case 5:
                del result[place:]
            case 6:
                form = draw.choice(("<I", ">I", "<H", ">H", "<q"))
                number = struct.pack(form, draw.choice(_INTEGERS) & (0xFFFF if "H" in form else -1))
                result[place : place + len(number)] = number
            case _:
                end = min(len(result), place + 8)
                result[place:end] = bytes(end - place)
    return bytes(result)


def mutate_text(text: str, draw: random.Random) -> bytes:
    """A number, a word or a line becomes another; or bytes change."""
    for _ in range(draw.randint(1, 3)):
        match draw.randrange(6):
            case 0:
                text = _replace(r"-?\d+(\.\d+)?", text, draw.choice(NUMBERS), draw)
            case 1:
                text = _replace(r"[A-Za-z_]{2,}", text, draw.choice(WORDS), draw)
            case 2:
                lines = text.split("\n")
                draw.shuffle(lines)
                text = "\n".join(lines)
            case 3:
                lines = text.split("\n")
                text = "\n".join([*lines, draw.choice(lines)])
            case 4:
                place = draw.randrange(len(text) + 1)
                text = (
                    text[:place] + draw.choice((*WORDS, DEEP, "\n", '"', "=", ",")) + text[place:]
                )
            case _:
                return mutate_bytes(text.encode("utf-8", "surrogatepass"), draw)
    return text.encode("utf-8", "surrogatepass")


def mutate_tree(value: Any, draw: random.Random) -> bytes:
    """A JSON document in which one to three nodes are others."""
    if draw.random() < 0.2:
        return mutate_text(json.dumps(value), draw)
    tree = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 3)):
        holders = _holders(tree)
        if not holders:
            break
        holder, key = draw.choice(holders)
        match draw.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(holder[key])
            case _:
                holder[key] = draw.choice(
                    (
                        None, True, -1, 0, 1 << 31, 1 << 63, 10**30, 1e308, float("nan"),
                        float("inf"), [], {}, [[]], [None], {"a": 1}, "@deep", "@huge", *WORDS,
                    )
                )  # fmt: skip
    text = json.dumps(tree)
    text = text.replace('"@deep"', DEEP).replace('"@huge"', "9" * 5000)
    return text.encode("utf-8", "surrogatepass")


def _holders(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys = (
        tree.keys()
        if isinstance(tree, dict)
        else range(len(tree))
        if isinstance(tree, list)
        else ()
    )
    for key in keys:
        found.append((tree, key))
        found += _holders(tree[key])
    return found


def _replace(pattern: str, text: str, new: str, draw: random.Random) -> str:
    spots = list(re.finditer(pattern, text))
    if not spots:
        return text
    spot = draw.choice(spots)
    return text[: spot.start()] + new + text[spot.end() :]
