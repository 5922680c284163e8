"""Trained networks at work: model folders, and predictions from them.

A model folder holds the weights of encoders and heads, ``model.json``, which says what
they read and what they give, and a model card. Nothing in it is executed.
"""
