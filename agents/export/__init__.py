"""Export of a trained policy as ONNX: `python train.py export --help`."""
