"""Optimizers by name: what each one needs of its parameters, and how they are held together as one.

algorithms    the names, and who implements them: PyTorch, transformers, bitsandbytes
combined      several optimizers as one, which leaves out a step where it is told to
split         bfloat16 weights that are updated as float32
"""
