"""The same weights give the same numbers as `transformers`' SegFormer, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bottega.models.segformer import SegFormer, SegFormerConfig

transformers = pytest.importorskip("transformers")


def test_a_folder_of_theirs_opens_here_and_computes_the_same(tmp_path: Path):
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=9, decoder_hidden_size=64)
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    theirs.decode_head.batch_norm.running_mean.uniform_(-0.1, 0.1)
    theirs.save_pretrained(tmp_path)
    ours = SegFormer.from_pretrained(tmp_path)
    assert ours.config.n_class == 9
    pictures = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(pictures).logits
        assert expected.std() > 0.01
        assert (ours(pictures) - expected).abs().max() < 1e-4


def test_a_folder_of_ours_opens_there_and_computes_the_same(tmp_path: Path):
    torch.manual_seed(0)
    shape = SegFormerConfig(
        n_class=3,
        widths=(16, 32),
        depths=(1, 2),
        heads=(2, 4),
        patches=(3, 3),
        strides=(2, 2),
        reductions=(2, 1),
        mlp_ratios=(2, 4),
        decoder_width=48,
    )
    ours = SegFormer(shape, ["ground", "circle", "star"]).eval()
    ours.decoder.norm.running_var.uniform_(0.5, 2.0)
    ours.save_pretrained(tmp_path)
    theirs, report = transformers.SegformerForSemanticSegmentation.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values())
    assert theirs.config.id2label[2] == "star"
    pictures, masks = torch.rand(2, 3, 32, 32), torch.randint(0, 3, (2, 32, 32))
    with torch.no_grad():
        out = theirs.eval()(pictures, labels=masks)
        assert (ours(pictures) - out.logits).abs().max() < 1e-4
        assert ours.loss({"pictures": pictures, "masks": masks}).mean == pytest.approx(
            float(out.loss), abs=1e-4
        )
