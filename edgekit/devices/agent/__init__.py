"""The agent: runs `.tflite` files on a device for edgekit, which talks to it over a pipe.

It needs Python 3.8, NumPy and a TFLite runtime, and nothing of edgekit: these modules travel to the
device as one zip file (`edgekit.devices.parcel`), are imported from it, and name each other
relatively. The agent reads frames from standard input and writes frames to standard output; it
listens on nothing. The host uses `frames.py` too, so that both ends speak the same.

Everything that the agent writes lies in one folder per run, which is removed at the end, however
that comes. What a killed agent left behind is removed by the next one.
"""
