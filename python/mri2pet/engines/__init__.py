"""What evaluates the network in the sampling loop: torch or an exported model's runtime."""

from mri2pet.engines.base import Conditioned, Engine
from mri2pet.engines.choose import load_engine

__all__ = ["Conditioned", "Engine", "load_engine"]
