"""The three segmentation networks: float32 (N, 3, H, W) in, logits (N, 1, H, W) out."""
