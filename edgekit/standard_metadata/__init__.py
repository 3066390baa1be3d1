"""The TFLite Metadata that MediaPipe Tasks, ML Kit and Android Studio read from a file.

It stands beside edgekit's own contract (`edgekit.tflite.metadata`), which says more and which every
edgekit command reads: this is for other people's programs.

``embed``     into a `.tflite`: `embed_standard_metadata`, `remove_standard_metadata`
``describe``  from a contract to what the schema has words for
``tasks``     the parts for detectors and segmenters that only MediaPipe Tasks knows
``schema``    the tables of the schema, as far as they are used
``tables``    tables as the bytes of a flatbuffer
"""
