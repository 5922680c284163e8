"""How fast a step is and what bounds it, on this machine or on one that is not there.

workloads -> what is compiled; flops -> what the networks need; programs -> what the
compiler made of it; hardware -> peaks, named topologies; measuring -> times.
"""
