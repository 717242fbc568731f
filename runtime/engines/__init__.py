"""What runs a network, and what a network says about itself: ONNX, LiteRT, GAP8 integers."""
