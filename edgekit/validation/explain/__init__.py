"""Finding the first bad operator: tensors of two files side by side, error split by its source.

`points` has the words, `matching` pairs tensors, `stepping` cuts a graph into single operators,
`split` divides the error of each into what came in and what was added, `causes` names the reason,
`trials` looks at the input. Nothing here runs a model: `edgekit.pipeline.explain` does.
"""
