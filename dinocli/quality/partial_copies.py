"""Copies of an image with a covered part (a label, a logo, a black bar): most blocks of the two are equal in place.

A covered part changes the features more than another image of the same kind does, so such pairs are not found by their
cosine. Each image gets one code per block, from the signs of its band-passed brightness (see
`aligned_similarity.structure`); images with several equal codes are candidates, which `block_similarity` decides.

Legend: N images, T blocks with a code, C cells of a block, P pairs, H W pixels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

CODES = 16
"""Codes of an image, of 4 x 4 blocks."""

NO_CODE = -1
"""Code of a block without structure."""

MIN_SIMILARITY = 0.9
"""Smallest block similarity of a copy. Of 108 planted copies with a covered strip all have .90 or more; of other pairs
with equal codes, in six sets, only real copies have more."""

MAX_USUAL = 0.5
"""Largest block similarity of unrelated images, or of an image to its neighbours, at which copies can be told: parts
in one position, such as solar cells (.92) and washers (.97), are alike in most blocks."""

_GRID = 4
_MIN_EQUAL = 3  # equal codes of a candidate pair
_MAX_FRACTION = 0.02  # of the images may have a code; those of more are backgrounds
_MAX_IMAGES = 8, 32  # limits of that number: of few images, and for the memory of the pairs of many
_MIN_STD = 1e-3, 4e-3  # least standard deviation of a block with structure: for its correlation, for its code
_BLOCKS = 8  # blocks per side that are correlated
_MIN_BLOCKS = 54  # of 64 blocks with structure: a straight edge fits every other one
_MAX_ASPECT_CHANGE = 0.03


def block_codes(structure_HW: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the code of each block, (T,): 16 signs of the means of its 4 x 4 cells; `NO_CODE` without structure."""
    side = _GRID * _GRID
    image = Image.fromarray(structure_HW).resize((side, side), Image.Resampling.BOX)
    blocks_TC = np.asarray(image).reshape((_GRID,) * 4).transpose(0, 2, 1, 3).reshape(CODES, CODES)
    code_T = (blocks_TC > 0) @ (1 << np.arange(CODES))
    return np.where(blocks_TC.std(axis=1) > _MIN_STD[1], code_T, NO_CODE)


def equal_codes(codes_NT: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the pairs of images with at least three equal codes, the most first, (P, 2); first < second."""
    count = len(codes_NT)
    # Equal signs in another block are not a match; blocks without structure get negative numbers, which are left out.
    numbered_NT = np.where(codes_NT == NO_CODE, NO_CODE, codes_NT + (np.arange(CODES) << CODES))
    known, code_NT = np.unique(numbered_NT, return_inverse=True)
    row_NT = np.repeat(np.arange(count), codes_NT.shape[1])
    shape = (count, len(known))
    table = sparse.csc_matrix((np.ones(codes_NT.size, np.int32), (row_NT, code_NT.ravel())), shape=shape)
    images = np.diff(table.indptr)
    most = min(max(_MAX_FRACTION * count, _MAX_IMAGES[0]), _MAX_IMAGES[1])
    table = table[:, (images > 1) & (images <= most) & (known != NO_CODE)]
    equal = sparse.triu(table @ table.T, 1).tocoo()
    order = np.lexsort((equal.col, equal.row, -equal.data))
    order = order[equal.data[order] >= _MIN_EQUAL]
    return np.stack([equal.row[order], equal.col[order]], axis=1).astype(np.intp)


def block_similarity(first_HW: NDArray[np.float32], second_HW: NDArray[np.float32]) -> float:
    """Return the median correlation of the 8 x 8 blocks of two images in place.

    Args:
        first_HW: From `structure`.
        second_HW: From `structure`, of the other image.

    Returns:
        -1 to 1; 0 for images of other aspect ratios, and where too few blocks have structure.
    """
    ratio = (first_HW.shape[0] * second_HW.shape[1]) / (first_HW.shape[1] * second_HW.shape[0])
    if abs(np.log(ratio)) > _MAX_ASPECT_CHANGE:
        return 0.0
    if first_HW.shape != second_HW.shape:
        resized = Image.fromarray(second_HW).resize(first_HW.shape[::-1], Image.Resampling.BICUBIC)
        second_HW = np.asarray(resized)
    correlations = []
    for first, second in zip(_blocks(first_HW), _blocks(second_HW), strict=True):
        spreads = first.std(), second.std()
        if max(spreads) < _MIN_STD[0]:
            continue
        product = float(((first - first.mean()) * (second - second.mean())).mean())
        correlations.append(product / (spreads[0] * spreads[1]) if min(spreads) > _MIN_STD[0] / 4 else 0.0)
    return float(np.median(correlations)) if len(correlations) >= _MIN_BLOCKS else 0.0


def _blocks(structure_HW: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    rows = np.array_split(structure_HW, _BLOCKS, axis=0)
    return [block for row in rows for block in np.array_split(row, _BLOCKS, axis=1)]
