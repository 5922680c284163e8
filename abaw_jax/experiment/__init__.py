"""The stages of `main`: corpus, encoders, features, teacher, student, results.

Each stage owns a folder of the working directory and records its settings there. It
continues after an interruption, and it is skipped when its folder is complete and was
made with the same settings.
"""
