"""Every field once, with its unit, at the paper's value. Nothing runs from here."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """The paper at full size, on a release that is still to be named."""
    config = ConfigDict()
    config.seed = 0
    config.until = "student"  # last stage: features, teacher or student
    config.regime = "features"  # frozen encoders, or "end_to_end": encoders trained
    config.streams = ("image", "sound")  # either one alone is an ablation

    config.data = ConfigDict()
    config.data.release = placeholder(str)  # folder of the official release
    config.data.store = placeholder(str)  # or a store made by abaw_jax.prepare
    config.data.image_size = 112  # pixels a side of the stored crops
    config.data.overlap = "remove"  # training videos that validate another set; "keep"
    config.data.synthetic = False  # draw a release instead of reading one
    config.data.drawing = ConfigDict()  # see abaw_jax.data.synthetic.SyntheticSettings
    config.data.drawing.train_subjects = 34
    config.data.drawing.validation_subjects = 14
    config.data.drawing.seconds = 24.0
    config.data.drawing.fps = 15
    config.data.drawing.label_noise = 0.1

    config.windows = ConfigDict()
    config.windows.images = 6
    config.windows.stride = 10  # frames
    config.windows.sound_seconds = 10.0

    config.image_encoder = ConfigDict()
    config.image_encoder.weights = placeholder(str)  # .safetensors/.npz; else trained
    config.image_encoder.size = 224  # pixels a side that the encoder sees
    config.image_encoder.stage_sizes = (3, 4, 6, 3)
    config.image_encoder.widths = (64, 128, 256, 512)
    config.image_encoder.cardinality = 32

    config.sound_encoder = ConfigDict()
    config.sound_encoder.weights = placeholder(
        str
    )  # sound8.npy or converted; else trained
    config.sound_encoder.widths = (16, 32, 64, 128, 256, 512, 1024)
    config.sound_encoder.objects = 1000
    config.sound_encoder.scenes = 401
    config.sound_encoder.softmax = (
        True  # feature is the object distribution, not logits
    )
    config.sound_encoder.scale = 256.0  # amplitude of the waveform

    config.backbone = ConfigDict()  # training of an encoder without weights, per frame
    config.backbone.epochs = 10
    config.backbone.patience = 3
    config.backbone.batch_size = 64
    config.backbone.rounds_per_chunk = 20
    config.backbone.learning_rate = 1e-4
    config.backbone.image_samples = 0  # upper bound on frames an epoch; 0 is all
    config.backbone.sound_samples = 0

    config.features = ConfigDict()
    config.features.batch_size = 64
    config.features.sound_every = 1  # images that share the sound feature of the first

    config.heads = ConfigDict()
    config.heads.lstm_size = 512
    config.heads.extractor_sizes = (1024, 512)
    config.heads.head_sizes = (256, 128)
    config.heads.discriminator_sizes = (64, 32)
    config.heads.discriminator = True  # False builds no discriminator ("-" in Table 1)
    config.heads.dropout_rate = 0.5

    config.train = ConfigDict()
    config.train.epochs = 20
    config.train.patience = 5  # epochs without a better MTL score
    config.train.batch_size = 256  # rows of the largest set's batch
    config.train.proportional = True  # the other sets' rows follow their sizes
    config.train.rounds_per_chunk = 50
    config.train.learning_rate = 1e-4
    config.train.checkpoint_seconds = 600.0  # between checkpoints within an epoch

    config.loss = ConfigDict()
    config.loss.supervised = 10.0  # alpha, on mean losses
    config.loss.cross_task = 0.9  # beta
    config.loss.discriminator = (0.0, 1.0)  # delta: first round, last round
    config.loss.temperature = 2.5
    config.loss.gamma_rate = 0.5  # gamma = exp(rate * stale epochs), student only
    config.loss.gamma_cap = 5  # stale epochs
    return config
