"""Runs in MediaPipe's environment: what its tasks say about pictures, as JSON.

``mediapipe_client.py TASK PICTURES.npy FILE…`` with TASK classifier, segmenter, detector or schema.
"""

import json
import os
import pathlib
import sys
import zipfile

import numpy as np


def classified(vision, base, pictures):
    options = vision.ImageClassifierOptions(base_options=base, max_results=5)
    with vision.ImageClassifier.create_from_options(options) as task:
        for picture in pictures:
            (head,) = task.classify(picture).classifications
            yield [[c.index, c.category_name, c.score] for c in head.categories]


def segmented(vision, base, pictures):
    options = vision.ImageSegmenterOptions(base_options=base, output_category_mask=True)
    with vision.ImageSegmenter.create_from_options(options) as task:
        for picture in pictures:
            mask = task.segment(picture).category_mask.numpy_view()
            yield [list(task.labels), np.squeeze(mask).tolist()]


def detected(vision, base, pictures):
    options = vision.ObjectDetectorOptions(base_options=base)
    with vision.ObjectDetector.create_from_options(options) as task:
        for picture in pictures:
            yield [
                [*vars(found.bounding_box).values(), best.category_name, best.score]
                for found in task.detect(picture).detections
                for best in found.categories[:1]
            ]


def described(path):
    """The metadata by the generated code of MediaPipe's own copy of the schema."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    data = pathlib.Path(path).read_bytes()
    model = tflite.Model.GetRootAs(data, 0)
    entries = [model.Metadata(place) for place in range(model.MetadataLength())]
    (entry,) = [one for one in entries if one.Name() == b"TFLITE_METADATA"]
    stored = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(stored, 0)
    whole = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(stored, 0))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    return {"metadata": plain(whole), "files": files}


def plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return {k: plain(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value


def main():
    task, pictures, *files = sys.argv[1:]
    answers = []
    if task == "schema":
        answers = [described(path) for path in files]
    else:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        run = {"classifier": classified, "segmenter": segmented, "detector": detected}[task]
        images = [
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(one))
            for one in np.load(pictures)
        ]
        for path in files:
            base = BaseOptions(model_asset_path=path)
            try:
                answers.append({"found": list(run(vision, base, images))})
            except (ValueError, RuntimeError) as error:
                answers.append({"refused": str(error)})
    print(json.dumps(answers), flush=True)
    os._exit(0)  # its threads do not always end


if __name__ == "__main__":
    main()
