#!/bin/sh
# Stands in for LiteRT's benchmark_model: its lines, with figures that are known.
for argument in "$@"; do
  case $argument in
    --graph=*) graph=${argument#--graph=} ;;
    --num_threads=*) threads=${argument#--num_threads=} ;;
    --use_gpu=true) gpu=yes ;;
    --note=*) note=${argument#--note=} ;;
  esac
done
echo "INFO: STARTING!"
echo "INFO: Log parameter values verbosely: [0]"
echo "INFO: Num threads: [$threads]"
echo "INFO: Graph: [$graph]"
if [ "$(head -c 8 "$graph" | tail -c 4)" != TFL3 ]; then
  echo "ERROR: Model provided has model identifier '    ', should be 'TFL3'" >&2
  echo "ERROR: Failed to load model $graph" >&2
  exit 1
fi
test "$note" = hang && sleep 600
test -n "$note" && printf 'INFO: Note: [%s]\n' "$note"
echo "INFO: Loaded model $graph"
if [ "$gpu" ]; then
  echo "INFO: Created TensorFlow Lite delegate for GPU."
  echo "VERBOSE: Replacing 58 out of 64 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions for the whole graph."
  echo "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 2 delegate kernels."
else
  echo "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
  echo "VERBOSE: Replacing 64 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for the whole graph."
fi
echo "INFO: The input model file size (MB): $(wc -c < "$graph")"
echo "INFO: Initialized session in 31.2ms."
echo "INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds."
echo "INFO: count=17 first=37401 curr=27864 min=27688 max=37401 avg=29122.4 std=2262 p5=27688 median=27870 p95=37401"
echo
echo "INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds."
echo "INFO: count=50 first=28067 curr=27905 min=27800 max=28901 avg=28033.8 std=210 p5=27810 median=27995 p95=28420"
echo
echo "INFO: Inference timings in us: Init: 31200, First inference: 37401, Warmup (avg): 29122.4, Inference (avg): 28033.8"
echo "INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion."
echo "INFO: Memory footprint delta from the start of the tool (MB): init=12.25 overall=17.5"
echo "INFO: Overall peak memory footprint (MB) via periodic monitoring: 23.75"
