"""Networks from and to other formats: ONNX, TFLite, GAP8 folders, checkpoints."""
