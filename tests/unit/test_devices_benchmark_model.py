"""The lines of LiteRT's benchmark_model, of several of its versions."""

from __future__ import annotations

import pytest

from edgekit.devices.benchmark_model import DelegateShare, parse_benchmark

RECENT = """\
INFO: STARTING!
INFO: Loaded model /data/local/tmp/model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 60 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, \
yielding 3 partitions for subgraph 0.
INFO: Initialized session in 31.2ms.
INFO: count=17 first=37401 curr=27864 min=27688 max=37401 avg=29122.4 std=2262 p5=27688 \
median=27870 p95=37401

INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 \
p5=1238753 median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, \
Inference (avg): 1.24027e+06
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only \
APPROXIMATE to the actual memory footprint of the model at runtime.
INFO: Memory footprint delta from the start of the tool (MB): init=6.25 overall=100
INFO: Overall peak memory footprint (MB) via periodic monitoring: 125
"""
OLD = """\
STARTING!
Explicitly applied NNAPI delegate, and the model graph will be completely executed by the delegate.
count=1 curr=11403859

count=260 first=3918 curr=3711 min=3700 max=4026 avg=3756.87 std=35

Inference timings in us: Init: 13386, First inference: 11403859, Warmup (avg): 1.14039e+07, \
Inference (avg): 3756.87
Peak memory footprint (MB): init=0 overall=16
"""


def test_a_recent_tool():
    timing = parse_benchmark(RECENT)
    assert timing is not None
    assert (timing.runs, timing.mean_ms, timing.p50_ms) == (50, 1240.27, 1239.807)
    assert (timing.p5_ms, timing.p95_ms) == (1238.753, 1247.415)
    assert (timing.min_ms, timing.max_ms, timing.std_ms) == (1238.588, 1252.566, 2.565)
    assert (timing.load_ms, timing.first_ms) == (5.579, 1357.602)
    assert (timing.memory_mb, timing.peak_memory_mb) == (104.9, 131.1)  # MiB there, MB here
    assert timing.placement == (
        DelegateShare(
            delegate="TfLiteXNNPackDelegate", whole=False, nodes=60, all_nodes=64, partitions=3
        ),
    )
    assert not timing.refused


def test_an_old_tool():
    timing = parse_benchmark(OLD)
    assert timing is not None
    assert timing.mean_ms == pytest.approx(3.75687)
    assert (timing.runs, timing.p50_ms, timing.p95_ms) == (260, None, None)
    assert (timing.memory_mb, timing.peak_memory_mb) == (16.8, None)
    assert timing.placement == (DelegateShare(delegate="NNAPI", whole=True),)


def test_a_single_run():
    timing = parse_benchmark(RECENT.replace("count=50 first=1249964 ", "count=1 "))
    assert timing is not None
    assert timing.runs == 1
    lonely = "count=1 curr=1357602\nInference timings in us: Init: 1, First inference: 2, rest"
    timing = parse_benchmark(lonely)
    assert timing is not None
    assert timing.mean_ms == timing.min_ms == timing.max_ms == 1357.602


def test_a_delegate_that_takes_nothing():
    words = "WARNING: Though GPU delegate is explicitly applied, the model graph will not be "
    timing = parse_benchmark(f"{words}executed by the delegate.\n{OLD}")
    assert timing is not None
    assert timing.refused


@pytest.mark.parametrize("cut", ["", "nonsense", RECENT.partition("INFO: Inference")[0], "count=5"])
def test_output_without_an_end_gives_nothing(cut):
    assert parse_benchmark(cut) is None
