"""Step times, and their bounds, on this machine or on a chip compiled for.

workloads, encoder_workloads: the programs; flops: operations that the networks need;
programs: figures of the compiled programs, read off their text (hlo): bytes (traffic),
kernels (launches) and operations (products); hardware, gpu_chips: peaks and chips to
compile for; timing: times; compiled_table: many steps and chips.
"""
