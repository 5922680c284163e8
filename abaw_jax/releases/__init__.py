"""Readers of raw data sets: annotation files, images, videos and sound to records.

What is wrong with a release is collected as findings, never silently dropped.
"""
