"""The whole paper in a few minutes on two CPU cores, on a synthetic release.

python -m abaw_jax.main --config=configs/quickstart.py
"""

from ml_collections import ConfigDict

from configs import base, recommended


def get_config() -> ConfigDict:
    """The recommended recipe with small networks."""
    config = small()
    recommended.recommend(config)
    return config


def small() -> ConfigDict:
    """The paper's stages and losses with small networks, on a synthetic release."""
    config = base.get_config()
    config.data.synthetic = True
    config.data.image_size = 64
    # Many people for a short time: a network overfits to few people.
    config.data.drawing.train_subjects = 100
    config.data.drawing.validation_subjects = 40
    config.data.drawing.seconds = 15.0
    config.data.drawing.fps = 12
    config.data.drawing.label_noise = 0.05

    config.image_encoder.size = 64
    config.image_encoder.stage_sizes = (1, 1, 1, 1)
    config.image_encoder.widths = (16, 32, 64, 128)
    config.image_encoder.cardinality = 8
    config.sound_encoder.widths = (4, 16, 32, 32, 64, 64, 128)
    config.sound_encoder.objects = 16
    config.sound_encoder.scenes = 1

    config.backbone.epochs = 20
    config.backbone.patience = 20
    config.backbone.batch_size = 32
    config.backbone.learning_rate = 1e-3
    config.backbone.image_samples = 2816
    config.backbone.sound_samples = 160
    config.features.batch_size = 16
    config.features.sound_every = 12

    config.heads.lstm_size = 64
    config.heads.extractor_sizes = (128, 64)
    config.heads.dropout_rate = 0.2
    config.heads.head_sizes = (64, 32)
    config.heads.discriminator_sizes = (32, 16)
    config.train.batch_size = 64
    config.train.rounds_per_chunk = 20
    config.train.learning_rate = 1e-3
    config.train.proportional = False
    config.train.epochs = 20
    config.train.patience = 20
    return config
