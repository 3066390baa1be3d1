"""Names that are identifiers in every target language, from whatever a file is called."""

from __future__ import annotations

import keyword
import re
import unicodedata

from edgekit.embed.spec import Names
from edgekit.errors import UsageError

# Words that mean something in C++, Dart, Kotlin, Swift or TypeScript, and may be a model's name.
# fmt: off
_RESERVED = frozenset((
    "abstract", "android", "any", "app", "as", "auto", "base", "bool", "boolean", "break", "case",
    "catch", "char", "class", "const", "continue", "covariant", "dart", "data", "default",
    "deferred", "delete", "do", "double", "dynamic", "else", "enum", "export", "extends",
    "extension", "extern", "external", "factory", "false", "final", "float", "flutter", "for",
    "foundation", "func", "function", "get", "hide", "if", "implements", "import", "in", "init",
    "inline", "int", "interface", "internal", "is", "java", "kotlin", "late", "let", "library",
    "linux", "litert", "long", "main", "mixin", "module", "namespace", "new", "nil", "null",
    "object", "of", "on", "open", "operator", "override", "package", "part", "private",
    "protected", "protocol", "public", "register", "required", "rethrow", "return", "sealed",
    "self", "set", "short", "show", "signed", "sizeof", "static", "std", "struct", "super",
    "swift", "switch", "sync", "template", "test", "this", "throw", "true", "try", "type",
    "typedef", "typeof", "union", "unix", "unsigned", "using", "val", "var", "virtual", "void",
    "volatile", "when", "where", "while", "with", "yield",
))
# fmt: on


def safe_names(title: str) -> tuple[Names, tuple[str, ...]]:
    """The names of a module, and what was changed, in words.

    Letters lose their accents, whatever is neither a letter nor a digit separates words, a name
    that starts with a digit or is a reserved word gets ``model`` in front.

    Raises:
        UsageError: nothing of the name is left.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    words = [word.lower() for word in re.findall(r"[A-Za-z0-9]+", plain)]
    if not words:
        raise UsageError(
            f"The name {title!r} has no letter or digit that every language takes.",
            cure="Give the module another one, for example --name classifier",
        )
    if words[0][0].isdigit() or (len(words) == 1 and _is_reserved(words[0])):
        words.insert(0, "model")
    pascal = "".join(word.capitalize() for word in words)
    names = Names(
        title=one_line(title),
        snake="_".join(words),
        camel=pascal[0].lower() + pascal[1:],
        pascal=pascal,
        kebab="-".join(words),
        upper="_".join(words).upper(),
    )
    if names.snake == title:
        return names, ()
    return names, (f"In code {title!r} is called {names.snake} (type {names.pascal}).",)


def one_line(text: str) -> str:
    """A name from a file, fit for a comment: nothing in it ends the line or the comment."""
    shown = "".join(letter if letter.isprintable() and letter != "\\" else "?" for letter in text)
    return shown.replace("*/", "* /")


def _is_reserved(word: str) -> bool:
    return word in _RESERVED or keyword.iskeyword(word)
