"""Export of a trained network to ONNX: two graphs, a table of weights and a manifest."""

from mri2pet.export.to_onnx import export_onnx
from mri2pet.export.verify import verify_export

__all__ = ["export_onnx", "verify_export"]
