"""Plain values as TOML: what `tomllib` reads and the standard library does not write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_WIDTH = 100
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(document: Mapping[str, Any]) -> str:
    """A document of texts, numbers, booleans, lists and tables; the order of keys is kept.

    A list of tables becomes ``[[name]]`` sections. What TOML cannot hold (a lone surrogate, as in
    undecodable file names) becomes a question mark.

    Raises:
        TypeError: a value of another type, ``None`` among them.
    """
    return "\n".join(_section(document, ())).lstrip("\n") + "\n"


def _section(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    below = {key: value for key, value in table.items() if _is_section(value)}
    for key, value in table.items():
        if key not in below:
            yield f"{_key(key)} = {_value(value, len(_key(key)) + 3)}"
    for key, value in below.items():
        name = ".".join(map(_key, (*path, key)))
        if isinstance(value, list):
            for part in value:
                yield f"\n[[{name}]]"
                yield from _section(part, (*path, key))
            continue
        if not value or not all(map(_is_section, value.values())):
            yield f"\n[{name}]"  # a table of nothing but tables needs no heading
        yield from _section(value, (*path, key))


def _is_section(value: Any) -> bool:
    tables = isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value)
    return isinstance(value, Mapping) or bool(tables)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: Any, indent: int = 0) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case list() | tuple():
            parts = [_value(part) for part in value]
            line = f"[{', '.join(parts)}]"
            if len(line) + indent <= _WIDTH:
                return line
            return "[\n" + "".join(f"  {part},\n" for part in parts) + "]"
        case Mapping():
            inside = ", ".join(f"{_key(key)} = {_value(part)}" for key, part in value.items())
            return f"{{ {inside} }}" if inside else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _text(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()
    return '"' + "".join(map(_character, whole)) + '"'


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    return f"\\u{ord(one):04x}" if ord(one) < 0x20 or ord(one) == 0x7F else one
