#!/usr/bin/env bash
# All that asks for a GPU, in one run of a few minutes:
#
#     benchmarks/gpu.sh record FOLDER     on the machine with the GPU
#     benchmarks/gpu.sh validate FOLDER   anywhere, with the FOLDER that it has written
#
# record runs the tests marked gpu, and keeps what a classifier, a detector and a Keras model say on
# CUDA, with their weights. validate makes .tflite files of the same models and holds them against
# that. DEVICE=cpu tries the script itself without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
action=${1:?record or validate} folder=$(mkdir -p "${2:?a folder}" && cd "$2" && pwd)
device=${DEVICE:-cuda}
python=${PYTHON:-.venv/bin/python}
edgekit=("$python" -m edgekit)
small=(--resize 36 --crop 32 --scale 1/255)
classifier=(examples/efficientnet_lite0.py:build --config examples/efficientnet_lite0.toml)
detector=(benchmarks/models/nets.py:detector --weights "$folder/detector.pt" --input image:1x3x32x32)
keras=("$folder/classifier.keras")

record() {
  if [ "$device" = cuda ]; then
    "$python" -c 'import torch; assert torch.cuda.is_available(), "PyTorch sees no GPU"'
    "$python" -m pytest -q -m gpu tests
  fi
  "$python" - "$folder" <<'END'
import sys
import keras, torch
sys.path.insert(0, "benchmarks")
from models.nets import detector
torch.manual_seed(0)
torch.save(detector().state_dict(), f"{sys.argv[1]}/detector.pt")
keras.utils.set_random_seed(0)
keras.applications.MobileNetV2((96, 96, 3), weights=None).save(f"{sys.argv[1]}/classifier.keras")
END
  on=(--data calibration_data --reference-device "$device" --force)
  "${edgekit[@]}" reference record "${classifier[@]}" "${on[@]}" -o "$folder/classifier.edgeref"
  "${edgekit[@]}" reference record "${detector[@]}" "${small[@]}" "${on[@]}" -o "$folder/detector.edgeref"
  on=(--data calibration_data --force)  # Keras runs where TensorFlow puts it
  "${edgekit[@]}" reference record "${keras[@]}" --scale 1/255 "${on[@]}" -o "$folder/keras.edgeref"
}

validate() {
  on=(--calibration calibration_data --scheme fp32 --accept-few --force)
  "${edgekit[@]}" convert "${classifier[@]}" "${on[@]}" --output "$folder/classifier"
  "${edgekit[@]}" convert "${detector[@]}" "${small[@]}" "${on[@]}" --output "$folder/detector"
  "${edgekit[@]}" convert "${keras[@]}" --scale 1/255 "${on[@]}" --output "$folder/keras"
  for name in classifier detector keras; do
    "${edgekit[@]}" reference show "$folder/$name.edgeref"
    "${edgekit[@]}" validate "$folder/$name"/*_fp32.tflite --reference "$folder/$name.edgeref" \
      --data calibration_data --accept-few
  done
}

"$action"
