"""Engrave a PyTorch network into an accelerator."""
