"""Compilers that make of a `.tflite` what an accelerator runs.

``manifests``  which there are: folders with a manifest, like converters
``asking``     one file given to one of them: what it compiled, what it left to the CPU and why
"""
