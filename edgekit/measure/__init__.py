"""The engine: how any file is held against its reference, for every command that does so.

``binding``  which tensor of a file is which of the reference's, found out on one sample
``job``      a file with its tensors bound, as measuring processes are told of it
``rows``     outputs become a few numbers for each sample, and add up
``tasks``    the metric of a task, and what a model says in words
``judge``    from rows to parity, figures, drift and the verdict
``parts``    outputs that a file has in parts

Below it `edgekit.closeness` has the figures of tensors, `edgekit.validation` those of tasks, the
gates and the evidence. It runs nothing and knows no converter.
"""
