"""Files of training: run directories, tables, tensors, locks, and Weights & Biases."""
