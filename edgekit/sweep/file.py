"""The sweep file: models, what they are crossed with, and settings that they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from edgekit.arguments import nearest
from edgekit.config import CONFIG_NAME, load_config, parse_input_flag
from edgekit.devices.address import parse_address
from edgekit.devices.runtimes import parse_runtime
from edgekit.errors import EdgekitError, UsageError
from edgekit.files import kind_of, read_toml, shown
from edgekit.types import SCHEMES, Effort, Scheme

AXES = ("model", "size", "scheme", "effort", "on")
"""What ``include`` and ``exclude`` name a combination by."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Successive halving (Jamieson and Talwalkar 2016) over samples.

    Attributes:
        samples: how many are measured in each round, before the last one, which has all.
        keep: the share of the candidates that goes on from a round at most, beside its front.
    """

    samples: tuple[int, ...]
    keep: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SweepModel:
    """One of the models, with the settings that hold for it: the shared ones and its own."""

    name: str
    location: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """A sweep as it was written. Paths are resolved against the file's folder.

    Attributes:
        models: in their order.
        schemes, efforts, sizes, places: what each of them is crossed with. A place is ``local``, a
            runtime for this computer, the address of a device, or its name.
        devices: the addresses of those that have a name, from ``edgekit.toml``.
        include: combinations beside these.
        exclude: tables of which one that fits a combination leaves it out.
        search: how combinations are dropped early; ``None`` measures all of them.
        cores: that each conversion occupies.
    """

    models: tuple[SweepModel, ...]
    schemes: tuple[Scheme, ...] = ("fp32", "fp16", "int8")
    efforts: tuple[Effort, ...] = ("balanced",)
    sizes: tuple[str, ...] = ("",)
    places: tuple[str, ...] = ("local",)
    devices: Mapping[str, str] = field(default_factory=dict)
    include: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    exclude: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    search: Search | None = None
    cores: float = 1.0

    def where(self, place: str) -> tuple[str, str | None]:
        """A place as an address and a runtime, as `edgekit validate` takes them.

        Raises:
            UsageError: it is neither.
        """
        return _where(place, self.devices)


_Check = tuple[Callable[[Any], bool], str]


def _within(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


_TEXT: _Check = (lambda value: isinstance(value, str) and value != "", "a text")
_TEXTS: _Check = (
    lambda value: isinstance(value, list) and all(isinstance(one, str) and one for one in value),
    "a list of texts",
)
_FLAG: _Check = (lambda value: isinstance(value, bool), "true or false")
_COUNT: _Check = (lambda value: type(value) is int and value > 0, "a number from 1")
_SHARE: _Check = (_within(0, 1), "a share from 0 to 1, such as 0.01")
_SEED: _Check = (lambda value: type(value) is int and value >= 0, "a number from 0")
_TABLE: _Check = (lambda value: isinstance(value, dict), "a table")
_TABLES: _Check = (
    lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
    "a list of tables",
)
PATHS = ("calibration", "parity", "data", "labels", "weights", "config")
SETTINGS: dict[str, _Check] = {
    **dict.fromkeys(PATHS, _TEXT),
    **dict.fromkeys(("task", "feed_color", "io_dtype", "ranges", "route", "signature"), _TEXT),
    **dict.fromkeys(("inputs", "gates", "targets", "without"), _TEXTS),
    **dict.fromkeys(("keep_float", "keep_int16"), _TEXTS),
    **dict.fromkeys(("samples", "parity_samples", "limit", "threads"), _COUNT),
    **dict.fromkeys(("fold_preprocess", "accept_few", "accept_contract", "synthetic"), _FLAG),
    **dict.fromkeys(("allow_float_ops", "keep_scales", "standard_metadata", "strict"), _FLAG),
    **dict.fromkeys(("max_drop", "min_agreement"), _SHARE),
    "min_sqnr": (_within(-300, 300), "a number of decibels, such as 22"),
    "max_latency": (
        _within(1, math.inf),
        "a number of times that plain int8 takes, from 1, such as 1.25",
    ),
    "layout": _TEXT,
    "seed": _SEED,
    "preprocess": _TABLE,
}
"""What ``[settings]`` and each of ``[[models]]`` may have; the names are those of the options."""
_TOP: dict[str, _Check] = {
    "sweep": _TABLE,
    "settings": _TABLE,
    "search": _TABLE,
    "models": (lambda value: _TABLES[0](value) and len(value) > 0, "[[models]], at least one"),
}
_SWEEP: dict[str, _Check] = {
    **dict.fromkeys(("schemes", "efforts", "runtimes", "devices"), _TEXTS),
    "sizes": (
        lambda value: (
            isinstance(value, list) and all(type(one) in (int, str) and str(one) for one in value)
        ),
        "a list of sizes, such as [192, 224] or ['192x256']",
    ),
    "include": _TABLES,
    "exclude": _TABLES,
    "cores": _COUNT,
}
_SEARCH: dict[str, _Check] = {
    "samples": (
        lambda value: (
            isinstance(value, list)
            and len(value) > 0
            and all(type(one) is int and one > 0 for one in value)
            and sorted(set(value)) == value
        ),
        "a list of growing numbers from 1",
    ),
    "keep": (
        lambda value: isinstance(value, float | int) and 0 < value < 1,
        "a share between 0 and 1",
    ),
}


def read_sweep(path: Path) -> SweepFile:
    """Read a sweep file, and hold all of it against what is known, before anything runs.

    Raises:
        UsageError: everything that is wrong in it, each with its place.
    """
    if kind_of(path) != "file":
        raise UsageError(
            f"There is no sweep file {shown(path)}.",
            cure="Write one: [[models]] with name and model, [settings] with calibration, "
            "[sweep] with schemes. See docs/sweep.md.",
        )
    return sweep_from_table(read_toml(path, UsageError), path.absolute().parent, shown(path))


def sweep_from_table(data: Mapping[str, Any], folder: Path, where: str) -> SweepFile:
    """The same from what the file holds; ``where`` names it in errors."""
    found = Faults()
    _check(data, _TOP, where, found)
    found.stop()
    table = data.get("sweep", {})
    _check(table, _SWEEP, f"[sweep] of {where}", found)
    settings = data.get("settings", {})
    _check(settings, SETTINGS, f"[settings] of {where}", found)
    search = data.get("search")
    if search is not None:
        _check(search, _SEARCH, f"[search] of {where}", found)
        if "samples" not in search and not found:
            found.add(f"[search] of {where} has no samples.", "For example: samples = [32, 128]")
    models = _models(data.get("models", ()), settings, folder, where, found)
    found.stop()
    axes: dict[str, Sequence[str]] = {
        "schemes": table.get("schemes", SweepFile.schemes),
        "efforts": table.get("efforts", SweepFile.efforts),
        "sizes": tuple(map(str, table.get("sizes", SweepFile.sizes))),
        "places": (
            *table.get("runtimes", () if table.get("devices") else SweepFile.places),
            *table.get("devices", ()),
        ),
    }
    devices = _named_devices(settings, folder, found)
    _check_axes(axes, devices, where, found)
    found.stop()
    sweep = SweepFile(
        models=models,
        devices=devices,
        search=Search(samples=tuple(search["samples"]), keep=search.get("keep", Search.keep))
        if search
        else None,
        include=_patterns(table.get("include", ()), "include", where, found),
        exclude=_patterns(table.get("exclude", ()), "exclude", where, found),
        cores=table.get("cores", SweepFile.cores),
        **{name: tuple(dict.fromkeys(values)) for name, values in axes.items()},  # type: ignore[arg-type]
    )
    _check_patterns(sweep, where, found)
    found.stop()
    return sweep


@dataclass
class Faults:
    """What is wrong: all of it is told together."""

    causes: list[tuple[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.causes)

    def add(self, cause: str, cure: str = "") -> None:
        """One more."""
        self.causes.append((cause, cure))

    def take(self, where: str, error: EdgekitError) -> None:
        """What was raised about a part of the file."""
        self.add(f"{where}: {error.cause}", error.cure)

    def stop(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            UsageError: all of it.
        """
        if not self.causes:
            return
        if len(self.causes) == 1:
            ((cause, cure),) = self.causes
            raise UsageError(cause, cure=cure)
        lines = [f"{cause} {cure}".rstrip() for cause, cure in self.causes]
        raise UsageError(
            "\n  ".join([f"{len(lines)} things are wrong:", *lines]), cure="Nothing was run."
        )


def _check(
    table: Mapping[str, Any], checks: Mapping[str, _Check], where: str, found: Faults
) -> None:
    for key, value in table.items():
        if key not in checks:
            found.add(f"{where}: there is no key {key!r}.", nearest(key, checks))
            continue
        holds, words = checks[key]
        if not holds(value):
            found.add(f"{where}: {key} is {shown(repr(value))}; it must be {words}.")


def _models(
    tables: Iterable[Mapping[str, Any]],
    shared: Mapping[str, Any],
    folder: Path,
    where: str,
    found: Faults,
) -> tuple[SweepModel, ...]:
    models: dict[str, SweepModel] = {}
    places: dict[str, int] = {}
    for number, table in enumerate(tables, 1):
        here = f"[[models]] number {number} of {where}"
        own = {key: value for key, value in table.items() if key not in ("name", "model")}
        location, name = table.get("model"), table.get("name")
        if isinstance(name, str) and name:
            here = f"{here} ({shown(name)})"
        if not isinstance(location, str) or not location:
            known = [*SETTINGS, "name", "model"]
            near = next((key for key in own if key not in known), None)
            found.add(
                f"{here} has no model.",
                f"{near!r} is not known. {nearest(near, known)}"
                if near
                else "For example: model = 'nets.py:build'",
            )
            continue
        _check(own, {**SETTINGS, "name": _TEXT, "model": _TEXT}, here, found)
        name = name if isinstance(name, str) and name else _own_name(location)
        if name in models:
            found.add(
                f"{here} has the name {name!r}, as number {places[name]} has.",
                "Give each model a name of its own: name = '…'",
            )
            continue
        places[name] = number
        models[name] = SweepModel(
            name=name,
            location=_below(location, folder),
            settings=_with_paths({**shared, **own}, folder),
        )
    return tuple(models.values())


def _own_name(location: str) -> str:
    return Path(location.rpartition(":")[0] or location).stem


def _below(location: str, folder: Path) -> str:
    """A model's location from the file's folder, where there is such a file."""
    module, colon, factory = location.rpartition(":")
    path = folder / (module if colon and module.endswith(".py") else location)
    if not path.exists():
        return location
    return f"{path}:{factory}" if colon and module.endswith(".py") else str(path)


def _with_paths(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(settings)
    for key in PATHS:
        if isinstance(found.get(key), str):
            found[key] = folder / found[key]
    if isinstance(found.get("targets"), list):
        found["targets"] = [
            str(folder / one) if one.endswith(".toml") else one for one in found["targets"]
        ]
    return found


def _named_devices(settings: Mapping[str, Any], folder: Path, found: Faults) -> Mapping[str, str]:
    """Those of ``config``, or of an ``edgekit.toml`` beside the sweep file."""
    path = folder / settings.get("config", CONFIG_NAME)
    if "config" not in settings and not path.is_file():
        return {}
    try:
        return load_config(path).devices
    except EdgekitError as error:
        found.take("The devices' names", error)
        return {}


def _check_axes(
    axes: Mapping[str, Sequence[str]], devices: Mapping[str, str], where: str, found: Faults
) -> None:
    known = {"schemes": SCHEMES, "efforts": get_args(Effort)}
    for axis, values in axes.items():
        if not values:
            found.add(f"[sweep] of {where}: {axis} is empty.", "Leave it out for the default.")
        for value in values:
            if axis in known and value not in known[axis]:
                found.add(
                    f"[sweep] of {where}: {axis} has {shown(value)!r}, which is not known.",
                    nearest(value, known[axis]),
                )
    for place in axes["places"]:
        try:
            _where(place, devices)
        except EdgekitError as error:
            found.take(f"[sweep] of {where}", error)


def _where(place: str, devices: Mapping[str, str]) -> tuple[str, str | None]:
    """See `SweepFile.where`."""
    if "==" in place and ":" not in place:
        parse_runtime(place)
        return "local", place
    address = devices.get(place, place)
    try:
        parse_address(address)
    except UsageError as error:
        if place in devices or not devices:
            raise
        raise UsageError(error.cause, cure=f"{nearest(place, devices)} {error.cure}") from error
    return address, None


def _patterns(
    tables: Iterable[Mapping[str, Any]], what: str, where: str, found: Faults
) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    patterns = []
    for number, table in enumerate(tables, 1):
        here = f"{what} number {number} in [sweep] of {where}"
        checks: dict[str, _Check] = dict.fromkeys(
            AXES,
            (lambda value: isinstance(value, str | int | list), "a text or a list of texts"),
        )
        _check(table, checks, here, found)
        patterns.append(
            {
                key: tuple(map(str, value if isinstance(value, list) else [value]))
                for key, value in table.items()
            }
        )
    return tuple(patterns)


def _check_patterns(sweep: SweepFile, where: str, found: Faults) -> None:
    """Words that name nothing would silently include or exclude nothing."""
    crossed: dict[str, Sequence[str]] = {
        "model": [model.name for model in sweep.models],
        "size": sweep.sizes,
        "scheme": sweep.schemes,
        "effort": sweep.efforts,
        "on": sweep.places,
    }
    wider = crossed | {"scheme": SCHEMES, "effort": get_args(Effort)}
    for what, patterns in (("include", sweep.include), ("exclude", sweep.exclude)):
        for number, pattern in enumerate(patterns, 1):
            here = f"{what} number {number} in [sweep] of {where}"
            for key, values in pattern.items():
                known = (wider if what == "include" else crossed).get(key)
                for value in values if known else ():
                    assert known is not None
                    free = what == "include" and key in ("size", "on")
                    if value not in known and not free:
                        found.add(
                            f"{here}: there is no {key} {shown(value)!r}.", nearest(value, known)
                        )


def parsed_inputs(settings: Mapping[str, Any], size: str) -> tuple[Any, ...]:
    """The stated inputs of a model, with ``{size}``, ``{height}`` and ``{width}`` filled in.

    Raises:
        UsageError: one has another form, or asks for a size where there is none.
    """
    height, _, width = size.partition("x")
    words = {"size": size, "height": height, "width": width or height}
    found = []
    for text in settings.get("inputs", ()):
        if "{" in text and not size:
            raise UsageError(
                f"The input {text!r} has a size to fill in, and [sweep] has no sizes.",
                cure="For example: sizes = [192, 224]",
            )
        for word, value in words.items():
            text = text.replace(f"{{{word}}}", value)  # noqa: PLW2901
        found.append(parse_input_flag(text))
    return tuple(found)
