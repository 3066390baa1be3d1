"""What a worker may touch, told to the kernel. Standard library only: it runs in any Python.

`contain` binds this process and all its children, for good, before a stranger's file is opened:

- files: Landlock (Linux 5.13+, ``Documentation/userspace-api/landlock.rst``), no privilege needed;
  without it Bubblewrap, where it is installed (`edgekit_bubblewrap`);
- sockets, new processes, owners and modes of files: a seccomp filter
  (``Documentation/userspace-api/seccomp_filter.rst``) on x86-64 and aarch64;
- everywhere: an audit hook that refuses what Python itself is asked to do, with a message that
  names what was tried. Where the kernel has neither of the above, that hook is all there is, and
  native code does not pass through it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import stat
import struct
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, which have these numbers on every architecture."""
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12
"""Devices, sockets, pipes and symbolic links: edgekit would follow or wait for them."""
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
"""The rights that make sense for something that is not a folder."""
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: _IOCTL}
"""What each version of the interface added: moving between folders, truncating, device controls."""
_NETWORK_RIGHTS, _NETWORK_SINCE = 3, 4
_SCOPES, _SCOPES_SINCE = 3, 6
"""Abstract sockets and signals of processes outside."""
_REFER_SINCE = 2

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ACCELERATORS = ("nvidia", "dri", "kfd")
SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store",
    "/sys", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/nsswitch.conf",
    "/etc/passwd", "/etc/group", "/etc/os-release", "/etc/mime.types", "/etc/fonts", "/etc/OpenCL",
    "/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/ssl", "/etc/pki",
)  # fmt: skip
_PROC = (
    "/proc/self", "/proc/cpuinfo", "/proc/devices", "/proc/driver", "/proc/filesystems",
    "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/sys", "/proc/uptime", "/proc/version",
)  # fmt: skip
"""Without the folders of other processes, which have what these were told."""
_CACHES = ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH",
           "TORCHINDUCTOR_CACHE_DIR")  # fmt: skip
"""Where libraries keep what they can make again."""
_HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TORCH_HOME", "HF_HOME",
          "KERAS_HOME", "TFHUB_CACHE_DIR")  # fmt: skip
"""Where libraries look before they look into the home folder."""


class Confinement(NamedTuple):
    """What a worker may touch.

    Attributes:
        write: folders below which it may write.
        read: files and folders that it may read beside the system's, Python's and its own; ``None``
            for everything.
        code: the user's own code runs, which finds its home folder where it always is.
        processes: it may start programs.
        network: it may open sockets.
        scratch: a folder for temporary files and caches, below one of ``write``.
    """

    write: tuple[str, ...] = ()
    read: tuple[str, ...] | None = None
    code: bool = True
    processes: bool = False
    network: bool = False
    scratch: str = ""

    @classmethod
    def take(cls) -> Confinement:
        """Those that edgekit put into ``EDGEKIT_BOUNDS``, which is taken away."""
        told = json.loads(os.environ.pop("EDGEKIT_BOUNDS", "{}"))
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})

    def to_json(self) -> str:
        """As `take` reads it."""
        return json.dumps(self._asdict())


class Refused(PermissionError):
    """Something that this process may not do: ``why``, and in ``cure`` what would allow it."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(errno.EACCES, f"edgekit: {why}")
        self.why, self.cure = why, cure


# Libraries and model code name the class of what stopped them; users know this one by its own name.
Refused.__name__ = PermissionError.__name__


def contain(bounds: Confinement, program: Path) -> None:
    """Hold this process and its children to ``bounds``.

    To be called while there is one thread: the kernel binds the calling thread and what it starts.

    Args:
        bounds: what is allowed.
        program: the worker, which may read what is beside it.
    """
    abi = landlock_abi()
    if abi:
        _restrict_files(bounds, program, abi)
    if 0 < abi < _REFER_SINCE:
        _move_by_copying()
    if sys.platform == "linux":
        _install_filter(bounds)
    _settle(bounds)
    sys.addaudithook(_Hook(bounds))


def refusal(error: BaseException) -> tuple[str, str] | None:
    """What an error says about something refused, and what would allow it.

    Returns:
        The line that says it (empty where the first line of the error does) and the cure; ``None``
        where nothing was refused.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, Refused):
            return "", link.cure
        lines = str(link).strip().splitlines()
        said = next((number for number, line in enumerate(lines) if _DENIED.search(line)), None)
        if said is not None:
            line = "" if link is error and said == 0 else lines[said].strip()[:300]
            return line, _CURE
        link = link.__cause__ or link.__context__
    return None


_DENIED = re.compile(r"[Pp]ermission ?denied|[Oo]peration not permitted|Read-only file system")
_CURE = (
    "Check its permissions. A model may write below its work folder only, unless you trust it and "
    "say --allow-write FOLDER."
)


# --------------------------------------------------------------------------- temporary files


def _settle(bounds: Confinement) -> None:
    """Point temporary files and caches to where they may be written."""
    sys.dont_write_bytecode = True
    if not bounds.scratch:
        return
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = bounds.scratch
    for name in _CACHES:
        os.environ[name] = f"{bounds.scratch}/{name.lower()}"
    if not bounds.code:
        os.environ["HOME"] = bounds.scratch
        for name in _HOMES:
            os.environ.pop(name, None)


# ------------------------------------------------------------------------------------ files


def landlock_abi() -> int:
    """The version of Landlock's interface in this kernel, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    found = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(int(found), 0)


def _restrict_files(bounds: Confinement, program: Path, abi: int) -> None:
    every = sum(rights for since, rights in _RIGHTS.items() if since <= abi)
    handled = every
    if bounds.read is None:
        handled &= ~(_READ_FILE | _READ_DIR)
        if bounds.processes:
            handled &= ~_EXECUTE
    network = _NETWORK_RIGHTS if abi >= _NETWORK_SINCE and not bounds.network else 0
    scoped = _SCOPES if abi >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, network, scoped)
    size = 24 if abi >= _SCOPES_SINCE else 16 if abi >= _NETWORK_SINCE else 8
    ruleset = _call(_CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0)
    reading = (_READ_FILE | _READ_DIR | (_EXECUTE if bounds.processes else 0)) & handled
    writing = handled & ~(_EXECUTE | _MAKE_SPECIAL)
    try:
        for path in bounds.write:
            _allow(ruleset, path, writing)
        for path in _devices():
            _allow(ruleset, path, writing)
        if accelerators():  # CUDA names its threads there, or does not start
            _allow(ruleset, "/proc/self/task", writing)
        if bounds.read is not None:
            proc = ("/proc",) if bounds.processes else _PROC  # its children's are not there yet
            for path in {*SYSTEM, *proc, *python_places(program), *bounds.read}:
                _allow(ruleset, path, reading)
        _no_new_privileges()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there needs no rule
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = ctypes.c_char_p(struct.pack("=Qi", rights, place))
            _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


@cache
def accelerators() -> frozenset[str]:
    """The devices of GPUs here."""
    there = os.listdir("/dev")  # noqa: PTH208
    return frozenset(f"/dev/{name}" for name in there if name.startswith(_ACCELERATORS))


@cache
def _devices() -> frozenset[str]:
    return accelerators() | frozenset(_DEVICES)


def python_places(program: Path) -> Iterator[str]:
    """Where this interpreter, its packages and the worker's own code are."""
    home = os.path.realpath(Path.home())
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path]
    places += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    places += [sys.executable, str(program.parent), str(Path(__file__).parent)]
    places += filter(None, [sys.pycache_prefix])
    for place in filter(None, places):
        real = os.path.realpath(place)
        if not _is_below(home, real):  # a home folder is not a library
            yield real


def _move_by_copying() -> None:
    """The first Landlock lets nobody move a file from folder to folder: copy it, then remove it."""

    import shutil

    def copying(move: Any) -> Any:
        def moved(source: Any, target: Any, **more: Any) -> None:
            try:
                move(source, target, **more)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(source, target)
                os.remove(source)  # noqa: PTH107

        return moved

    os.rename, os.replace = copying(os.rename), copying(os.replace)


# ------------------------------------------------------------------- sockets, processes, modes

_NUMBERS = {
    "x86_64": (0xC000003E, {
        "socket": (41,), "send": (44,), "talk": (42, 46, 307),
        "io_uring": (425,), "clone": (56,), "clone3": (435,),
        "fork": (57, 58), "exec": (59, 322), "modes": (90, 91, 268, 452, 92, 93, 94, 260),
        "attributes": (188, 189, 190, 197, 198, 199), "special": (88, 133, 259, 266),
    }),
    "aarch64": (0xC00000B7, {
        "socket": (198,), "send": (206,), "talk": (203, 211, 269),
        "io_uring": (425,), "clone": (220,), "clone3": (435,),
        "fork": (), "exec": (221, 281), "modes": (52, 53, 452, 54, 55),
        "attributes": (5, 6, 7, 14, 15, 16), "special": (33, 36),
    }),
}  # fmt: skip
"""What ``AUDIT_ARCH`` is, and the numbers of system calls."""
_UNIX = 1
Rows = list[tuple[int, int, int, int]]
"""Of a filter: operation, where to if it holds and if not, value."""
_X32 = 0x40000000
"""On x86-64 the same calls have second numbers from here on."""
_CLONE_THREAD = 0x00010000
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_SET, _GIVE = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOWED, _FAILING = 0x7FFF0000, 0x00050000


def _install_filter(bounds: Confinement) -> None:
    machine = os.uname().machine
    if machine not in _NUMBERS:
        return
    program = _filter(bounds, *_NUMBERS[machine])
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in program))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    )
    set_seccomp, mode_filter = 22, 2
    _no_new_privileges()
    _libc().prctl(set_seccomp, mode_filter, ctypes.c_void_p(ctypes.addressof(header)), 0, 0)


def _filter(bounds: Confinement, architecture: int, numbers: dict[str, tuple[int, ...]]) -> Rows:
    """The rows of the filter: operation, where to if it holds and if not, value."""
    refused = _FAILING | errno.EACCES
    rows = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_EQUAL, 1, 0, architecture),
        (_GIVE, 0, 0, refused),  # another one has other numbers for all this
        (_LOAD, 0, 0, 0),  # the number of the system call
        (_JUMP_FROM, 0, 1, _X32),
        (_GIVE, 0, 0, refused),
    ]

    def give(name: str, what: int) -> None:
        for number in numbers[name]:
            rows.extend([(_JUMP_EQUAL, 0, 1, number), (_GIVE, 0, 0, what)])

    # As on a file system that has no owners and modes: they stay, and nobody fails for it.
    give("modes", _FAILING)
    give("attributes", _FAILING | errno.ENOTSUP)
    give("special", refused)  # as `_MAKE_SPECIAL`, where there is no Landlock
    give("io_uring", _FAILING | errno.ENOSYS)  # it makes system calls that pass no filter
    if not bounds.processes:
        give("fork", refused)
        give("exec", refused)
        give("clone3", _FAILING | errno.ENOSYS)  # its flags cannot be seen; C libraries go on
    if not bounds.network:  # of any family: a Unix socket may lead to ssh-agent or Docker
        if accelerators():
            rows.extend(_silent_sockets(numbers, refused))
        give("socket", refused)
    if not bounds.processes:
        (number,) = numbers["clone"]
        rows.append((_JUMP_EQUAL, 0, 3, number))
        rows.extend(
            [
                (_LOAD, 0, 0, 16),  # its flags, the lower half
                (_JUMP_SET, 1, 0, _CLONE_THREAD),
                (_GIVE, 0, 0, refused),
            ]
        )
    rows.append((_GIVE, 0, 0, _ALLOWED))
    return rows


def _silent_sockets(numbers: dict[str, tuple[int, ...]], refused: int) -> Rows:
    """CUDA makes a Unix socket and binds it, or does not start: it may, but speak to nobody."""
    (make,), (send,) = numbers["socket"], numbers["send"]
    rows = [
        (_JUMP_EQUAL, 0, 4, make),
        (_LOAD, 0, 0, 16),  # its family
        (_JUMP_EQUAL, 0, 1, _UNIX),
        (_GIVE, 0, 0, _ALLOWED),
        (_GIVE, 0, 0, refused),
        (_JUMP_EQUAL, 0, 6, send),  # with an address; a pair of sockets needs none
        (_LOAD, 0, 0, 48),
        (_JUMP_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, 52),
        (_JUMP_EQUAL, 0, 1, 0),
        (_GIVE, 0, 0, _ALLOWED),
        (_GIVE, 0, 0, refused),
    ]
    for number in numbers["talk"]:
        rows += [(_JUMP_EQUAL, 0, 1, number), (_GIVE, 0, 0, refused)]
    return rows


# ------------------------------------------------------------------------------ Python's part

_CHANGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "os.remove": ((0,), (1,)), "os.rename": ((0, 1), (2, 3)), "os.mkdir": ((0,), (2,)),
    "os.rmdir": ((0,), (1,)), "os.link": ((1,), (2, 3)), "os.symlink": ((1,), (2,)),
    "os.truncate": ((0,), ()), "os.chmod": ((0,), (2,)), "os.chown": ((0,), (3,)),
}  # fmt: skip
"""Audit events that change files: which arguments are paths, which are folders to start from."""
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PROCESS_CURE = "Do that once outside edgekit, and give the model what came of it."
_NETWORK_CURE = "Do that once outside edgekit, or allow it with --allow-network."


class _Hook:
    """An audit hook (``sys.addaudithook``) that knows what is allowed."""

    def __init__(self, bounds: Confinement) -> None:
        self._bounds = bounds
        self._roots = [os.path.realpath(path) for path in bounds.write]

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING:
                self._change(path)
        elif event in _CHANGES:
            places, folders = _CHANGES[event]
            # With an open folder beside it a path stands for what only the kernel knows.
            if all(arguments[place] in (-1, None) for place in folders):
                for place in places:
                    self._change(arguments[place])
        elif event in _STARTS and not self._bounds.processes:
            wanted = f"{arguments[0]}" if arguments else event
            raise Refused(f"a conversion step starts no programs (wanted {wanted})", _PROCESS_CURE)
        elif event in {"socket.connect", "socket.getaddrinfo"} and not self._bounds.network:
            self._connect(arguments[1 if event == "socket.connect" else 0], event)

    def _connect(self, target: Any, event: str) -> None:
        if isinstance(target, str | bytes) and event == "socket.connect":
            return  # a Unix socket
        raise Refused(f"no network in a conversion step (wanted {target})", _NETWORK_CURE)

    def _change(self, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor: it was opened before
        real = os.path.realpath(os.fsdecode(path))
        if real in _devices() or any(_is_below(real, root) for root in self._roots):
            return
        raise Refused(
            f"a model writes below its work folder only (wanted {real})",
            f"If you trust the model: --allow-write {Path(real).parent}",
        )


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _no_new_privileges() -> None:
    _libc().prctl(38, 1, 0, 0, 0)


def _call(number: int, *arguments: Any) -> int:
    result = _libc().syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return int(result)
