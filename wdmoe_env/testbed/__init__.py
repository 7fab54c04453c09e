"""The live testbed: the base station keeps a model's attention and routers, devices on a network hold its experts.

See docs/how-to/testbed.md. Importing this loads nothing; a device needs torch and msgspec, the base station
transformers, too.
"""
