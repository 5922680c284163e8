"""Convolution, pooling, LSTM and batch normalisation, in one form for each platform.

Nothing here depends on the paper. Each operation has a reference form, XLA's own, and
forms that are faster on a CPU; the platform is chosen when the program is lowered.
"""
