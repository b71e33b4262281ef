"""`dinocli segment`: one pass over the images, one output folder. The methods are in `dinocli.segmentation`."""
