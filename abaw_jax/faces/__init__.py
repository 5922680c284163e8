"""Faces of videos: frames are decoded, faces found or looked up, and cut out.

`observe` gives the crops of a video to ``predict`` and to ``prepare`` alike, so that a
network sees the same crops in training as later.
"""
