"""Contact sheet of images with their augmented views, as the network gets them (views.png)."""

import numpy as np

from dinocli.augment.multicrop import MultiCrop
from dinocli.data.canvas import rgb
from dinocli.data.loader import Loader
from dinocli.report.sheet import sheet_png

SHEET_IMAGES = 8


def views_sheet(multicrop: MultiCrop, loader: Loader) -> bytes:
    """Draw a few images, evenly spread over the dataset, each with the views of step 0, as PNG."""
    count = len(loader.store)
    chosen = sorted({round(place) for place in np.linspace(0, count - 1, min(SHEET_IMAGES, count))})
    (batch,) = loader.batches(chosen, len(chosen))
    views = multicrop.preview(batch.pixels_BCHW, batch.sizes_B2, batch.rows, step=0)
    words = multicrop.describe(batch.sizes_B2.cpu(), batch.rows, step=0)
    columns = ["image", "global 1", "global 2", *(f"local {number + 1}" for number in range(len(views) - 2))]
    canvases = zip(batch.pixels_BCHW.cpu().numpy(), batch.sizes_B2.tolist(), strict=True)
    whole = [rgb(canvas_CHW[:, :height, :width]) for canvas_CHW, (height, width) in canvases]
    rows = [[whole[row], *(rgb(view[row]) for view in views)] for row in range(len(batch.rows))]
    captions = [["", *(view[row] for view in words)] for row in range(len(batch.rows))]
    labels = [loader.store.names[image] for image in batch.rows]
    return sheet_png(rows, column_labels=columns, row_labels=labels, captions=captions)
