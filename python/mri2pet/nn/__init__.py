"""The network: its blocks, the MRI encoder, the time embedding and the U-Net."""

from mri2pet.nn.mri_encoder import MRIEncoder
from mri2pet.nn.network import Network
from mri2pet.nn.time_embedding import time_embedding
from mri2pet.nn.unet import UNet

__all__ = ["MRIEncoder", "Network", "UNet", "time_embedding"]
