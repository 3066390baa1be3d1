"""The `.tflite` flatbuffer as a graph: read it, change it, write it, describe it.

``model``     `read`, `write` and the graph: `Model`, `Subgraph`, `Tensor`, `Operator`
``metadata``  the contract inside the file: `embed_contract`, `read_contract`
``summary``   what a file holds: `summarize`

Below them, ``verify`` (is every offset inside the file?), ``flatbuffer`` (bytes ↔ the generated
object API) and ``dtypes`` (bytes ↔ NumPy arrays).
"""
