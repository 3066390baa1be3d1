"""LiteRT's ahead-of-time compilers: one interface, a vendor's library behind it."""

import importlib
import re
from pathlib import Path

from ai_edge_litert.aot.aot_compile import aot_compile
from ai_edge_litert.aot.vendors.google_tensor import target as google_tensor
from ai_edge_litert.aot.vendors.mediatek import target as mediatek
from ai_edge_litert.aot.vendors.qualcomm import target as qualcomm

from edgekit_worker import WorkerError

VENDORS = {"qualcomm": qualcomm, "mediatek": mediatek, "google-tensor": google_tensor}
LOG = re.compile(r"See (\S+) for details")
PLACE = re.compile(r"^(ERROR: \[[^]]*\]|└) ")


def compile_file(request, progress):
    """Compile ``artifact`` for ``target`` into ``folder``.

    Returns ``artifact`` and ``refused``: why an operator stays on the CPU is not said, and figures
    there are none.
    """
    vendor, _, model = request["target"].rpartition("-")
    target = target_of(vendor, model)
    require_sdk(vendor)
    try:
        result = aot_compile(
            request["artifact"], output_dir=request["folder"], target=target, keep_going=False
        )
    except (ValueError, FileNotFoundError) as error:
        raise WorkerError(f"LiteRT: {said(error)}") from error
    ((_, made),) = result.models_with_backend
    if not sum(one.num_ops_offloaded for one in made.partition_stats.subgraph_stats):
        raise WorkerError(f"LiteRT compiled no operator for {request['target']}.")
    return {"artifact": str(made.path), "refused": []}


def target_of(vendor, model):
    """LiteRT's own object for a target such as qualcomm-sm8750 or google-tensor-g5."""
    module = VENDORS[vendor]
    for known in module.SocModel:
        if known.value.lower().endswith(model):
            return module.Target(known)
    raise WorkerError(f"This LiteRT has no target {vendor}-{model}.", kind="usage")


def require_sdk(vendor):
    """Its package may be there without the vendor's files: it installs without them, too."""
    module = importlib.import_module(f"ai_edge_litert_sdk_{vendor.replace('-', '_')}")
    if module.get_sdk_path() is None:
        package = module.__name__.replace("_", "-")
        raise WorkerError(
            f"{package} is installed without the vendor's SDK, which it downloads.",
            cure=f"pip install --force-reinstall --no-cache-dir {package}, where the vendor's "
            "server can be reached.",
            kind="setup",
        )


def said(error):
    """The first error of LiteRT's own log, where the exception names one."""
    named = LOG.search(str(error))
    if named is None:
        return " ".join(str(error).split())
    lines = Path(named[1]).read_text(encoding="utf-8", errors="replace").splitlines()
    wrong = [line for line in lines if line.startswith(("ERROR", "└"))]
    return PLACE.sub("", wrong[0]) if wrong else "it did not say why"
