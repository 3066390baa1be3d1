"""What runs a model: references (converters' ``reference`` verb) and candidates (a TFLite runtime).

A candidate's runner is a worker of its own, since a file that crashes the runtime is a result, not
the end of edgekit.

References are opened in `edgekit/pipeline/references.py`: telling what a name stands for and
finding its converter are done in layers above this one.
"""
