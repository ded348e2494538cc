"""Images that beat a row are accepted if they keep ball and box and lower its AUROC."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from row_tampering import loads, with_fields
from row_world import allow, bench, board, line_for, ranked, records, rows, run_suite, submit, verify
from safetensors.numpy import load

from bench.cards.catalog import Catalog
from bench.cards.threat import Norm
from bench.errors import UsageError
from bench.leaderboards import adversarials
from bench.leaderboards.arrays import bytes_sha256, pack
from bench.leaderboards.beaten import moved
from bench.leaderboards.rescore import Scorer
from bench.leaderboards.row import RowError, read_row
from bench.threat_models.geometry import project


@pytest.fixture
def stronger(world, row_path, tmp_path):
    """An .npz with images of a long ascent in the ball, and its arrays."""
    scorer = Scorer.load(read_row(row_path), Catalog(world), device="cpu", data_dir=None)
    base = torch.from_numpy(scorer.base)
    best, score = base, scorer.detector.score(base)
    for start in range(4):
        torch.manual_seed(start)
        x = project(base + 0.1 * torch.randn_like(base), base, Norm.L2, 0.3)
        for _ in range(60):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(scorer.detector.score(x).sum(), x)
            step = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None].clamp(min=1e-9)
            x = project(x.detach() + 0.05 * step, base, Norm.L2, 0.3)
        found = scorer.detector.score(x).detach()
        higher = (found > score)[:, None, None, None]
        best, score = torch.where(higher, x, best), torch.maximum(found, score).detach()
    arrays = {"images": best.detach().numpy(), "ids": scorer.ids[len(scorer.images.test) :]}
    return written(tmp_path / "mine.npz", arrays), arrays


def written(path, arrays):
    np.savez(path, **arrays)
    return path


def beat(world, path, row_path, *more):
    return bench("submit", "--adversarials", path, "--beats", row_path, "--workspace", world, "--device", "cpu", *more)


def test_images_that_lower_the_auroc_are_accepted_and_kept_beside_the_row(world, row_path, stronger):
    result = beat(world, stronger[0], row_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("accepted")
    (record,) = row_path.parent.glob("*.beaten-*.json")
    content = json.loads(record.read_text())
    assert content["auroc"] < content["claimed"] == read_row(row_path).worst.auroc
    assert (row_path.parent / content["file"]).is_file()


def test_a_dry_run_keeps_nothing(world, row_path, stronger):
    assert beat(world, stronger[0], row_path, "--dry-run").exit_code == 0
    assert not list(row_path.parent.glob("*.beaten-*"))


def test_images_outside_the_ball_are_refused(world, row_path, stronger, tmp_path):
    _, arrays = stronger
    images = arrays["images"].copy()
    images[0] = np.clip(images[0] - 0.2, 0, 1)
    result = beat(world, written(tmp_path / "far.npz", {**arrays, "images": images}), row_path)
    assert result.exit_code == 1
    assert "1 of 70 images lie outside the ball or the box" in result.stdout


def test_images_outside_the_box_are_refused(world, row_path, stronger, tmp_path):
    _, arrays = stronger
    images = arrays["images"].copy()
    images[0, 0, 0, 0] = -0.01
    assert beat(world, written(tmp_path / "out.npz", {**arrays, "images": images}), row_path).exit_code == 1


def test_the_track_s_own_images_do_not_beat_a_row(world, row_path, tmp_path):
    scorer = Scorer.load(read_row(row_path), Catalog(world), device="cpu", data_dir=None)
    own = {"images": (scorer.base * 255).round().astype(np.uint8), "ids": scorer.ids[40:]}
    result = beat(world, written(tmp_path / "clean.npz", own), row_path)
    assert result.exit_code == 1
    assert "not beaten" in result.stdout
    assert "0 of 70 images" in result.stdout


def test_one_image_that_moves_the_auroc_in_the_fifth_decimal_does_not_beat_a_row(world, row_path, stronger, tmp_path):
    alone = {name: values[2:3] for name, values in stronger[1].items()}
    result = beat(world, written(tmp_path / "one.npz", alone), row_path)
    assert result.exit_code == 1
    assert "not beaten by more than 0.005: 1 of 1 images score higher than the row's" in result.stdout
    assert not list(row_path.parent.glob("*.beaten-*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids": np.arange(70)}, "of no OOD image"),
        ({"ids": np.zeros(70, np.int64)}, "comes twice"),
        ({"ids": np.zeros(3, np.int64)}, "one integer for each image"),
        ({"images": np.zeros((70, 1, 4, 4))}, "allowed are float32 or uint8"),
        ({"images": np.full((70, 1, 4, 4), np.nan, np.float32)}, "not finite"),
        ({"images": np.array([{}] * 70, dtype=object)}, "allowed are float32 or uint8"),
        ({"more": np.zeros(1)}, "exactly the arrays"),
    ],
)
def test_a_file_of_other_things_is_refused_in_one_sentence(world, row_path, stronger, tmp_path, change, words):
    result = beat(world, written(tmp_path / "odd.npz", {**stronger[1], **change}), row_path)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04K\x01."])
def test_a_file_that_is_no_npz_is_refused(world, row_path, tmp_path, content):
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    result = beat(world, path, row_path)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_a_row_that_is_not_what_it_claims_cannot_be_beaten(world, row_path, stronger):
    row_path.write_text(row_path.read_text().replace('"seconds"', '"seconds" ', 1).replace("0.1.0", "0.1.1", 1))
    result = beat(world, stronger[0], row_path)
    assert result.exit_code == 2
    assert "does not hold what it claims" in result.stderr


def test_the_attack_of_the_suite_can_be_chosen(world, row_path, stronger):
    assert "all-linf" in beat(world, stronger[0], row_path, "--threat", "all-linf").output
    assert "has no attack 'other'" in beat(world, stronger[0], row_path, "--threat", "other").stderr


def test_images_need_the_row_that_they_beat(world, stronger):
    result = bench("submit", "--adversarials", stronger[0], "--workspace", world)
    assert result.exit_code == 2
    assert "go together" in result.stderr


@pytest.fixture
def kept(world, row_path, stronger):
    """The record of accepted images beside the row."""
    assert beat(world, stronger[0], row_path).exit_code == 0
    (record,) = row_path.parent.glob("*.beaten-*.json")
    return record


def with_images(record, **changed):
    """The record of other arrays, with their hash as a forger would write it."""
    images = record.with_suffix(".safetensors")
    content = pack({**load(images.read_bytes()), **changed})
    images.write_bytes(content)
    with_fields(record, file_sha256=bytes_sha256(content))


def test_accepted_images_are_scored_again_with_their_row(world, row_path, kept):
    result = verify(world, row_path)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: with_fields(record, auroc=0.1), "is given"),
        (lambda record: with_fields(record, auroc=loads(record)["claimed"] - 0.004), "does not fit its row"),
        (lambda record: record.write_text(record.read_text().replace("0.", "0.0", 1)), "differs from its seal"),
        (lambda record: with_images(record, images=np.zeros((70, 1, 4, 4), np.float32)), "outside the ball"),
        (lambda record: with_images(record, images=np.full((70, 1, 4, 4), np.nan, np.float32)), "outside the ball"),
        (lambda record: with_images(record, images=np.zeros((70, 3, 4, 4), np.float32)), "70 float32 images"),
        (lambda record: with_images(record, rows=np.arange(70) + 1), "different OOD images"),
        (lambda record: with_images(record, rows=np.zeros(70, np.int64)), "different OOD images"),
        (lambda record: record.with_suffix(".safetensors").write_bytes(b""), "are not those of their record"),
        (lambda record: record.write_text("{}"), "has format None"),
    ],
)
def test_a_record_that_is_wrong_is_found_with_its_row_which_keeps_its_badge(world, row_path, kept, change, words):
    change(kept)
    result = verify(world, row_path)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 3  # what is done, and what is wrong
    assert result.stdout.startswith("[re-scored]")


@pytest.mark.parametrize(
    "size", ["(" * 9000, "(" + "-" * 5000 + "70,1,4,4)", "(True,1,4,4)", "(9" + "9" * 40 + ",1,4,4)"]
)
def test_a_header_that_parsers_choke_on_is_refused_in_one_sentence(world, row_path, tmp_path, size):
    header = f"{{'descr':'<f4','fortran_order':False,'shape':{size}}}".encode()
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
    ids = io.BytesIO()
    np.save(ids, np.zeros(1, np.int64))
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as file:
        file.writestr("images.npy", array)
        file.writestr("ids.npy", ids.getvalue())
    result = beat(world, tmp_path / "odd.npz", row_path)
    assert result.exit_code == 2, result.stderr
    assert result.stderr.startswith("error: ") and "unexpected" not in result.stderr


def test_a_file_of_images_may_be_just_as_large_as_the_limit_packed_and_unpacked(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 4, 4), dtype=np.uint8)
    path, unpacked = written(tmp_path / "many.npz", {"images": images, "ids": np.arange(100)}), 100 * 16 * 4
    assert path.stat().st_size < unpacked
    monkeypatch.setattr(adversarials, "MAX_BYTES", unpacked)
    pixels, ids = adversarials._read_npz(path, (1, 4, 4))
    assert np.array_equal(pixels, images.astype(np.float32) / 255.0)
    assert ids.tolist() == list(range(100))
    monkeypatch.setattr(adversarials, "MAX_BYTES", unpacked - 1)
    with pytest.raises(UsageError, match="would take more than 6,399 bytes; hand in fewer"):
        adversarials._read_npz(path, (1, 4, 4))
    for size, said in ((0, "would take more than"), (1, "is no file of at most")):
        monkeypatch.setattr(adversarials, "MAX_BYTES", path.stat().st_size - size)
        with pytest.raises(UsageError, match=said):
            adversarials._read_npz(path, (1, 4, 4))


def test_images_that_beat_a_row_are_shown_as_a_verifier_scored_them_and_rank_once_the_version_rises(
    world, row_path, kept, key
):
    allow(world, line_for(key))
    content = loads(kept)
    assert verify(world, row_path, "re-attacked", "--sign", key, "-q").exit_code == 0
    (record,) = records(row_path)
    (part,) = loads(record)["beaten"]
    assert part["beats"] and not part["earlier"] and part["file_sha256"] == content["file_sha256"]
    assert part["auroc"] == pytest.approx(content["auroc"], abs=0.02)
    assert f"bent beaten: AUROC {part['auroc']:.3f} by 70 images" in board(world).stdout.replace("\n  ", " ")
    assert ranked(world)[0][3][:5] == f"{loads(record)['fresh']['ranked']:.3f}"
    card = world / "datasets/small.yaml"
    card.write_text(json.dumps({**loads(card), "version": 2, "ood": dict(reversed(loads(card)["ood"].items()))}))
    assert run_suite(world).exit_code == 0 and submit(world).exit_code == 0
    (new,) = [path for path in rows(world) if path != row_path]
    assert verify(world, new, "re-attacked", "--sign", key, "-q").exit_code == 0
    (again,) = loads(records(new)[0])["beaten"]
    assert again["earlier"] and again["auroc"] == pytest.approx(part["auroc"], abs=0.02)
    assert ranked(world)[0][3] == f"{again['auroc']:.3f}"


def test_positions_follow_their_sets_where_these_come_in_another_order():
    before, now = {"test": 9, "a": 2, "b": 3}, {"test": 9, "b": 3, "a": 2}
    assert moved(np.array([0, 1, 2, 4]), before, now).tolist() == [3, 4, 0, 2]
    assert moved(np.array([3, 0]), now, before).tolist() == [0, 2]
    with pytest.raises(RowError, match="other sets"):
        moved(np.array([0]), before, {"test": 9, "a": 3, "b": 3})
