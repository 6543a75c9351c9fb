"""lmikit_cuda: lmikit's dense kernels, sketches and eigenvalue checks on a GPU through CuPy."""
