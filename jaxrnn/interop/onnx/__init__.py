"""ONNX files out and in: `to_onnx` and `load_onnx`, which need onnx."""
