"""Convolution, pooling, LSTM and batch normalisation, in one form for each platform.

Nothing here knows the paper. Each operation has a reference form, which is XLA's own,
and forms that are faster on a CPU; the platform is chosen when the program is lowered.
"""
