"""The packed format of a data set: memory-mapped frames, sound and labels."""
