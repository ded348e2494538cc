"""`bench generate`: what it prints and the picture that it draws."""

import io

import numpy as np
import pytest
from PIL import Image
from toy_runs import bench, make_workspace


@pytest.fixture
def generate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workspace = make_workspace(tmp_path / "toy")

    def run(*words):
        told = bench("generate", "--detector", "dark", "--track", "toy", "--workspace", workspace, *words)
        return told

    return run


def test_ascent_shows_every_image_below_the_one_that_it_began_as(generate):
    result = generate("--count", 11, "--steps", 40, "--out", "made.png", "--start", "mixed")
    assert result.exit_code == 0, result.output
    assert "start (mixed): mean score" in result.stdout
    assert "made: mean score" in result.stdout and "11 of 11 accepted" in result.stdout
    path = next(line.removeprefix("picture: ") for line in result.stdout.splitlines() if line.startswith("picture: "))
    picture = np.asarray(Image.open(path))
    # Rows of 8 images of 4 x 4 pixels, drawn three times as large: 8 and 3 starts, each row above what became of it.
    assert picture.shape == (4 * 4 * 3, 8 * 4 * 3)
    starts, made = picture[:12], picture[12:24]
    assert made.mean() < starts.mean() - 20
    assert (picture[24:, 36:] == 255).all()  # nothing stands in the place of five more


def test_a_radius_holds_images_near_where_they_began(generate):
    near, far = (generate("--steps", 60, "--count", 5, *words).stdout for words in (("--radius", 0.2), ()))
    moved = [float(text.split("moved: mean L2 distance ")[1].split()[0]) for text in (near, far)]
    assert moved[0] == pytest.approx(0.2, rel=1e-3)
    assert moved[1] > 1


@pytest.mark.parametrize("how", ["sample", "langevin"])
def test_a_detector_without_a_model_of_images_is_one_sentence(generate, how):
    result = generate("--how", how)
    assert result.exit_code == 2
    assert "use --how ascent" in " ".join(result.stderr.split())


def test_an_unknown_set_is_one_sentence(generate):
    result = generate("--start", "nowhere")
    assert result.exit_code != 0
    assert "nowhere" in result.stderr


def test_colour_images_are_drawn_in_colour():
    import torch

    from bench.cli.generate import picture

    image = torch.zeros(2, 3, 4, 4)
    image[:, 0] = 1.0
    drawn = np.asarray(Image.open(io.BytesIO(picture(image, None))))
    assert drawn.shape == (12, 96, 3)
    assert drawn[:, :24].reshape(-1, 3).tolist() == [[255, 0, 0]] * (12 * 24)
