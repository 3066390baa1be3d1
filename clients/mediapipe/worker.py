"""MediaPipe Tasks: pictures in, scores of classes out, as the file's standard metadata says."""

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from edgekit_worker import WorkerError, answer_samples

loaded = None


def load(request, progress):
    """Open a classifier of raw pixels; other files are for others of its tasks, or for none."""
    global loaded
    (shape,), outputs = [one["shape"] for one in request["inputs"][:1]], request["outputs"]
    if len(request["inputs"]) > 1 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise WorkerError("It takes one RGB picture.", kind="usage")
    if len(outputs) > 1 or sum(size > 1 for size in outputs[0]["shape"]) != 1:
        raise WorkerError("Only its image classifier is asked here.", kind="usage")
    if not whole_pixels(request["inputs"][0]):
        raise WorkerError(
            "It is given pictures: a file that takes raw pixels (--fold-preprocess) is asked.",
            kind="usage",
        )
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=request["artifact"]), max_results=-1
    )
    try:
        loaded = vision.ImageClassifier.create_from_options(options)
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error
    return {}


def whole_pixels(tensor):
    """Whether all samples are pictures as they are stored in files."""
    stack = np.load(tensor["path"], allow_pickle=False)
    return stack.min() >= 0 and stack.max() <= 255 and bool((stack == np.round(stack)).all())


def run(request, progress):
    """Scores come as real values, by the place of their class."""
    (output,) = request["outputs"]

    def once(values):
        pixels = np.ascontiguousarray(values[0][0], dtype=np.uint8)
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        (head,) = loaded.classify(picture).classifications
        scores = np.zeros(output["shape"], np.float32)
        for category in head.categories:
            scores.reshape(-1)[category.index] = category.score
        return [scores]

    try:
        return answer_samples(once, request, progress)
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error
