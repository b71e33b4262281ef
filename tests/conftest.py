import torch

torch.set_num_threads(1)  # nets this small lose more by waiting for other threads than they gain
