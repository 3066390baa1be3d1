"""Normalisation inside the graph, so that an app feeds the pixels of its picture as they are.

``normalization``  a contract's scale, mean, std and colours as gains and shifts
``fold``           puts it into the graph of a float `.tflite`: `fold`
``borders``        padding with the pixels that normalised zero was
"""
