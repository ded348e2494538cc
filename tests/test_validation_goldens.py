"""What is said of cards that cannot be used: one change to a valid card at a time, with and without running code."""

import re
from pathlib import Path

import pytest
from goldens import assert_golden

from bench.cards.catalog import Catalog
from bench.validation.checks import check_file

GOLDEN = Path(__file__).with_name("golden")
DETECTOR, THREAT, TRACK = "detectors/flat.yaml", "threat_models/shove.yaml", "datasets/toy.yaml"
NETWORK = "detectors/networks/net.yaml"
CHANGES = (
    (DETECTOR, "name: flat", "name: Flat!"), (DETECTOR, "summary: the mean", "sumary: the mean"),
    (DETECTOR, "method: METHODS:Flat", "method: METHODS"),
    (DETECTOR, "METHODS:Flat", "METHODS:Shove"), (DETECTOR, "METHODS:Flat", "METHODS:images"),
    (DETECTOR, "METHODS:Flat", "METHODS:nothing"), (DETECTOR, "METHODS:Flat", "no_module:Flat"),
    (DETECTOR, "METHODS:Flat", "subprocess:run"), (DETECTOR, "METHODS:Flat", "os:system"),
    (DETECTOR, "METHODS:Flat", "bench.detectors.msp:MSP"),
    (DETECTOR, "METHODS:Flat", "bench.detectors.base:Detector"),
    (DETECTOR, "scale: 2.0", "scale: .nan"), (DETECTOR, "scale: 2.0", "scale: [1]"),
    (DETECTOR, "scale: 2.0", "size: 2.0"), (DETECTOR, "  toy: {}", "  toy: {micro_batch: 0}"),
    (DETECTOR, "  toy: {}", "  toy: {micro_batch: 5000}"), (DETECTOR, "  toy: {}", "  nowhere: {}"),
    (DETECTOR, "  toy: {}", "  toy: {network: nothing}"),
    (DETECTOR, "  toy: {}", "  toy: {weights: [{file: w.safetensors}]}"),
    (DETECTOR, "  toy: {}", "  toy: {weights: [{file: ../w.safetensors}]}"),
    (DETECTOR, "  toy: {}", "  toy: {weights: [{file: w.pth}]}"),
    (
        DETECTOR,
        "  toy: {}",
        "  toy: {weights: [{file: a.bin}, {file: w.safetensors}], training: {recipe: 'bench.training.fit:Fit'}}",
    ),
    (DETECTOR, "  toy: {}", "  toy: {training: {recipe: 'METHODS:Flat'}}"),
    (DETECTOR, "  toy: {}", "  toy: {training: {recipe: 'bench.training.fit:Fit', params: {steps: 1}}}"),
    (DETECTOR, "  toy: {}", "  toy: {recorded: {clean_auroc: 1.5}}"),
    (DETECTOR, "variants:", "thresholds: {source: test}\nvariants:"),
    (DETECTOR, "variants:", "thresholds: {per_class: true}\nvariants:"),
    (DETECTOR, "variants:", "thresholds: {percentiles: [100]}\nvariants:"),
    (DETECTOR, "variants:", "on_network: true\nvariants:"),
    (DETECTOR, "  steep:", "  Steep:"), (DETECTOR, "scale: 10.0", "scael: 10.0"),
    (DETECTOR, "version", "version"), (DETECTOR, "name: flat", "name: flat\nversion: 0"),
    (DETECTOR, "name: flat", "name: flat\nname: flat"), (DETECTOR, "name: flat", "name: [flat"),
    (DETECTOR, "name: flat", "name: !!python/object:os.system x"),
    (THREAT, "norm: l2", "norm: l3"), (THREAT, "norm: l2", ""),
    (THREAT, "eps: [8/255, 0.5]", "eps: []"), (THREAT, "eps: [8/255, 0.5]", "eps: [0]"),
    (THREAT, "eps: [8/255, 0.5]", ""), (THREAT, "knowledge: none", "knowledge: all"),
    (THREAT, "knowledge: none", "knowledge: none\nsides: []"),
    (THREAT, "knowledge: none", "knowledge: none\nsides: [evade, left]"),
    (THREAT, "knowledge: none", "knowledge: none\nmin_norm: true"),
    (THREAT, "steps: 3", "steps: 1.5"), (THREAT, "steps: 3", "stops: 3"),
    (THREAT, "METHODS:Shove", "METHODS:Flat"),
    (THREAT, "METHODS:Shove", "bench.threat_models.base:Threat"),
    (THREAT, "method: METHODS:Shove", "members: {evade: [nothing]}"),
    (THREAT, "method: METHODS:Shove", "members: {evade: [shove]}"),
    (THREAT, "method: METHODS:Shove", "members: {left: [shove]}"),
    (THREAT, "method: METHODS:Shove", ""),
    (THREAT, "knowledge: none", "knowledge: none\nsource: {threat: nothing, detectors: [flat]}"),
    (THREAT, "knowledge: none", "knowledge: none\nsource: {threat: shove, detectors: []}"),
    (TRACK, "shape: [1, 8, 8]", "shape: [2, 8, 8]"), (TRACK, "shape: [1, 8, 8]", "shape: [1, 8]"),
    (TRACK, "shape: [1, 8, 8]", "shape: [1, 0, 8]"), (TRACK, "classes: 2", "classes: 1"),
    (TRACK, "classes: 2", "classes: two"), (TRACK, "classes: 2", "classes: 2\nnetwork: nothing"),
    (TRACK, "classes: 2", "classes: 2\ndefault_limit: 1"),
    (TRACK, "classes: 2", "classes: 2\nsuite: [{threat: nothing, eps: 1}]"),
    (TRACK, "classes: 2", "classes: 2\nsuite: [{threat: shove, eps: 0}]"),
    (TRACK, "classes: 2", "classes: 2\nsuite: [{threat: shove, eps: 1}, {threat: shove, eps: 1}]"),
    (TRACK, "classes: 2", "classes: 2\ngroups: {near: [nothing]}"),
    (TRACK, "classes: 2", "classes: 2\ngroups: {near: []}"),
    (TRACK, 'test: {source: "METHODS:images"}', "test: {source: nothing}"),
    (TRACK, 'test: {source: "METHODS:images"}', ""),
    (TRACK, 'test: {source: "METHODS:images"}', "test: {source: 'METHODS:Flat'}"),
    (TRACK, 'test: {source: "METHODS:images"}', "test: {source: digits, args: {part: x}}"),
    (TRACK, 'test: {source: "METHODS:images"}', "test: {source: folder, args: {path: nowhere}}"),
    (TRACK, 'test: {source: "METHODS:images"}', "test: {source: npz, args: {}}"),
    (TRACK, "noise: {", "noise: {start: 5, stop: 5, "), (TRACK, "noise: {", "noise: {start: -1, "),
    (TRACK, "noise: {", "noise: {kind: unnatural, "), (TRACK, "noise: {", "noise: {crop: 0, "),
    (TRACK, "noise: {", "noise: {pad: -1, "), (TRACK, "noise: {", "noise: {digest: abc, "),
    (TRACK, "  noise: {", "  test: {"), (TRACK, "  noise: {", "  Noise!: {"),
    (NETWORK, "track: toy", "track: nowhere"),
    (NETWORK, "weights: [{file: toy.safetensors}]", "weights: []"),
    (NETWORK, "METHODS:Net", "METHODS:Flat"),
    (NETWORK, "method: METHODS:Net", "method: METHODS:Net\nmean: [0.5, 0.5]"),
    (NETWORK, "method: METHODS:Net", "method: METHODS:Net\nstd: [0]"),
    (NETWORK, "method: METHODS:Net", "method: METHODS:Net\nresize: 0"),
    (NETWORK, "method: METHODS:Net", "method: torchvision:resnet81"),
)  # fmt: skip


@pytest.mark.parametrize("run_code", [True, False])
def test_every_change_that_spoils_a_card_is_answered_as_kept(toy_cards, empty_cards, monkeypatch, tmp_path, run_code):
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "no-cache"))
    builtin, said = empty_cards("builtin").root, []
    toy_cards.with_network()
    for path, before, after in CHANGES:
        file = toy_cards.root / path
        kept = file.read_text()
        file.write_text(kept.replace(*(text.replace("METHODS", toy_cards.module) for text in (before, after))))
        found = check_file(file, Catalog(toy_cards.root, builtin=builtin), run_code=run_code)
        said += [f"# {path}: {before} -> {after}", str(found.kind), *found.problems]
        said += [f"note: {note}" for note in found.notes] + [f"imported: {', '.join(found.imported)}"]
        file.write_text(kept)
    text = "\n".join(said).replace(str(toy_cards.root), "WORKSPACE").replace(toy_cards.module, "METHODS") + "\n"
    text = re.sub(r"(allowed|known|sources?|the catalog has): (([\w-]+, ){8,}.*)", r"\1: MANY", text)
    assert_golden(GOLDEN / f"cards-{'run' if run_code else 'read'}.txt", text.replace(str(tmp_path), "HERE"))
