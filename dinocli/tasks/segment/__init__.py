"""The command `segment`: images, method, one pass, one folder. The methods are in `dinocli.segmentation`."""
