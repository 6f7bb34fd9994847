"""Export of a trained network: ONNX graphs, a table of weights, a manifest; TensorRT plans."""

from mri2pet.export.to_onnx import export_onnx
from mri2pet.export.to_tensorrt import export_tensorrt
from mri2pet.export.verify import verify_export

__all__ = ["export_onnx", "export_tensorrt", "verify_export"]
