"""Normalisation inside the graph, so that an app feeds the pixels of its picture as they are.

``normalization``  what a contract's scale, mean, std and colours do, as one gain and shift a channel
``fold``           puts it into the graph of a float `.tflite`: `fold`
``borders``        padding with the pixels that normalised zero was
"""
