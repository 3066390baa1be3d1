"""The agent as the one file that travels to a device, and how it gets there.

The only command that is ever given to a device's shell is `COMMAND`, a constant. It reads a line of
Python from the pipe, the loader, which asks for the agent where the device does not have it yet.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from functools import cache
from importlib.resources import files

BOOTSTRAP = 'exec(bytes.fromhex(open(0,"rb",0,closefd=False).readline().decode()))'
"""For ``python3 -c``. The pipe is read without a buffer: nothing of what follows is lost."""
COMMAND = f"exec python3 -c '{BOOTSTRAP}'"
MARKER = b"EDGEKIT-AGENT "
"""Begins the loader's line; a login shell may have printed before."""

_MAIN = "import sys\nfrom edgekit_agent.serve import main\n\nmain(sys.argv[1])\n"

_LOADER = r"""
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import hashlib, json, os, tempfile
pipe = open(0, "rb", 0, closefd=False)
order = json.loads(pipe.readline().decode())
def say(word):
    os.write(1, ("\nEDGEKIT-AGENT " + word + "\n").encode())
def stop(word):
    say(word)
    sys.exit(3)
if sys.version_info < (3, 8):
    stop("old %d.%d" % sys.version_info[:2])
def folders():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield os.path.join(cache, "edgekit-agent")
    yield os.path.join(tempfile.gettempdir(), "edgekit-agent-%d" % os.getuid())
def usable(folder):
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        owners = {os.lstat(folder).st_uid, os.stat(folder).st_uid}  # of a link, and of its end
        return owners == {os.getuid()} and os.access(folder, os.W_OK)
    except OSError:
        return False
base = next(filter(usable, folders()), None)
if base is None:
    stop("nowhere")
path = os.path.join(base, order["digest"], "agent.pyz")
def there():
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest() == order["digest"]
    except OSError:
        return False
if there():
    say("have")
else:
    say("want")
    left, parts = order["size"], []
    while left:
        part = pipe.read(min(left, 65536))
        if not part:
            sys.exit(3)
        parts.append(part)
        left -= len(part)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as stream:
            stream.write(b"".join(parts))
        os.replace(new, path)
    except OSError:
        stop("full")
    if not there():
        stop("damaged")
python = order["python"]
if not python and order["search"]:
    own = os.path.join(base, "venv", "bin", "python")
    python = own if os.access(own, os.X_OK) else None
python = os.path.expanduser(python) if python else sys.executable
if python != sys.executable and not os.access(python, os.X_OK):
    stop("nopython")
say("ready")
if python != sys.executable:
    os.execv(python, [python, path, base])
sys.path.insert(0, path)
from edgekit_agent.serve import main
main(base)
"""


@cache
def parcel() -> tuple[bytes, str]:
    """The agent as a zip file that Python runs, the same bytes every time, and its SHA-256."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry("__main__.py"), _MAIN)
        modules = files("edgekit.devices.agent").iterdir()
        for module in sorted(modules, key=lambda entry: entry.name):
            if module.name.endswith(".py"):
                entry = _entry(f"edgekit_agent/{module.name}")
                archive.writestr(entry, module.read_text(encoding="utf-8"))
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def greeting(*, python: str | None, search: bool) -> bytes:
    """What is written to the pipe first: the loader, and what it is to do.

    Args:
        python: the Python on the device to run the agent with; the one that was started, if none.
        search: prefer a virtual environment ``venv`` in the agent's folder, where there is one.
    """
    data, digest = parcel()
    order = {"digest": digest, "size": len(data), "python": python, "search": search}
    return f"{_LOADER.encode().hex()}\n{json.dumps(order)}\n".encode()


def _entry(name: str) -> zipfile.ZipInfo:
    """A place in the archive without the time of day, which would change the digest."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
