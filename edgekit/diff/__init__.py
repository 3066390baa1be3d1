"""What changed between two `.tflite` files.

``findings``  the words: `Diff` and what hangs on it
``layers``    a graph as a list of layers, each with its own constants
``align``     which layer of one file is which of the other
``values``    constants as the real numbers that they stand for, and how far two of them are apart
``compare``   the two files beside each other: `diff`

Nothing is run here. How the outputs differ is measured by `edgekit.pipeline.diff`.
"""

from edgekit.callable_module import make_callable

make_callable(__name__)
