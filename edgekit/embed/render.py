"""Targets: a folder of templates each, with a manifest that says what they become.

``edgekit/embed/targets/NAME/target.toml``::

    summary = "C++17 with the LiteRT C API"
    model = "model"              # folder for the .tflite; none is copied where it is missing
    golden = "tests/golden"      # folder for golden vectors
    wrapper = ["include/x.h.j2"] # templates that count as the wrapper's lines
    types = ["float32", "uint8"] # what the runtime takes as inputs and outputs; all where missing
    types_cure = "Convert …"     # what the user does about others
    escapes = "braces"           # how the language writes characters by number, see `quoted`
    shares = "web"               # the target whose templates it uses where it has none of the name

    [files]                      # template = path in the module; both may use {{ e.names… }}
    "wrapper.hpp.j2" = "include/{{ e.names.snake }}.hpp"

    [only]                       # templates for some tasks only
    "boxes.cpp.j2" = ["detection"]

    app_module = "x"             # folder of the module in a whole app; no app where it is missing
    [app]                        # the app's own files, as in [files]

Templates see ``e`` (`edgekit.embed.spec.Embedding`), ``costs`` (`edgekit.embed.resize_cost`),
``samples`` (how many golden ones), ``samples_from``, ``version`` and ``target``; the filters ``c``
(a quoted string for C-like languages), ``f32`` and ``f64`` (a literal that reads back as the same
number, without a suffix); and the functions ``model_bytes(width)``, lines of the model in hex, and
``resolver_operators()``, what TensorFlow Lite Micro calls the file's operators. What is written is
a function of these alone, so it is the same on every run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.embed.micro import resolver_operators
from edgekit.errors import UsageError
from edgekit.text import escaped, is_unsafe

if TYPE_CHECKING:
    import jinja2

    from edgekit.embed.spec import Embedding

Escapes: TypeAlias = Literal["unicode", "braces", "octal"]
TARGETS = Path(__file__).with_name("targets")
_COMMENTS = ("//", "/*", "*", "#pragma")


@dataclass(frozen=True, kw_only=True)
class AppTarget:
    """A target's manifest.

    Attributes:
        name: of its folder.
        summary: one line.
        files: from template to path in the module.
        only: the tasks that a template is for, where not for all.
        model, golden: folders in the module, ``None`` for none.
        wrapper: templates whose lines count as the wrapper.
        types: of the inputs and outputs that its runtime takes; empty for all.
        types_cure: what can be done about a file with others.
        escapes: how the language writes a character by its number.
        shares: the target whose templates are taken where this one has none of that name.
        app_module: folder of the module in a whole app, empty where the module is one; ``None``:
            there is no app.
        app: from template to path in the app.
    """

    name: str
    summary: str
    files: Mapping[str, str]
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model: str | None = None
    golden: str | None = None
    wrapper: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    types_cure: str = ""
    escapes: Escapes = "unicode"
    shares: str | None = None
    app_module: str | None = None
    app: Mapping[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its templates are; the first that has one wins."""
        return tuple(TARGETS / name for name in (self.name, self.shares) if name)


def target_names() -> tuple[str, ...]:
    """The targets that there are."""
    return tuple(sorted(path.parent.name for path in TARGETS.glob("*/target.toml")))


def load_target(name: str) -> AppTarget:
    """A target by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in target_names():
        raise UsageError(
            f"There is no target {name!r} to embed for.",
            cure=f"Choose one of: {', '.join(target_names())}",
        )
    data = tomllib.loads((TARGETS / name / "target.toml").read_text(encoding="utf-8"))
    only = {template: tuple(tasks) for template, tasks in data.pop("only", {}).items()}
    wrapper, types = (tuple(data.pop(key, ())) for key in ("wrapper", "types"))
    return AppTarget(name=name, only=only, wrapper=wrapper, types=types, **data)


def require_types(target: AppTarget, spec: Embedding) -> None:
    """Refuse a file whose inputs or outputs the target's runtime does not take.

    Raises:
        UsageError: with the variant that works.
    """
    tensors = (spec.input.tensor, *spec.tensors)
    refused = [one for one in tensors if target.types and one.dtype not in target.types]
    if refused:
        words = ", ".join(f"{one.name} is {one.dtype}" for one in refused)
        raise UsageError(
            f"Target {target.name} cannot run this file: {words}.", cure=target.types_cure
        )


def app_of(target: AppTarget) -> AppTarget:
    """The target as a whole app: its module is in a folder, and the app's files are around it.

    Raises:
        UsageError: there is no app for it.
    """
    if target.app_module is None:
        having = [name for name in target_names() if load_target(name).app_module is not None]
        raise UsageError(
            f"There is no app for the target {target.name}, only a module.",
            cure=f"Leave out --app, or choose one of: {', '.join(having)}",
        )

    def inside(place: str) -> str:
        return f"{target.app_module}/{place}" if target.app_module else place

    files = {template: inside(place) for template, place in target.files.items()}
    return replace(
        target,
        files={**files, **target.app},
        model=None if target.model is None else inside(target.model),
        golden=None if target.golden is None else inside(target.golden),
    )


def render(target: AppTarget, spec: Embedding, model: Path, **values: Any) -> dict[str, str]:
    """The module's text files by their paths in it.

    Args:
        target: what to make.
        spec: what templates see as ``e``.
        model: the `.tflite`.
        values: what else they see.
    """
    environment = _environment(target)
    environment.globals["model_bytes"] = lambda width=12: _hex_lines(model, width)
    environment.globals["resolver_operators"] = lambda: resolver_operators(spec)
    values = {"e": spec, "target": target, **values}
    files = {}
    for template, path in target.files.items():
        if template in target.only and spec.decode.kind not in target.only[template]:
            continue
        place = filled(path, spec)
        files[place] = environment.get_template(template).render(values)
    return files


def filled(path: str, spec: Embedding) -> str:
    """A path of a manifest with the module's names."""
    import jinja2

    return str(jinja2.Template(path).render(e=spec))


def wrapper_lines(target: AppTarget, spec: Embedding, files: Mapping[str, str]) -> int:
    """How many lines of code the wrapper has.

    Blank lines, lines that are a comment, tests, golden vectors and build files do not count.
    """
    paths = {filled(target.files[one], spec) for one in target.wrapper}
    lines = [line.strip() for path in paths for line in files.get(path, "").splitlines()]
    return sum(bool(line) and not line.startswith(_COMMENTS) for line in lines)


def _environment(target: AppTarget) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(target.folders),
        autoescape=False,  # noqa: S701  code, not HTML; strings go through the filter `c`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(c=partial(quoted, form=target.escapes), f32=f32, f64=repr)
    return environment


def quoted(text: str, form: Escapes = "unicode") -> str:
    r"""A string literal for C++, Kotlin, Swift and TypeScript; not ASCII stays UTF-8.

    What steers a reader of the source (see `edgekit.text`) is escaped as the language has it:
    ``\\u202e`` (``unicode``), ``\\u{202e}`` (``braces``), or as the bytes of UTF-8 (``octal``).
    """
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    # Kotlin reads a dollar in a string as a template; \x24 is known to none of the others alike,
    # so Kotlin's templates replace it themselves.
    letters = (
        escapes.get(letter) or (_ESCAPES[form](letter) if is_unsafe(letter) else letter)
        for letter in text.encode("utf-8", "replace").decode()  # no halves of surrogate pairs
    )
    return '"' + "".join(letters) + '"'


_ESCAPES: dict[Escapes, Callable[[str], str]] = {
    "unicode": escaped,
    "braces": lambda letter: f"\\u{{{ord(letter):x}}}",
    "octal": lambda letter: "".join(f"\\{byte:03o}" for byte in letter.encode()),
}


def f32(value: float) -> str:
    """The shortest decimal that reads back as the same float32, with a point or an exponent."""
    import numpy as np

    text = str(np.float32(value))
    return text if any(mark in text for mark in ".en") else f"{text}.0"


def _hex_lines(model: Path, width: int) -> str:
    data = model.read_bytes()
    rows = (data[start : start + width] for start in range(0, len(data), width))
    return ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
