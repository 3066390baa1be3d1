"""``edgekit.convert`` and ``edgekit.quantize``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.api.passed import Data, Model, config_of, pictures_are_stated, preprocessing, specs
from edgekit.api.signatures import like
from edgekit.arguments import AnyPath, check_arguments, listed, path
from edgekit.contract import Color, Task
from edgekit.errors import UsageError
from edgekit.objects import given
from edgekit.pipeline.plan import DEFAULT_SAMPLES, plan
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.run import run
from edgekit.results import ConversionResult
from edgekit.toolchain.workshop import Limits
from edgekit.types import Effort, IoDtype, Pass, Progress, Scheme, TensorSpec
from edgekit.validation.gates import IN_CLIENTS, parse


def convert(
    model: Model,
    example_inputs: object = None,
    *,
    calibration: Data | None = None,
    parity: Data | None = None,
    inputs: Sequence[str | TensorSpec] = (),
    preprocess: Mapping[str, Any] | object | None = None,
    fold_preprocess: bool | None = None,
    feed_color: Color = "RGB",
    schemes: Sequence[Scheme] = (),
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
    task: Task | None = None,
    labels: AnyPath | None = None,
    gates: Sequence[str] = (),
    io_dtype: IoDtype | None = None,
    effort: Effort = "balanced",
    ranges: str = "auto",
    without: Sequence[Pass] = (),
    standard_metadata: bool = True,
    keep_scales: bool = True,
    keep_prepared: bool = False,
    keep_float: Sequence[str] = (),
    keep_int16: Sequence[str] = (),
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    max_latency: float | None = None,
    allow_float_ops: bool = False,
    targets: Sequence[str] = (),
    compat: Sequence[str] = (),
    route: str | None = None,
    output: AnyPath | None = None,
    config: AnyPath | None = None,
    samples: int | None = None,
    parity_samples: int = 64,
    accept_few: bool = False,
    accept_contract: bool = False,
    seed: int = 0,
    synthetic: bool = False,
    pictures: bool = True,
    force: bool = False,
    threads: int = 1,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Turn a trained model into `.tflite` files, each with proof that it does the model's job.

    >>> result = edgekit.convert(net, calibration=loader, task="classification")  # doctest: +SKIP
    >>> result.passed, result.files[0].artifact.path  # doctest: +SKIP

    A model object is exported in this process, by its own framework, and is afterwards what it was:
    mode, device, gradients, buffers, random numbers. What was exported must answer as the object
    itself does, or there is an error that says so.

    Args:
        model: a `torch.nn.Module`, a `keras.Model`, a `tf.function`, an `onnx.ModelProto`; or
            ``package.module:factory``, ``file.py:factory``, a model file or folder.
        example_inputs: what a PyTorch module or a TensorFlow function is given: a tensor, a tuple
            of them, or a dict by parameter. By default the first of ``calibration``.
        calibration: inputs that the model will really see: a `DataLoader`, `Dataset`,
            `tf.data.Dataset`, array with samples on axis 0, list, generator, dict of arrays by
            input; or a folder of images, ``.npy``, ``.npz`` or a video. Of (x, y) and of dicts
            labels are taken. Values are fed as they are; where ``preprocess`` is stated, 8-bit
            arrays (height, width, channels) are pictures that it is done to. Pillow's always are.
        parity: separate data to compare on; by default a part of ``calibration``.
        inputs: shapes that the model does not tell, as ``NAME:SHAPE[:DTYPE][:LAYOUT]`` or specs.
        preprocess: keys of `edgekit.contract.Preprocess`; or what already says it: torchvision's
            weights or their ``transforms()``, an image processor of transformers. Without it, what
            the model carries is taken: timm's ``pretrained_cfg``, the folder of a Hugging Face
            model, Keras layers that normalise.
        fold_preprocess: normalise inside the files, so that the app feeds raw pixels 0…255: in all
            of them, in none, or by default in those of int8 where the preprocessing is stated.
        feed_color: with True: the order of the colours that the app feeds.
        schemes: which files to make; fp32, fp16 and int8 by default.
        weights: a state dict for a PyTorch factory.
        trust_pickle: open a pickle, which can run any code.
        signature: which function of a SavedModel to convert, ``serving_default`` by default.
        task: what the first output means; decides the default gates.
        labels: a file with class names, one a line.
        gates: conditions such as ``int8:top1_agreement >= 95%``.
        io_dtype: the type of inputs and outputs of ``int8``: int8 (the default), uint8, float32.
        effort: how carefully the model is prepared for int8, see `edgekit.types.Effort`.
        ranges: of activations: auto, minmax, mse, entropy or percentile:99.99.
        without: passes to leave out of the preparation for int8, see `edgekit.types.Pass`.
        standard_metadata: also write what MediaPipe and ML Kit read.
        keep_scales: int8 of a model that is quantized already keeps the scales that it came with.
        keep_prepared: also write the prepared float model.
        keep_float, keep_int16: operators of int8, by their first outputs' names, that compute in
            float, or with 16-bit activations.
        max_drop, min_sqnr, min_agreement: the accuracy budget of int8: which share of top-1 may be
            lost, how many dB there must be, which share of decisions must stay. Settings are tried
            from the cheapest up until it holds; see the report's ``ladder``.
        max_latency: of int8, in parts of the time of plain int8: layers get more than 8 bits as far
            as that allows; see the report's ``front``.
        allow_float_ops: do not fail an int8 file with operators that compute in float.
        compat: clients in which every file must run and agree; see ``edgekit compat --list``.
        targets: names or paths of profiles that every file must fit; see ``edgekit target list``.
        route: force one route.
        output: the folder for the files, ``NAME_tflite`` by default.
        config: an ``edgekit.toml``; arguments win over it.
        samples: at most so many calibration samples (128 by default).
        parity_samples: at most so many to compare on.
        accept_few: judge on however few samples there are; they prove less than PASS says.
        accept_contract: inputs are really made as stated, though the model does better with others.
        seed: decides which samples are used.
        synthetic: use random inputs; the report says so.
        pictures: the page shows the worst samples; else they are only named.
        force: replace existing outputs.
        threads: for measuring latency.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Returns:
        The result. A failed gate is no exception: look at ``result.passed``.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    stated = specs(inputs)
    flags, preset = preprocessing(model, preprocess)
    request = ConversionRequest(
        weights=path(weights, "weights"),
        trust_pickle=trust_pickle,
        signature=signature,
        inputs=stated,
        preprocess=flags,
        preset=preset,
        fold_preprocess=fold_preprocess,
        feed_color=feed_color,
        task=task,
        labels=path(labels, "labels"),
        samples=samples,
        parity_samples=parity_samples,
        accept_few=accept_few,
        accept_contract=accept_contract,
        seed=seed,
        synthetic=synthetic,
        schemes=listed(schemes),
        io_dtype=io_dtype,
        effort=effort,
        ranges=ranges,
        without=listed(without),
        no_standard_metadata=not standard_metadata,
        keep_scales=keep_scales,
        keep_prepared=keep_prepared,
        keep_float=listed(keep_float),
        keep_int16=listed(keep_int16),
        max_drop=max_drop,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        max_latency=max_latency,
        allow_float_ops=allow_float_ops,
        targets=listed(targets),
        compat=listed(compat),
        route=route,
        output=path(output, "output"),
        config=path(config, "config"),
        gates=listed(gates),
        pictures=pictures,
        force=force,
        threads=threads,
        limits=limits or Limits(),
    )
    check_arguments(request)
    for gate in request.gates:
        if not gate.startswith(IN_CLIENTS):
            parse(gate)
    settings = config_of(config)
    most = samples or settings.samples or DEFAULT_SAMPLES
    with given(
        model,
        {"calibration": calibration, "parity": parity},
        example=example_inputs,
        inputs=stated,
        pictures=preset is not None or pictures_are_stated(flags, settings),
        limits={
            "calibration": most if parity else max(most + parity_samples, 4 * parity_samples),
            "parity": parity_samples,
        },
        seed=seed,
    ) as files:
        request = replace(
            request,
            model=files.model,
            calibration=files.data["calibration"],
            parity=files.data["parity"],
            origin=files.origin,
        )
        return run(plan(request), progress)


@like(convert, without=("weights", "trust_pickle", "signature", "inputs"))
def quantize(file: AnyPath, *, schemes: Sequence[Scheme] = ("int8",), **options: Any) -> Any:
    """Quantize a float `.tflite` file and compare the result with it.

    >>> edgekit.quantize("net_fp32.tflite", calibration="photos/")  # doctest: +SKIP

    Args:
        file: a float `.tflite`.
        schemes: which files to make; int8 by default.
        options: as for `convert`.

    Returns:
        The result. A failed gate is no exception: look at ``result.passed``.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    if path(file, "file") is None or not str(file).lower().endswith(".tflite"):
        raise UsageError(f"{file} is not a .tflite file.", cure="Use edgekit.convert")
    return convert(file, schemes=schemes, **options)
