"""A GPU without a GPU: where tensors are, what the host waits for, what is launched, what is alive.

It does not show how fast a GPU is, nor what its kernels compute: they are the CPU's.
`python -m tests.pretend_cuda REPORT` is a process of its own, because torch is changed for good before the
engine is imported.
"""
