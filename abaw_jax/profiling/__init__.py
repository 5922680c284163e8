"""Step times, and their bounds, on this machine or on a chip compiled for.

workloads: the programs; flops: operations that the networks need; programs: operations
and bytes of the compiled programs; hardware: peaks and topologies; timing: times.
"""
