"""A recorded reference: its outputs, looked up by what a sample is.

The file may come from anybody. Nothing in it is executed, unpickled or unpacked to the disk, and
nothing is believed before it was checked: the digest of the whole, the listing of the archive, the
digest, type and shape of every member that is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from edgekit.archives import ARCHIVE_ERRORS
from edgekit.contract import Contract
from edgekit.errors import DataError, EdgekitError, UsageError
from edgekit.files import kind_of
from edgekit.npy import read_header
from edgekit.runners.bundle_format import (
    DIGEST_LENGTH,
    MANIFEST,
    SAMPLES,
    SCHEMA,
    VERSION,
    Manifest,
    data_digest,
    whole_digest,
)
from edgekit.runners.preprocessing import preprocessing_differences
from edgekit.runners.protocol import Described
from edgekit.types import LatencyReport

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.runners.protocol import Array

SUFFIX = ".edgeref"
_MOST_JSON = 256 << 20
_CACHED_CHUNKS = 8
_UNREADABLE = (
    *ARCHIVE_ERRORS,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    EdgekitError,
)


class RecordedReference:
    """An opened bundle. A `edgekit.runners.protocol.Runner` and `Recorded`.

    Args:
        path: the file; all of it is read once to check its digest.

    Raises:
        DataError: it is damaged, cut short, no bundle, or of a version that is not known here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = _open(path)
        try:
            _check_whole(path, self._stream)
            self._archive, self.manifest, self._members, self.samples = self._read()
        except BaseException:
            self._stream.close()
            raise
        self.name = self.manifest.origin.name
        self._rows = {digest: row for row, (_, digest) in reversed([*enumerate(self.samples)])}
        self._chunk = lru_cache(maxsize=_CACHED_CHUNKS)(self._read_chunk)

    @property
    def contract(self) -> Contract:
        """The inputs with their preprocessing, and the outputs, as they were recorded."""
        return self.manifest.contract

    @property
    def latency(self) -> LatencyReport | None:
        """As measured on the machine that recorded it, `Origin.device`."""
        return self.manifest.latency

    def describe(self) -> Described:
        """The recorded model; ``device`` says that it did not run here."""
        origin = self.manifest.origin
        return Described(
            inputs=tuple(entry.tensor for entry in self.contract.inputs),
            outputs=self.manifest.outputs,
            device=f"recorded on {origin.device}",
            versions=origin.versions,
        )

    def check(self, contract: Contract) -> None:
        """Refuse inputs that are made otherwise than the recorded ones.

        Raises:
            DataError: it says what differs.
        """
        different = preprocessing_differences(self.contract, contract, self.manifest.pictures)
        if different:
            raise DataError(
                f"{self.path} was recorded with another preprocessing: {'; '.join(different)}.",
                cure="State the preprocessing that it was recorded with (edgekit reference show "
                f"{self.path}), or record it again.",
            )

    def recall(self, digests: Sequence[str], names: Sequence[str] = ()) -> list[Array]:
        """The outputs of samples in the order of their digests. See `Recorded.recall`."""
        import numpy as np

        if missing := [place for place, one in enumerate(digests) if one not in self._rows]:
            raise self._unknown(missing, digests, names)
        rows = [self._rows[digest] for digest in digests]
        result = []
        for number in range(len(self.manifest.outputs)):
            places = [divmod(row, self.manifest.rows) for row in rows]
            result.append(np.stack([self._chunk(number, chunk)[at] for chunk, at in places]))
        return result

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Refused: a recording answers `recall`.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"{self.path} holds outputs, no model: it cannot run other inputs.",
            cure="Name the model itself as the reference.",
        )

    def verify(self) -> None:
        """Read every chunk, as far as `recall` did not.

        Raises:
            DataError: one is not what the manifest says.
        """
        for number in range(len(self.manifest.outputs)):
            for chunk in range(self.manifest.chunks):
                self._read_chunk(number, chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._chunk.cache_clear()
        self._archive.close()
        self._stream.close()

    def _read(
        self,
    ) -> tuple[zipfile.ZipFile, Manifest, dict[str, str], list[tuple[str, str]]]:
        try:
            archive = zipfile.ZipFile(self._stream)
            _check_listing(archive, self.path.stat().st_size)
            table = _json(archive, MANIFEST)
            if not isinstance(table, dict) or table.get("schema") != SCHEMA:
                raise ValueError("its manifest is not that of a recorded reference")
            if table.get("version") != VERSION:
                raise _other_version(self.path, table.get("version"))
            manifest = Manifest.from_table(table)
            members = {str(name): str(digest) for name, digest in table["members"].items()}
            _check_members(archive, manifest, members)
            content = archive.read(SAMPLES)
            if hashlib.sha256(content).hexdigest() != members[SAMPLES]:
                raise ValueError(f"the digest of {SAMPLES} is another")
            samples = [(str(name), str(digest)) for name, digest in json.loads(content)]
            if len(samples) != manifest.samples or manifest.data_digest != data_digest(
                [digest for _, digest in samples]
            ):
                raise ValueError("its samples are not those that the manifest counts")
        except _OtherVersion:
            raise
        except _UNREADABLE as error:
            raise _damaged(self.path, _words(error)) from error
        return archive, manifest, members, samples

    def _read_chunk(self, output: int, chunk: int) -> Array:
        import numpy as np

        name = self.manifest.chunk_name(output, chunk)
        try:
            content = self._archive.read(name)
            if hashlib.sha256(content).hexdigest() != self._members[name]:
                raise ValueError(f"the digest of {name} is another")
            # np.load would make room for whatever size a header claims, before it reads.
            stream = io.BytesIO(content)
            shape, fortran, dtype = _header(stream, name)
            wanted = np.dtype(self.manifest.outputs[output].dtype)
            expected = self.manifest.chunk_shape(output, chunk)
            if fortran or shape != expected or dtype != wanted:
                raise ValueError(f"{name} is {dtype} {shape}, not {wanted} {expected}")
            values: Array = np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
        except _UNREADABLE as error:
            raise _damaged(self.path, _words(error)) from error
        return values

    def _unknown(
        self, missing: Sequence[int], digests: Sequence[str], names: Sequence[str]
    ) -> DataError:
        """Which samples were not recorded, and which of them were under another content."""
        known = {name for name, _ in self.samples}
        called = [names[place] if names else digests[place][:12] for place in missing]
        changed = [name for name in called if name in known]
        show = ", ".join(called[:3]) + (f" and {len(called) - 3} more" if len(called) > 3 else "")
        why = (
            f"; {changed[0]} was, but with another content (SHA-256 of the sample)"
            if changed
            else ""
        )
        return DataError(
            f"{len(missing)} of {len(digests)} samples were not recorded in {self.path}: "
            f"{show}{why}. It holds {len(self.samples)} samples of {self.manifest.origin.data}.",
            cure="Give the data that it was recorded with, or record it again on this data: "
            "edgekit reference record MODEL --data DIR -o FILE --force",
        )


def default_name(model: str) -> str:
    """What the recording of a model is called: after its last name, in the current folder."""
    last = re.split(r"[/:]", re.sub(r"(:predict|/infer|/)$", "", model))[-1]
    return (re.sub(r"[^\w.-]+", "_", Path(last).stem) or "reference") + SUFFIX


class _OtherVersion(DataError):
    """The file is right, but this edgekit does not know its format."""


def _other_version(path: Path, version: Any) -> DataError:
    return _OtherVersion(
        f"{path} has the format version {str(version)[:20]}; this edgekit knows {VERSION}.",
        cure="Install the edgekit that recorded it, or record it again.",
    )


def _open(path: Path) -> BinaryIO:
    if kind_of(path) == "other":
        raise DataError(f"{path} is not a regular file.", cure="Check the path.")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", cure="Check the path."
        ) from error


def _check_whole(path: Path, stream: BinaryIO) -> None:
    size = stream.seek(0, 2)
    stream.seek(0)
    if size <= DIGEST_LENGTH or stream.read(4) != b"PK\x03\x04":
        raise _damaged(path, "it is not a bundle, or its start is missing")
    stream.seek(-DIGEST_LENGTH, 2)
    stated = stream.read()
    if stated != whole_digest(stream).encode():
        raise _damaged(path, "its digest is not that of its content")


def _check_listing(archive: zipfile.ZipFile, size: int) -> None:
    """Plain members only, each once, and no more of them than the file can hold."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError("it has two members of one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ValueError(f"{entry.filename[:80]!r} is compressed or encrypted")
        if entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename[:80]!r} states two sizes")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its members are larger than the file")
    if any(archive.getinfo(name).file_size > _MOST_JSON for name in (MANIFEST, SAMPLES)):
        raise ValueError("its manifest is too large")


def _check_members(archive: zipfile.ZipFile, manifest: Manifest, members: dict[str, str]) -> None:
    """Exactly the members that the manifest's counts call for, no other name."""
    present = set(archive.namelist())
    if len(manifest.outputs) * manifest.chunks + 2 != len(present):
        raise ValueError("it has other members than its manifest says")
    expected = {
        manifest.chunk_name(output, chunk)
        for output in range(len(manifest.outputs))
        for chunk in range(manifest.chunks)
    } | {SAMPLES}
    if surplus := sorted(present - expected - {MANIFEST}) or sorted(expected - set(members)):
        raise ValueError(f"{surplus[0][:80]!r} does not belong to it")


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    return json.loads(archive.read(name))


def _header(stream: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, Any]:
    try:
        return read_header(stream)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error


def _words(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    text = error.cause if isinstance(error, EdgekitError) else str(error)
    return (text or type(error).__name__).strip().rstrip(".").splitlines()[0][:200]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is damaged or no recorded reference: {why}.",
        cure="Copy it again, or record it again: edgekit reference record MODEL --data DIR -o FILE",
    )
