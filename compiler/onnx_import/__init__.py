"""ONNX files as models: each operator in terms of PyTorch, nothing in the file executed."""

from __future__ import annotations

from intaglio.compiler.onnx_import.importer import load_onnx

__all__ = ["load_onnx"]
