"""Seeded mutations: of bytes, of text, of trees (JSON), of archives, and of messages."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
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


def mutate_zip(data: bytes, draw: random.Random) -> bytes:
    """An archive in which one member is another; its bytes change in one case of three."""
    if draw.random() < 0.33:
        return mutate_bytes(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    chosen = draw.randrange(len(members))
    name, content = members[chosen]
    match draw.randrange(8):
        case 0:
            del members[chosen]
        case 1:
            members.append((draw.choice((name, "../x", "a" * 300, "/etc/passwd")), content))
        case _:
            members[chosen] = name, mutate_any(content, draw)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for one, inside in members:
            archive.writestr(zipfile.ZipInfo(one or "x"), inside)
    return stream.getvalue()


def mutate_any(data: bytes, draw: random.Random) -> bytes:
    """JSON as a tree, text as text, everything else as bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return mutate_bytes(data, draw)
    try:
        return mutate_tree(json.loads(text), draw)
    except ValueError:
        return mutate_text(text, draw)


def mutate_message(message: Any, draw: random.Random) -> bytes:
    """A protobuf message in which one to three fields are others."""
    for _ in range(draw.randint(1, 3)):
        fields = list(_fields(message))
        if not fields:
            break
        holder, field = draw.choice(fields)
        repeated = _is_repeated(holder, field)
        if draw.random() < 0.25:
            holder.ClearField(field.name)
        elif field.message_type and repeated and len(getattr(holder, field.name)):
            entries = getattr(holder, field.name)
            entries.add().CopyFrom(draw.choice(list(entries)))
        elif not field.message_type:
            value = _scalar(field, draw)
            with contextlib.suppress(ValueError, TypeError):  # out of the field's range
                if repeated:
                    getattr(holder, field.name).append(value)
                else:
                    setattr(holder, field.name, value)
    return bytes(message.SerializeToString())


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Every field that is set, of the message and those inside."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type and not field.message_type.GetOptions().map_entry:
            for inside in value if _is_repeated(message, field) else (value,):
                yield from _fields(inside)
        elif field.message_type and field.message_type.fields_by_name["value"].message_type:
            for inside in value.values():
                yield from _fields(inside)


def _is_repeated(holder: Any, field: Any) -> bool:
    value = getattr(holder, field.name)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _scalar(field: Any, draw: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        text = draw.choice(WORDS).encode("utf-8", "replace")
        return text if field.type == field.TYPE_BYTES else text.decode()
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return draw.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    return draw.choice((0, 1, -1, 2, 7, 255, 60_000, (1 << 31) - 1, 1 << 31, 1 << 62, -(1 << 63)))
