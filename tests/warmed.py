"""The last module that the server of `forks` loads: what every child would otherwise do again for itself."""

import gc

import pillow_heif  # noqa: F401
import torch
from PIL import Image

Image.init()  # imports the decoders of all formats
with torch.no_grad():  # the first backward pass would start threads, which a fork cannot take along
    torch.nn.functional.conv2d(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3))
    torch.nn.functional.linear(torch.zeros(2, 8), torch.zeros(4, 8))
gc.collect()
gc.freeze()  # a child's collector leaves these objects alone, so their memory stays shared
