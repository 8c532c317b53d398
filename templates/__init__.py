"""Accelerator families: each maps a workload onto one design and emits it."""
