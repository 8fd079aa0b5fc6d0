"""Files, processors, memory, signals, utilisation, and the import of MXNet.

What depends on the operating system and knows nothing of images, networks or flags. Imports only
errors.
"""
