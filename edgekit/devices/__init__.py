"""Real targets: a `.tflite` runs on a device, and its outputs and times come back.

`edgekit.devices.target.open_device` is the way in. On the device works one file,
`edgekit/devices/agent.py`, which listens on nothing: it reads requests from its standard input.
"""
