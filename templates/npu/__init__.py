"""The npu: an instruction-driven tensor processor."""
