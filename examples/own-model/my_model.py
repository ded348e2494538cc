"""Models of one's own, with nothing of robustood in them: strokes have soft edges and leave most of a page black."""

import torch


def score(x):
    """(N, C, H, W) images in [0, 1] -> (N,) scores, higher for what looks like a pen stroke."""
    edges = x.diff(dim=-1).square().mean((1, 2, 3)) + x.diff(dim=-2).square().mean((1, 2, 3))
    return -edges - x[..., :3].mean((1, 2, 3)) - x[..., -3:].mean((1, 2, 3))


def black_box(x):
    """The same without a gradient, as a model outside of torch would have it."""
    return score(x).detach().cpu().numpy()


class Strokes(torch.nn.Module):
    def forward(self, x):
        return score(x)


module = Strokes()

if __name__ == "__main__":  # write the same as programs
    images = torch.zeros(2, 1, 32, 32)
    any_number = {"x": {0: torch.export.Dim("images")}}
    torch.export.save(torch.export.export(module, (images,), dynamic_shapes=any_number), "strokes.pt2")
    torch.jit.save(torch.jit.trace(module, images), "strokes.pt")
