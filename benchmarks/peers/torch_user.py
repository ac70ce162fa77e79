# SPDX-License-Identifier: Apache-2.0
"""The same work as a good PyTorch user writes it: whole tensors, no loops, reductions without indices where none are
needed. Run as it is it is the eager peer; `torch.compile` makes the compiled one of it. What ends in `_tuned` is what
patience with a profiler makes of the eager one. Keys are [1, heads, tokens, head_dim]; scores are float, as ours are,
whatever the cache's type.
"""

import math

import torch
import torch.nn.functional as F

SINK, LAG, KERNEL = 16, 128, 5


def spreads(x):
    """Softmax within each partition of how unevenly channels lie in the ranges of the next partition."""
    _, heads, tokens, head_dim = x.shape
    partitions = (tokens - SINK) // LAG
    x = x[:, :, SINK : SINK + partitions * LAG].view(1, heads, partitions, LAG, head_dim).float()
    own, reference = x[:, :, :-1], x[:, :, 1:]
    low, high = reference.amin(-2, keepdim=True), reference.amax(-2, keepdim=True)
    return ((own - low) / (high - low)).std(-1).softmax(-1)


def lag_score(keys, values):
    return spreads(keys) + spreads(values)


def spreads_tuned(x):
    """The same, by hand: a head at a time, in place, and the deviation as a length."""
    _, heads, tokens, head_dim = x.shape
    partitions = (tokens - SINK) // LAG
    scores = []
    for h in range(heads):
        rows = x[0, h, SINK : SINK + partitions * LAG].view(partitions, LAG, head_dim).float()
        reference = rows[1:]
        low = reference.amin(-2, keepdim=True)
        spread = (rows[:-1] - low).div_(reference.amax(-2, keepdim=True).sub_(low))
        spread.sub_(spread.mean(-1, keepdim=True))
        scores.append(torch.linalg.vector_norm(spread, dim=-1).div_(math.sqrt(head_dim - 1)).softmax(-1))
    return torch.stack(scores).unsqueeze(0)


def lag_score_tuned(keys, values):
    return spreads_tuned(keys).add_(spreads_tuned(values))


def gather(x, kept):
    return x.gather(2, kept.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1]))


def best(scores, count):
    """The tokens of the highest scores, in order."""
    return scores.topk(count, dim=-1, sorted=False).indices.sort(-1).values


def lag_kept(keys, scores, keep):
    heads, tokens = keys.shape[1:3]
    partitions = scores.shape[2]
    first = SINK + LAG * torch.arange(partitions, device=keys.device).view(1, 1, -1, 1)
    chosen = (best(scores, int(keep * LAG)) + first).flatten(2)
    every = torch.arange(tokens, device=keys.device).expand(1, heads, -1)
    return torch.cat([every[..., :SINK], chosen, every[..., SINK + LAG * partitions :]], -1)


def lag_kv(keys, values, keep):
    kept = lag_kept(keys, lag_score(keys, values), keep)
    return gather(keys, kept), gather(values, kept), kept


def lag_kv_tuned(keys, values, keep):
    kept = lag_kept(keys, lag_score_tuned(keys, values), keep)
    return gather(keys, kept), gather(values, kept), kept


def l2_score(keys):
    return -torch.linalg.vector_norm(keys, dim=-1, dtype=torch.float32)


def l2(keys, values, keep):
    kept = best(l2_score(keys), int(keep * keys.shape[2]))
    return gather(keys, kept), gather(values, kept), kept


def compaction(keys, values, kept):
    return gather(keys, kept), gather(values, kept)


def logits(queries, keys):
    return queries @ keys.transpose(-1, -2) * (1 / math.sqrt(keys.shape[-1]))


def column_sums(queries, keys, hidden):
    """`hidden` [tokens, tokens]: what a query may not see."""
    return logits(queries, keys).masked_fill(hidden, -math.inf).softmax(-1).sum((1, 2))


def column_sums_tuned(queries, keys, hidden, block=256):
    """The same, by hand: blocks of queries against what they may see, in place."""
    tokens = keys.shape[2]
    sums = torch.zeros(1, tokens)
    for begin in range(0, tokens, block):
        end = min(begin + block, tokens)
        scores = (queries[:, :, begin:end] @ keys[:, :, :end].transpose(-1, -2)).mul_(1 / math.sqrt(keys.shape[-1]))
        scores[..., begin:].masked_fill_(hidden[begin:end, begin:end], -math.inf)
        sums[:, :end] += scores.softmax(-1).sum((1, 2))
    return sums


def column_sums_of_lse(queries, keys, hidden, row_lse):
    return (logits(queries, keys) - row_lse.unsqueeze(-1)).masked_fill(hidden, -math.inf).exp().sum((1, 2))


def window_votes(queries, keys, hidden):
    """Queries [1, heads, group, window, head_dim]; `hidden` [window, window]: of the window's own tokens."""
    _, heads, group, window, head_dim = queries.shape
    tokens = keys.shape[2]
    scores = logits(queries.reshape(1, heads, group * window, head_dim), keys).view(1, heads, group, window, tokens)
    scores[..., -window:].masked_fill_(hidden, -math.inf)
    votes = scores.softmax(-1, dtype=torch.float32)[..., :-window].mean(3)
    return F.avg_pool1d(votes.flatten(1, 2), KERNEL, stride=1, padding=KERNEL // 2).view_as(votes).mean(2)


# For merging heads. Rows are [tokens, channels], of all heads side by side.


def gram_update(rows, products, sums):
    """Adds the rows' products, and the rows; sums go on in double."""
    rows = rows.float()
    products += rows.mT @ rows
    sums += rows.sum(0)
    return products


def project(rows, matrix):
    """`matrix` is of the rows' type: all heads into one."""
    return rows @ matrix


# While decoding: caches have room, and what stays is written to where it belongs.


def lag_kv_step(keys, values, first, keep):
    """The partition at `first` is due; the one after it follows what is kept of it. Returns the tokens kept of it."""
    due, after = slice(first, first + LAG), slice(first + LAG, first + 2 * LAG)
    scores = lag_score(*(x[:, :, first - SINK : first + 2 * LAG] for x in (keys, values)))[:, :, 0]
    kept = best(scores, int(keep * LAG))
    for x in (keys, values):
        x[:, :, first : first + kept.shape[-1] + LAG] = torch.cat([gather(x[:, :, due], kept), x[:, :, after]], 2)
    return kept


def h2o_step(keys, values, history, queries):
    """Queries [1, heads, group, head_dim] of the newest token, which is there; history [1, heads, tokens - 1]. Keys and
    values of the token that goes are filled from behind, in order. Returns the new history, and who went."""
    tokens = keys.shape[2]
    budget = tokens - 1
    mass = (queries @ keys.transpose(-1, -2) / math.sqrt(keys.shape[-1])).softmax(-1, dtype=torch.float32).sum(2)
    history = F.pad(history, (0, 1)) + mass
    victim = history[..., : tokens - budget // 2].argmin(-1, keepdim=True)
    kept = torch.arange(budget, device=keys.device)
    kept = kept + (kept >= victim)
    for x in (keys, values):
        x[:, :, :budget] = gather(x, kept)
    return history.gather(-1, kept), victim
