"""Decoding against signals whose content is known: tones, plain colours, ramps."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from abaw_jax.releases.images import Box, MediaError, read_image
from abaw_jax.releases.media import SAMPLE_RATE, read_recording
from tests.support.tiny_release import tone_of, write_video


def pitch_and_level(sound):
    """Frequency of the strongest partial in Hz, and the amplitude of full scale."""
    inner = sound[len(sound) // 4 : -len(sound) // 4] / 32768
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)), 16 * len(inner)))
    hertz = np.argmax(spectrum) * SAMPLE_RATE / (16 * len(inner))
    return hertz, np.sqrt(2 * np.mean(inner**2))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_sound_of_any_rate_keeps_pitch_level_and_length(tmp_path, suffix, rate):
    path = tmp_path / f"video{suffix}"
    write_video(path, frames=20, rate=rate, channels=2, loudness=0.5)
    recording = read_recording(path)
    assert recording.fps == 10
    assert recording.remarks == ()
    assert recording.sound.dtype == np.int16
    # A codec adds up to one of its frames of 1024 samples at the end.
    excess = len(recording.sound) - 2 * SAMPLE_RATE
    assert -2 <= excess <= 1024 * SAMPLE_RATE / rate + 2
    hertz, level = pitch_and_level(recording.sound[: 2 * SAMPLE_RATE])
    assert abs(hertz - 440) < 1
    # The mean with a silent channel halves the level; AAC keeps it within some percent.
    assert abs(level - 0.25) < (0.02 if suffix == ".mp4" else 0.001)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_resampled_tone_is_the_tone_at_the_new_rate(tmp_path, rate):
    write_video(tmp_path / "v.avi", frames=20, rate=rate, channels=1, loudness=0.8)
    sound = read_recording(tmp_path / "v.avi").sound.astype(int)
    expected = tone_of(2, SAMPLE_RATE, 0.8).astype(int)
    inner = slice(2000, -2000)  # away from the ends, where the tone begins and stops
    # Two roundings to 16 bit, one of the file and one of ours, and the filter's own.
    assert np.abs(sound[: len(expected)] - expected)[inner].max() <= 2


def test_sound_at_the_right_rate_passes_unchanged(tmp_path):
    write_video(tmp_path / "v.avi", frames=20, rate=SAMPLE_RATE, channels=1)
    sound = read_recording(tmp_path / "v.avi").sound
    np.testing.assert_array_equal(sound, tone_of(2, SAMPLE_RATE, 0.5))


def test_late_sound_keeps_its_time(tmp_path):
    write_video(tmp_path / "v.mp4", frames=20, delay=0.5, seconds=1.5)
    recording = read_recording(tmp_path / "v.mp4")
    start = np.flatnonzero(np.abs(recording.sound) > 1000)[0] / SAMPLE_RATE
    assert abs(start - 0.5) < 0.05
    assert [kind for kind, _ in recording.remarks] == ["sound_gap"]
    assert abs(len(recording.sound) / SAMPLE_RATE - 2) < 0.05


def test_loud_sound_is_clipped_not_wrapped(tmp_path):
    # So loud that it is almost a square wave, which a resampler makes overshoot.
    write_video(tmp_path / "v.avi", frames=20, rate=16_000, channels=1, loudness=20)
    sound = read_recording(tmp_path / "v.avi").sound[2000:-2000].astype(int)
    phase = 2 * np.pi * 440 * (np.arange(len(sound)) + 2000) / SAMPLE_RATE
    plateau = np.abs(np.sin(phase)) > 0.5
    assert (sound * np.sign(np.sin(phase)))[plateau].min() > 25_000
    assert sound.max() == 32767 and sound.min() == -32768


@pytest.mark.parametrize(
    ("video", "frames", "kinds"),
    [
        ({"rate": None}, 12, ["no_sound"]),
        ({"loudness": 0.0}, 12, ["silent"]),
        ({"frames": 0, "seconds": 1.0}, 0, ["no_frames"]),
        ({"frames": 40, "seconds": 1.0}, 40, ["sound_length"]),
        ({"frames": 5, "seconds": 3.0}, 5, ["sound_length"]),
    ],
)
def test_odd_recordings_are_read_and_reported(tmp_path, video, frames, kinds):
    write_video(tmp_path / "v.mp4", **video)
    recording = read_recording(tmp_path / "v.mp4")
    assert recording.num_frames == frames
    assert [kind for kind, _ in recording.remarks] == kinds
    assert (len(recording.sound) == 0) == ("no_sound" in kinds)


def test_a_cut_off_file_gives_what_is_there(tmp_path):
    path = tmp_path / "v.avi"
    write_video(path, frames=60, rate=16_000, channels=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    recording = read_recording(path)
    assert 2 * SAMPLE_RATE < len(recording.sound) < 5 * SAMPLE_RATE
    assert {"frame_count", "cut_off"} <= {kind for kind, _ in recording.remarks}


@pytest.mark.parametrize("content", [b"", b"no video", b"\x00" * 5000])
def test_what_is_no_video_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(MediaError, match="cannot be opened as a video"):
        read_recording(tmp_path / "v.mp4")


def test_a_title_that_is_not_utf8_does_no_harm(tmp_path):
    path = tmp_path / "v.avi"
    write_video(path, title="Title of bytes")
    data = path.read_bytes()
    assert data.count(b"Title of bytes") == 1
    path.write_bytes(data.replace(b"Title", b"\xff\xfe\xe9\x80\xff"))
    assert read_recording(path).num_frames == 12


def test_damage_anywhere_is_survived(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, frames=30)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    opened = 0
    for _ in range(40):
        data = whole.copy()
        places = rng.integers(0, len(data), 60)
        data[places] = rng.integers(0, 256, 60)
        path.write_bytes(data.tobytes())
        try:
            sound = read_recording(path).sound
        except MediaError:
            continue
        opened += 1
        assert sound.dtype == np.int16 and sound.ndim == 1
        assert len(sound) < 60 * SAMPLE_RATE
    assert opened > 5


def ramp(height, width):
    x = np.linspace(0, 255, width)[None, :, None]
    y = np.linspace(0, 255, height)[:, None, None]
    return (np.concatenate(np.broadcast_arrays(x, y, 255 - x), axis=2)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(32, 32), (112, 112), (40, 20), (300, 300)])
def test_crops_of_any_size_become_one(tmp_path, shape):
    Image.fromarray(ramp(*shape)).save(tmp_path / "1.jpg", quality=98)
    picture = read_image(tmp_path / "1.jpg", 32)
    assert picture[1:4] == (shape[1], shape[0], "RGB")
    assert picture.pixels.shape == (32, 32, 3) and picture.pixels.dtype == np.uint8
    # A ramp stays a ramp, within what JPEG and the border of the filter do to it.
    assert np.abs(picture.pixels.astype(int) - ramp(32, 32)).max() <= 16


def test_a_large_crop_keeps_its_detail(tmp_path):
    board = (np.arange(128)[:, None] // 8 + np.arange(128) // 8) % 2
    Image.fromarray(np.uint8(board * 200 + 20)).save(tmp_path / "1.jpg", quality=98)
    small = read_image(tmp_path / "1.jpg", 32).pixels[:, :, 0].astype(int)
    assert np.abs(small - (board[2::4, 2::4] * 200 + 20)).max() <= 12


def test_a_crop_of_the_right_size_is_not_touched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    np.testing.assert_array_equal(read_image(tmp_path / "1.png", 24).pixels, pixels)


@pytest.mark.parametrize(
    ("size", "options", "plain"),
    [
        ((24, 24), {}, True),
        ((24, 24), {"progressive": True}, False),
        ((24, 24), {"format": "PNG"}, False),
        ((48, 48), {}, False),  # Pillow halves this one while it decodes
        ((24, 30), {}, False),
    ],
)
def test_only_a_baseline_jpeg_of_that_size_is_plain(tmp_path, size, options, plain):
    Image.new("RGB", size).save(tmp_path / "1.jpg", **options)
    assert read_image(tmp_path / "1.jpg", 24).plain == plain
    assert not read_image(tmp_path / "1.jpg", 24, Box(0, 0, 24, 24)).plain
    Image.new("L", size).save(tmp_path / "1.jpg", **options)
    assert not read_image(tmp_path / "1.jpg", 24).plain


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(10, 20, 30, 40), slice(20, 60), slice(10, 40)),
        (Box(-5, -9, 40, 39), slice(0, 30), slice(0, 35)),
        (Box(60, 50, 1e9, 1e9), slice(50, 80), slice(60, 100)),
        (Box(0, 0, 100, 80), slice(0, 80), slice(0, 100)),
    ],
)
def test_a_box_is_cut_out_as_far_as_there_is_image(tmp_path, box, rows, columns):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    picture = read_image(tmp_path / "1.png", 16, box)
    part = pixels[rows, columns]
    expected = Image.fromarray(part).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(picture.pixels, np.asarray(expected))
    assert (picture.height, picture.width) == part.shape[:2]


@pytest.mark.parametrize(
    "box",
    [
        Box(10, 10, 0, 20),
        Box(10, 10, 20, -20),
        Box(200, 10, 20, 20),
        Box(10, -90, 20, 95),
        Box(10, 10, 7, 20),
    ],
)
def test_a_box_without_a_face_is_refused(tmp_path, box):
    Image.new("RGB", (100, 80)).save(tmp_path / "1.jpg")
    with pytest.raises(MediaError, match=f"face box .* of {box[0]:g}, {box[1]:g}, "):
        read_image(tmp_path / "1.jpg", 16, box)


@pytest.mark.parametrize(("mode", "tolerance"), [("L", 2), ("CMYK", 3), ("P", 0)])
def test_other_colours_become_rgb(tmp_path, mode, tolerance):
    image = Image.new("RGB", (16, 16), (204, 204, 204)).convert(mode)
    suffix = "png" if mode == "P" else "jpg"
    image.save(tmp_path / f"1.{suffix}")
    picture = read_image(tmp_path / f"1.{suffix}", 16)
    assert picture.mode == mode
    assert np.abs(picture.pixels.astype(int) - 204).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_crop_is_upright_whatever_its_exif_orientation(tmp_path, orientation, suffix):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16], upright[:16, :24] = (0, 200, 0), (200, 0, 0)  # red, green, black
    stored = {  # how the sensor had it, by the standard's drawing of the eight
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"1.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, quality=98, subsampling=0)
    picture = read_image(path, 32, Box(0, 0, 24, 24))
    assert picture.turned == (orientation != 1)
    assert np.abs(picture.pixels[4, 4].astype(int) - (200, 0, 0)).max() < 8
    assert picture.pixels[28, 4].max() < 8
    picture = read_image(path, 32)
    assert (picture.width, picture.height) == (48, 32)
    assert picture.pixels[4, 28].argmax() == 1 and picture.pixels[28].max() < 8
    assert not (picture.turned and picture.plain)


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path):
    path = tmp_path / "1.jpg"
    Image.new("RGB", (16, 16), (200, 0, 0)).save(path, exif=b"Exif\0\0MM\0*\xff\xff")
    picture = read_image(path, 16)
    assert not picture.turned and picture.pixels[0, 0, 0] > 190


def test_grey_of_16_bit_is_scaled_by_its_depth(tmp_path):
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "1.png")
    pixels = read_image(tmp_path / "1.png", 32).pixels
    np.testing.assert_allclose(pixels[..., 1], values / 257, atol=0.5)
    assert (pixels == pixels[..., :1]).all()


def test_transparent_parts_are_black(tmp_path):
    layers = np.zeros((16, 16, 4), np.uint8)
    layers[..., 0], layers[:8, :, 3], layers[8:12, :, 3] = 255, 255, 51
    Image.fromarray(layers).save(tmp_path / "1.png")
    picture = read_image(tmp_path / "1.png", 16)
    assert picture.transparent and picture.mode == "RGBA"
    assert picture.pixels[[0, 9, 15], 0, 0].tolist() == [255, 51, 0]
    layers[..., 3] = 255
    Image.fromarray(layers).save(tmp_path / "2.png")
    assert not read_image(tmp_path / "2.png", 16).transparent


def test_a_transparent_palette_colour_is_black(tmp_path):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([250, 10, 10, 10, 250, 10])
    image.paste(1, (0, 0, 16, 8))
    image.save(tmp_path / "1.png", transparency=0)
    picture = read_image(tmp_path / "1.png", 16)
    assert picture.transparent
    assert picture.pixels[[0, 15], 0].tolist() == [[10, 250, 10], [0, 0, 0]]


def bomb(side):
    """A PNG that claims to be ``side`` pixels wide and high, in a hundred bytes."""

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [5_000, 11_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "1.png").write_bytes(bomb(side))
    with pytest.raises(MediaError, match="too large for a crop"):
        read_image(tmp_path / "1.png", 16)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_crop_is_refused(tmp_path, keep):
    path = tmp_path / "1.jpg"
    Image.fromarray(ramp(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(MediaError, match="cannot be decoded"):
        read_image(path, 64)


def test_damaged_crops_raise_nothing_else(tmp_path):
    path = tmp_path / "1.jpg"
    Image.fromarray(ramp(64, 64)).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        data = whole.copy()
        data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(data.tobytes())
        try:
            assert read_image(path, 32).pixels.shape == (32, 32, 3)
        except MediaError:
            refused += 1
    assert 0 < refused < 300


def write_film(path, times, *, tracks=(), layout="stereo", codec="mpeg4"):
    """A frame at each of ``times``; sound tracks ``[channels, n]`` at 8 kHz."""
    with av.open(str(path), "w") as box:
        film = box.add_stream(codec, rate=30)
        film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        film.time_base = film.codec_context.time_base = Fraction(1, 1000)
        sounds = [box.add_stream("pcm_s16le", rate=8000, layout=layout) for _ in tracks]
        for k, time in enumerate(times):
            pixels = np.full((32, 32, 3), k % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            box.mux(film.encode(frame))
        box.mux(film.encode())
        for stream, sound in zip(sounds, tracks, strict=True):
            data = np.rint(np.asarray(sound) * 32767).astype(np.int16)
            block = np.ascontiguousarray(data.T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.pts = 8000, 0
            frame.time_base = Fraction(1, 8000)
            box.mux(stream.encode(frame))
            box.mux(stream.encode())


def remux(source, target, **options):
    with av.open(str(source)) as film, av.open(str(target), "w", **options) as box:
        streams = {s.index: box.add_stream_from_template(s) for s in film.streams}
        for packet in film.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                box.mux(packet)


def test_the_rate_is_that_of_the_pictures_whatever_the_header_says(tmp_path):
    """Remuxed to Matroska without a rate, its clock of 1000 ticks stands for one."""
    write_film(tmp_path / "a.mp4", np.arange(90) / 30)
    remux(tmp_path / "a.mp4", tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as box:
        assert box.streams.video[0].average_rate == 1000
    recording = read_recording(tmp_path / "a.mkv")
    assert recording.num_frames == 90 and abs(recording.fps - 30) < 0.05
    assert dict(recording.remarks)["frame_rate"].startswith("1000 frames a second by")
    uneven = np.cumsum(np.random.default_rng(0).integers(25, 45, 200)) / 1000
    write_film(tmp_path / "b.mp4", uneven)
    recording = read_recording(tmp_path / "b.mp4")
    assert recording.num_frames == 200
    assert abs(recording.fps - 199 / np.ptp(uneven)) < 0.2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_of_a_variable_rate_keep_their_times(tmp_path, suffix):
    """Twenty frames at 10 a second, then sixty at 30: frame 51 shows at 3 s."""
    shown = [k / 10 for k in range(20)] + [2 + k / 30 for k in range(60)]
    path = tmp_path / f"video{suffix}"
    write_frames_at(path, shown)
    recording = read_recording(path)
    assert recording.num_frames == 80
    assert recording.frame_times.seconds(51) == pytest.approx(3, abs=1e-3)
    np.testing.assert_allclose(recording.frame_times.times, shown, atol=1e-3)
    assert "variable_rate" in dict(recording.remarks)


def write_frames_at(path, times):
    """Writes a picture at each of these times, in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            pixels = np.zeros((32, 32, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path):
    write_film(tmp_path / "a.mp4", np.arange(60) / 30)
    cut = 0.5
    target, options = tmp_path / "b.mp4", {"avoid_negative_ts": "disabled"}
    with (
        av.open(str(tmp_path / "a.mp4")) as film,
        av.open(str(target), "w", options=options) as box,
    ):
        stream = box.add_stream_from_template(film.streams.video[0])
        for packet in film.demux():
            if packet.dts is not None:
                shift = round(cut / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                box.mux(packet)
    with av.open(str(target)) as box:
        shown = sum(1 for _ in box.decode(video=0))
    recording = read_recording(target)
    assert recording.num_frames == shown < 60 and abs(recording.fps - 30) < 0.1
    assert "claims 60 frames" in dict(recording.remarks)["frame_count"]


def test_a_relative_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    write_video(tmp_path / "a.avi", frames=20)
    (tmp_path / "take:1.avi").write_bytes((tmp_path / "a.avi").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert read_recording(Path("take:1.avi")).num_frames == 20


def tone(seconds=2.0):
    return np.sin(2 * np.pi * 440 * np.arange(round(seconds * 8000)) / 8000) / 2


def level(recording):
    return pitch_and_level(recording.sound[: 2 * SAMPLE_RATE])[1]


@pytest.mark.parametrize(
    ("channel", "weight"),
    [(0, 0.5), (1, 0.5), (2, 0.5**0.5), (3, 0.0), (4, 0.5**1.5), (5, 0.5**1.5)],
)
def test_surround_sound_is_mixed_down_by_the_standard(tmp_path, channel, weight):
    """ITU-R BS.775: centre and surrounds at -3 dB on each of two sides, no LFE."""
    sound = np.zeros((6, 16000))
    sound[channel] = tone()
    write_film(tmp_path / "a.mkv", np.arange(60) / 30, tracks=[sound], layout="5.1")
    assert abs(level(read_recording(tmp_path / "a.mkv")) / 0.5 - weight) < 1e-3


def test_opposite_phases_are_reported_as_such(tmp_path):
    sound = np.stack([tone(), -tone()])
    write_film(tmp_path / "a.mkv", np.arange(60) / 30, tracks=[sound])
    kinds = dict(read_recording(tmp_path / "a.mkv").remarks)
    assert "cancel each other" in kinds["sound_phase"] and "silent" not in kinds


def test_of_several_tracks_the_first_with_sound_is_taken(tmp_path):
    silent, loud = np.zeros((2, 16000)), np.stack([tone(), tone()])
    write_film(tmp_path / "a.mkv", np.arange(60) / 30, tracks=[silent, loud])
    recording = read_recording(tmp_path / "a.mkv")
    assert abs(level(recording) - 0.5) < 0.01
    assert "sound_track" in dict(recording.remarks)


@pytest.mark.parametrize("stretch", [0.98, 1.02])
def test_sound_keeps_to_its_times_in_both_directions(tmp_path, stretch):
    """A click at 20 s of its times; by counting samples it would be .4 s off."""
    rate = 8000
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as box:
        film = box.add_stream("mpeg4", rate=10)
        film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        stream = box.add_stream("pcm_s16le", rate=rate, layout="mono")
        for _ in range(240):
            pixels = np.zeros((32, 32, 3), np.uint8)
            box.mux(film.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        box.mux(film.encode())
        for start in range(0, 22 * rate, 800):
            block = np.zeros((1, 800), np.int16)
            if abs(start * stretch - 20 * rate) < 400:
                block[0, :80] = 30000
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, round(start * stretch)
            frame.time_base = Fraction(1, rate)
            for packet in stream.encode(frame):
                box.mux(packet)
        box.mux(stream.encode())
    sound = np.abs(read_recording(path).sound)
    clicks = np.flatnonzero(sound > 10000) / SAMPLE_RATE
    assert abs(clicks[0] - 20) < 0.08
