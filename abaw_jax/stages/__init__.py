"""What `main` runs, in order: corpus, backbone, features, teacher, student, evaluation.

Each stage owns a folder of the working directory, says what it was made from, goes on
where a kill left it, and is skipped when its artefact is there and matches.
"""
