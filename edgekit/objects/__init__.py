"""Objects of the caller's process as files that a conversion takes.

A module, a Keras model, a TensorFlow function or an ONNX graph is exported here, where it lives,
and its file goes the way of every other file: through the isolated workers. Loaders, data sets and
arrays are written as samples. The caller's objects are used and left as they were. Nothing imports
a framework: an object of one is only there where its owner has imported it.
"""

from edgekit.objects.handover import Given, given
from edgekit.objects.origin import ObjectOrigin

__all__ = ["Given", "ObjectOrigin", "given"]
