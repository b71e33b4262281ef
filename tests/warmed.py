"""The last module that the server of `forks` loads: what every child would otherwise do again for itself."""

import gc
from functools import cache

import pillow_heif  # noqa: F401
import torch
import typer.main
from PIL import Image

from dinocli.cli.app import app
from dinocli.config.installed_packages import versions_used

Image.init()  # imports the decoders of all formats
with torch.no_grad():  # the first backward pass would start threads, which a fork cannot take along
    torch.nn.functional.conv2d(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3))
    torch.nn.functional.linear(torch.zeros(2, 8), torch.zeros(4, 8))
versions_used("kornia")
typer.main.get_command = cache(typer.main.get_command)
typer.main.get_command(app)  # the tree of commands takes a tenth of a second in every child
gc.collect()
gc.freeze()  # a child's collector leaves these objects alone, so their memory stays shared
