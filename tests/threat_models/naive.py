"""Every core algorithm on one page, as the papers write it: read this first, then the fast ones.

Whole batches of images, one start at a time, no micro-batches, no early stop, no bookkeeping; what they do where a
score or a gradient is not finite, or zero, is left out. `test_naive_attacks.py` holds each function to the fast one,
bit for bit. What float32 makes of an expression depends on the order of its operations, which is why some lines call
`torch.lerp`, `torch.add` or `torch.addcmul` where `a + b * c` would read better.

    x       (N, C, H, W) clean images in [0, 1], the centres of the balls
    y       (N, C, H, W) iterates
    score   from images to (N,) scores, of which the attacker wants high ones

From the implementation come nothing but random numbers and the points that it draws in a ball.
"""

import math

import torch

from bench.cards.threat import Norm

# --------------------------------------------------------------------------- the ball


def project(z, x, norm, eps, *, secants=5):
    """argmin ||y - z|| over ||y - x|| <= eps, 0 <= y <= 1: in L2 that is clip(x + t (z - x)), for the largest t <= 1.

    t^2 = u is found by secants of S(u) = ||clip(x + sqrt(u) (z - x)) - x||^2, which is concave, so that they come from
    within the ball.
    """
    if norm is Norm.LINF:
        reach = max(eps - 2.0**-25, 0.0)  # a rounding to float32 keeps within eps
        return z.clamp((x - reach).clamp(min=0), (x + reach).clamp(max=1))
    d = z - x
    aim = radius(eps, x) ** 2
    u, u_before, s_before = (aim / squared(d)).clamp(max=1), 0.0, 0.0
    for _ in range(secants):
        s = squared(on_ray(x, d, u) - x)
        ahead = u + (aim - s) * (u - u_before) / (s - s_before)
        u_before, s_before = u, s
        u = torch.where(s < aim * (1 - 4e-6), ahead.fmin(torch.ones_like(u)), u)
    return on_ray(x, d, u)


def project_to_the_end(z, x, norm, eps):
    """The same with secants until none moves: what an attack that may wait for its device takes."""
    if norm is Norm.LINF:
        return project(z, x, norm, eps)
    d = z - x
    aim = (eps * (1 - 1e-6)) ** 2
    u, u_before, s_before = (aim / squared(d)).clamp(max=1), 0.0, 0.0
    while True:
        s = squared(on_ray(x, d, u) - x)
        short = (u < 1) & (s < aim * (1 - 4e-6))
        if not short.any():
            return on_ray(x, d, u)
        ahead = (u + (aim - s) / ((s - s_before) / (u - u_before))).clamp(max=1)
        u_before, s_before = torch.where(short, u, u_before), torch.where(short, s, s_before)
        u = torch.where(short, ahead, u)


def on_ray(x, d, u):
    return torch.addcmul(x, d, u.sqrt().view(-1, 1, 1, 1)).clamp(0, 1)


def squared(d):
    return torch.linalg.vector_norm(d.flatten(1), dim=1).square()


def radius(eps, x):
    """The radius that keeps points in the ball when they are rounded to float32."""
    return min(eps * (1 - 1e-6), eps * (1 + 5e-6) - 2.0**-25 * math.sqrt(x[0].numel()))


def steepest(gradient, norm):
    """argmax <g, d> over ||d|| = 1: g / ||g||_2, or sign(g)."""
    if norm is Norm.LINF:
        return gradient.sign()
    return gradient / gradient.double().flatten(1).norm(dim=1).float().view(-1, 1, 1, 1)


# --------------------------------------------------------------------------- what every attack does


def with_gradient(score, y):
    y = y.detach().requires_grad_(True)
    value = score(y)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    return value.detach(), gradient


def keep(better, new, old):
    """Of each image the new one where it is better."""
    return torch.where(better.view(-1, *(1,) * (new.ndim - 1)), new, old)


@torch.no_grad()
def best_of(score, x, found):
    """Of each image the best of several, the clean one among them; the earlier one where scores tie."""
    best, highest = x, score(x)
    for images in found:
        value = score(images)
        best, highest = keep(value > highest, images, best), torch.maximum(value, highest)
    return best


# --------------------------------------------------------------------------- projected gradient descent


def pgd(score, x, start, norm, eps, *, steps, step_size, momentum):
    """Madry et al. 2018, section 2.1, up the score: y <- P(y + eta m), with m <- mu m + (1 - mu) steepest(grad s(y)).

    eta falls along a cosine from `step_size` eps to about zero; the best iterate counts.
    """
    y, mean = start, torch.zeros_like(x)
    best, highest = x, x.new_full((len(x),), -math.inf)
    for k in range(steps):
        value, gradient = with_gradient(score, y)
        best, highest = keep(value > highest, y, best), torch.maximum(value, highest)
        mean = torch.lerp(steepest(gradient, norm), mean, torch.full((1, 1, 1, 1), momentum))
        eta = eps * (step_size * 0.5 * (1.0 + math.cos(math.pi * k / steps)))
        secants = 5 if k < steps / 2 - 1 else 2  # the later steps are short, and stay near the ball
        y = project(torch.add(y, mean, alpha=eta), x, norm, eps, secants=secants)
    with torch.no_grad():
        return keep(score(y) > highest, y, best)


# --------------------------------------------------------------------------- Auto-PGD


def apgd(score, x, start, norm, eps, *, steps, alpha=0.75, rho=0.75):
    """Croce & Hein 2020, Algorithm 1: z = P(y + eta d), y <- P(y + alpha (z - y) + (1 - alpha) (y - y_before)).

    At the checkpoints eta is halved, and y goes back to the best point, where the score rose in less than rho of the
    steps since the last one (condition 1), or neither eta nor the best point has changed since then (condition 2).
    """
    count = len(x)
    y, before, best = start, start, x
    highest, last_value = x.new_full((count,), -math.inf), x.new_full((count,), math.inf)
    eta, direction_at_best = x.new_full((count,), 2 * eps), torch.zeros_like(x)
    rises, improved, halved = torch.zeros(count), torch.zeros(count, dtype=bool), torch.zeros(count, dtype=bool)
    last_checkpoint = 0
    for k in range(steps):
        value, gradient = with_gradient(score, y)
        direction, better = steepest(gradient, norm), value > highest
        best, highest = keep(better, y, best), torch.maximum(value, highest)
        direction_at_best = keep(better, direction, direction_at_best)
        rises, last_value = rises + (value > last_value), value
        if k > 0:
            improved = improved | better
        if k in checkpoints(steps):
            condition_1 = rises < rho * (k - last_checkpoint)
            condition_2 = ~halved & ~improved
            halved = condition_1 | condition_2
            eta = torch.where(halved, eta / 2, eta)
            y, direction = keep(halved, best, y), keep(halved, direction_at_best, direction)
            rises, improved, last_checkpoint = torch.zeros(count), torch.zeros(count, dtype=bool), k
        z = project(torch.addcmul(y, direction, eta.view(-1, 1, 1, 1)), x, norm, eps)
        if k > 0:
            ahead = torch.lerp(y, z, alpha)
            z = project(torch.addcmul(ahead, y - before, x.new_tensor(1 - alpha)), x, norm, eps)
        before, y = y, z
    with torch.no_grad():
        return keep(score(y) > highest, y, best)


def checkpoints(steps):
    """Section 3.1: w_j = ceil(p_j steps), p_0 = 0, p_1 = 0.22, p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06)."""
    p = [0, 22]  # in hundredths
    while p[-1] < 100:
        p.append(p[-1] + max(p[-1] - p[-2] - 3, 6))
    return {math.ceil(share * steps / 100) for share in p[1:]}


# --------------------------------------------------------------------------- Square Attack


@torch.no_grad()
def square(score, x, norm, eps, *, queries, numbers, p_init=0.8):
    """Andriushchenko et al. 2020, Algorithm 1: change a random square, stay where the score is higher for it.

    Args:
        numbers: From (which query, how many) to (N, so many) uniform numbers, one row an image.
    """
    _, channels, height, width = x.shape
    best, highest = x, score(x)
    for query in range(queries):
        if query == 0:
            y = start_linf(x, eps, numbers) if norm is Norm.LINF else start_l2(x, eps, numbers)
        else:
            passed = sum(query * 10_000 // queries > mark for mark in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
            side = round(math.sqrt(p_init / 2**passed * height * width))
            side = min(max(side, 1) if norm is Norm.LINF else max(side, 3) | 1, height, width)
            u = numbers(query, 2 + channels if norm is Norm.LINF else 5 + channels)
            y = (move_linf if norm is Norm.LINF else move_l2)(best, x, eps, side, u)
        value = score(y)
        best, highest = keep(value > highest, y, best), torch.maximum(value, highest)
    return best


def signs(u):
    return torch.where(u > 0.5, 1.0, -1.0)


def corner(u, side, height, width):
    """The first row and column of a square that lies within the image."""
    return min(int(u[0] * (height - side + 1)), height - side), min(int(u[1] * (width - side + 1)), width - side)


def start_linf(x, eps, numbers):
    """Section 3.3: vertical stripes of +-eps."""
    stripes = signs(numbers(0, x.shape[1] * x.shape[3])).view(len(x), x.shape[1], 1, x.shape[3])
    return project(x + eps * stripes, x, Norm.LINF, eps)


def move_linf(best, x, eps, side, u):
    """Algorithm 2: each channel of a square goes to +eps or to -eps; the other way round where that changes nothing."""
    y = best.clone()
    low, high = project(x - 2, x, Norm.LINF, eps), project(x + 2, x, Norm.LINF, eps)
    for i in range(len(x)):
        r, c = corner(u[i], side, *x.shape[2:])
        window = (slice(None), slice(r, r + side), slice(c, c + side))
        up = (u[i, 2:] > 0.5).view(-1, 1, 1)
        new, turned = torch.where(up, high[i][window], low[i][window]), torch.where(up, low[i][window], high[i][window])
        y[i][window] = turned if torch.equal(new, best[i][window]) else new
    return y


def start_l2(x, eps, numbers):
    """Section 3.4: a fifth of the image a tile, each with a bump of random sign and turn, scaled to norm eps."""
    count, channels, height, width = x.shape
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    u = numbers(0, (channels + 1) * down * across)
    sign = signs(u[:, : channels * down * across]).view(count, channels, down, across)
    turn = u[:, channels * down * across :].view(count, down, across) > 0.5
    whole, top, left = torch.zeros_like(x), (height - down * side) // 2, (width - across * side) // 2
    for i, j, k in ((i, j, k) for i in range(count) for j in range(down) for k in range(across)):
        bump = eta(side).T if turn[i, j, k] else eta(side)
        r, c = top + j * side, left + k * side
        whole[i, :, r : r + side, c : c + side] = sign[i, :, j, k].view(-1, 1, 1) * bump
    return project_to_the_end(x + eps * whole / norm_of(whole, (1, 2, 3)), x, Norm.L2, eps)


def move_l2(best, x, eps, side, u):
    """Algorithm 3: in a square W1 a bump is added to what stands there, scaled to the norm of W1, of W2, and unused.

    W2, another square, is set to zero; the unused part of eps is shared by the channels.
    """
    count, channels = x.shape[:2]

    def windows(images, first):
        places = [corner(u[i, first : first + 2], side, *x.shape[2:]) for i in range(count)]
        return torch.stack([images[i][:, r : r + side, c : c + side] for i, (r, c) in enumerate(places)])

    def write(images, first, values):
        for i in range(count):
            r, c = corner(u[i, first : first + 2], side, *x.shape[2:])
            images[i][:, r : r + side, c : c + side] = values[i]

    in_second = torch.zeros_like(x)
    write(in_second, 2, torch.ones(count))
    delta_1, delta_2 = windows(best, 0) - windows(x, 0), windows(best, 2) - windows(x, 2)
    unused = (radius(eps, x) ** 2 - squared(best - x)).clamp(min=0)
    alone = delta_1 * (1 - windows(in_second, 0))
    available = norm_of(alone, (2, 3)) ** 2 + norm_of(delta_2, (2, 3)) ** 2 + (unused / channels).view(-1, 1, 1, 1)
    bump = torch.where(u[:, 4].view(-1, 1, 1, 1) > 0.5, eta(side).T, eta(side))
    fresh = signs(u[:, 5:]).view(count, channels, 1, 1) * bump + delta_1 / norm_of(delta_1, (2, 3))
    fresh = fresh / norm_of(fresh, (2, 3)) * available.sqrt()
    y = best.clone()
    write(y, 2, windows(x, 2))
    write(y, 0, (windows(x, 0) + fresh).clamp(0, 1))
    return y


def eta(side):
    """Equation 2: two peaks of opposite signs side by side, together of norm 1."""

    def peak(height, width):
        n = height // 2
        fall = [sum(1 / (k + 1) ** 2 for k in range(n, d - 1, -1)) for d in range(n + 1)]
        rows, columns = range(height), range(width)
        return torch.tensor([[fall[max(abs(r - height // 2), abs(c - width // 2))] for c in columns] for r in rows])

    whole = torch.cat([peak(side, side // 2), -peak(side, side - side // 2)], dim=1)
    return whole / torch.linalg.vector_norm(whole)


def norm_of(values, dims):
    return torch.linalg.vector_norm(values, dim=dims, keepdim=True).clamp(min=1e-12)


# --------------------------------------------------------------------------- feature matching


def feature_matching(score, features, x, start, guide, norm, eps, *, steps, step_size):
    """Down J(y) = ||f(y) - f(guide)||^2 by Adamax steps of unit gradients, in the ball; the best by the score counts.

    m <- 0.9 m + 0.1 d, v <- max(0.999 v, |d| + 1e-8), y <- P(y - alpha m / (v (1 - 0.9^k))).
    """
    with torch.no_grad():
        target = features(guide)
    y, mean, largest = start, torch.zeros_like(x), torch.zeros_like(x)
    best, highest = x, x.new_full((len(x),), -math.inf)
    for k in range(1, steps + 1):
        _, gradient = with_gradient(lambda at: (features(at) - target).square().sum(dim=1), y)
        with torch.no_grad():
            value = score(y)
        best, highest = keep(value > highest, y, best), torch.maximum(value, highest)
        down = steepest(gradient, norm)
        mean = 0.9 * mean + (1.0 - 0.9) * down
        largest = torch.maximum(0.999 * largest, down.abs() + 1e-8)
        move = mean / (largest * (1.0 - 0.9**k))
        y = project_to_the_end(torch.sub(y, move, alpha=step_size * eps), x, norm, eps)
    with torch.no_grad():
        return keep(score(y) > highest, y, best)


# --------------------------------------------------------------------------- worst case


def worst_case(clean, members):
    """max over the clean image and what each attack made of it, image by image and before any AUROC.

    Args:
        clean: N scores, the higher the worse for the detector.
        members: N scores of each attack.

    Returns:
        N numbers: which attack, -1 where none is worse than the clean image.
    """
    chosen = []
    for i, score in enumerate(clean):
        which, worst = -1, score
        for number, scores in enumerate(members):
            if scores[i] > worst:
                which, worst = number, scores[i]
        chosen.append(which)
    return chosen
