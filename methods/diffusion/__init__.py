"""Private diffusion models by adversarial distillation: DP-SAD in its accountable variants, and what it is compared with."""

from .mean_images import DpMeanImages
from .merf import DpMerf
from .method import DpSad

__all__ = ["DpMeanImages", "DpMerf", "DpSad"]
