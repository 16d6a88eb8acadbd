"""What each stage asks of the model: one function a stage."""

from __future__ import annotations

import random

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax

from .batches import word_ends
from .model import SPECIAL
from .reader import Reader, cosines
from .words import CHARS

ASK = "Write a search query for this page."
GARBLED = 0.1  # of the model's own words in ``speak``, so that it looks and does not only go on
PASSAGE_TOKENS = 48
#: Matryoshka: so many first dimensions of an embedding must find the page too, as in the real family -> the
#: weights of their losses, which add up to 1.
SHORT = {128: 0.1, 64: 0.2, 32: 0.4, 16: 0.3}


def dense_loss(reader: Reader, out, batch):
    """Soft cross-entropy of patches' characters and visual tokens' pieces; empty cells at weight 0.1."""
    losses = []
    table = reader.text.embed_tokens.weight
    for logits, c, i, w in (
        (reader.heads["chars"](out.last_hidden_state), "pc", "pi", "pw"),
        (reader.heads["pieces"](out.pooler_output) @ table.T * 0.3, "tc", "ti", "tw"),
    ):
        logp = log_softmax(logits.float(), -1)
        (cell, item, weight), full = reader.written(batch, (c, i, w), len(logp))
        written = -(logp[cell, item] * weight).sum() / full.sum().clamp(min=1)
        empty = -logp[~full, 0].mean() if (~full).any() else written * 0
        hit = (logp.argmax(-1)[cell] == item).float().sum() / full.sum().clamp(min=1)
        losses.append((written + 0.1 * empty, hit))
    return losses


def slot_loss(reader: Reader, out, batch):
    """Cross-entropy of the characters in the slots of visual tokens, and how many are right.

    Empty slots, four in five, count a third as much in all.
    """
    logits = reader.heads["slots"](out.pooler_output).view(-1, len(CHARS)).float()
    place, item = (torch.as_tensor(batch[key], device=reader.device).long() for key in ("sc", "si"))
    target = torch.zeros(len(logits), dtype=torch.long, device=reader.device)
    target[place] = item
    loss, written = cross_entropy(logits, target, reduction="none"), target > 0
    hit = (logits[place].argmax(-1) == item).float().mean()
    return loss[written].mean() + loss[~written].mean() / 3, hit


def speech_losses(reader: Reader, out, grid, batch: dict):
    """How well a page's heading is read aloud, a query for it written, and passages of it read.

    The heading comes without a request, a passage after the line that it follows. Returns the three
    losses, cross-entropy a token, and how often the next token of a heading is right.
    """

    def turn(asked: str, said: str, limit: int | None = None) -> tuple[list[int], int]:
        """Token ids from the end of the page on, and how many of them are not the model's."""
        given = reader.enc(asked) + reader.after + reader.assistant
        text = reader.enc(f" {said.strip()}")  # a word in the middle of a line has a space before it too
        whole = text[:limit] if limit and len(text) > limit else text + reader.after
        return given + whole, len(given)

    turns = [
        [turn("", title), turn(ASK, query), *(turn(*passage, PASSAGE_TOKENS) for passage in read)]
        for title, query, read in zip(batch["headings"], batch["queries"], batch["passages"])
    ]
    rows = [[row for row, _ in own] for own in turns]
    before = reader.before if batch["instructed"] else reader.user
    tokens = reader.padded(rows)
    garbled = [
        [row[:n] + [garble(token, len(reader.tokenizer)) for token in row[n:]] for row, n in own]
        for own in turns
    ]
    h, _ = reader.side_by_side(out, grid, before, [], garbled)
    given = torch.tensor([[n for _, n in own] for own in turns], device=reader.device)[..., None]
    length = torch.tensor([[len(row) for row in own] for own in rows], device=reader.device)[..., None]
    place = torch.arange(tokens.shape[2] - 1, device=reader.device)  # what stands there foretells the next
    wanted = (place >= given - 1) & (place < length - 1)
    losses = {}
    for name, which in (("spoken", slice(0, 1)), ("query", slice(1, 2)), ("passage", slice(2, None))):
        spoken = wanted[:, which]
        logits = h[:, which, :-1][spoken].float() @ reader.text.embed_tokens.weight.T.float()
        target = tokens[:, which, 1:][spoken]
        losses[name] = cross_entropy(logits, target)
        losses.setdefault("next", (logits.argmax(-1) == target).float().mean())
    return losses


def garble(token: int, vocabulary: int) -> int:
    """A token, or in one case of ten another."""
    return random.randrange(len(SPECIAL), vocabulary) if random.random() < GARBLED else token


def answer_losses(reader: Reader, out, grid, batch: dict, reach: int = 3):
    """Whether a page answers a query, by the odds of "yes" against "no" after both.

    Each page with its two queries and with one of each of the ``reach`` pages before and after it, which
    often differ from it in one thing only. The loss asks for the answer to each pair, and for the right
    page of each query among those that it was asked about. Each word of a query is asked too, at its last
    token, whether it stands on the page: that is the part to be learned first, and one answer a pair
    would be too little to learn it from. Returns the three losses, how often an answer is right, how
    often the right page comes first, and how often a word's answer is right.
    """
    B = len(grid)
    steps = torch.tensor([0, *range(-reach, 0), *range(1, reach + 1)])
    pick = torch.randint(2, (B,))  # the query that other pages are asked about
    about = (torch.arange(B)[:, None] + steps) % B
    query = torch.cat([about * 2 + pick[about], (torch.arange(B) * 2 + 1 - pick)[:, None]], 1)
    asked = [q.strip() for q in batch["queries"]]
    encodings = reader.tokenizer.backend_tokenizer.encode_batch(asked, add_special_tokens=False)
    texts = [encoding.ids for encoding in encodings]
    odds, _ = reader.yes_or_no(
        out, grid, [[texts[q] + reader.opening for q in row] for row in query.tolist()]
    )
    lengths = torch.tensor([len(text) for text in texts], device=reader.device)[query.to(reader.device)]
    answer = odds.gather(2, lengths[..., None] + len(reader.opening) - 1)[..., 0]
    right = torch.zeros_like(answer)
    right[:, [0, -1]] = 1.0
    # Of a query, its page first, then the others that were asked about it.
    places = torch.arange(len(steps))
    rivals = answer[(torch.arange(B)[:, None] - steps) % B, places]
    first = torch.zeros(B, dtype=torch.long, device=reader.device)
    # The last token of a word has seen all of it, and the page.
    ends = [word_ends(*both) for both in zip(asked, encodings)]
    page, row, place, found = zip(
        *(
            (page, row, place, word in batch["written"][page])
            for page, own in enumerate(query.tolist())
            for row, q in enumerate(own)
            for place, word in ends[q]
        )
    )
    own = tuple(torch.tensor(part, device=reader.device) for part in (page, row, place))
    found = torch.tensor(found, device=reader.device, dtype=odds.dtype)
    return {
        "pair": binary_cross_entropy_with_logits(answer, right),
        "list": cross_entropy(rivals, first),
        "token": binary_cross_entropy_with_logits(odds[own], found),
        "right": ((answer > 0) == (right > 0.5)).float().mean(),
        "first": (rivals.argmax(1) == 0).float().mean(),
        "found": ((odds[own] > 0) == (found > 0.5)).float().mean(),
    }


def contrast(reader: Reader, a, b):
    """Symmetric in-batch cross-entropy; returns the loss and how often the right page comes first.

    A third of the loss is that of whole embeddings, the rest that of their first dimensions, weighted by
    ``SHORT`` (Matryoshka representation learning, https://arxiv.org/abs/2205.13147).
    """
    target = torch.arange(len(a), device=reader.device)
    scale = reader.scale.exp().clamp(max=50)
    scores = [cosines(a, b, size) * scale for size in (a.shape[1], *SHORT)]
    whole, *short = ((cross_entropy(s, target) + cross_entropy(s.T, target)) / 2 for s in scores)
    short = sum(weight * loss for weight, loss in zip(SHORT.values(), short))
    return (whole + 2 * short) / 3, (scores[0].argmax(1) == target).float().mean()


def dense_and_slot_losses(reader: Reader, batch: dict):
    """What the vision tower makes of a batch, its grid, and the losses of what is written where."""
    out, grid = reader.see(batch["pixels"])
    (chars, chars_hit), (pieces, pieces_hit) = dense_loss(reader, out, batch)
    slots, slots_hit = slot_loss(reader, out, batch)
    figures = {"chars": chars, "pieces": pieces, "chars_hit": chars_hit, "pieces_hit": pieces_hit}
    return out, grid, figures | {"slots": slots, "slots_hit": slots_hit}


def written_loss(figures: dict):
    """The share of what is written where in the loss of a stage that has another aim."""
    return 0.3 * figures["chars"] + 0.3 * figures["pieces"] + 0.6 * figures["slots"]


def retrieval_losses(reader: Reader, out, grid, batch: dict, aloud: bool):
    """The contrastive loss of pages and queries, plus that of headings read aloud, and both as figures."""
    p, spoken = reader.embed_pages(out, grid, batch["headings"] if aloud else None)
    q = reader.embed_texts(batch["queries"]).view(len(p), -1, p.shape[1])
    both = [contrast(reader, q[:, i], p) for i in range(q.shape[1])]
    loss, first = (sum(x) / len(both) for x in zip(*both))
    figures = {"contrast": loss, "first": first}
    if aloud:
        reader.spoken = spoken.detach()
        loss = loss + 0.7 * spoken
    # of the spoken loss, that of the last step that had one
    return loss, figures | {"spoken": reader.spoken}


# -- stages: the loss of a batch, and its figures; ``aloud`` adds reading headings aloud


def see(reader: Reader, batch: dict, aloud: bool = False):
    """Every patch and every visual token predicts what is written in it."""
    _, _, figures = dense_and_slot_losses(reader, batch)
    return figures["chars"] + figures["pieces"] + figures["slots"], figures


def match(reader: Reader, batch: dict, aloud: bool = False):
    """Queries against pages that are laid out and not painted."""
    return retrieval_losses(reader, *reader.imitate(batch), batch, aloud)


def read(reader: Reader, batch: dict, aloud: bool = False):
    """Queries against pages, while patches and visual tokens go on to predict what is written in them."""
    out, grid, figures = dense_and_slot_losses(reader, batch)
    loss, found = retrieval_losses(reader, out, grid, batch, aloud)
    return written_loss(figures) + loss, figures | found


def speak(reader: Reader, batch: dict, aloud: bool = False):
    """Headings and passages read aloud, queries written, while the vision tower goes on to learn."""
    out, grid, figures = dense_and_slot_losses(reader, batch)
    figures |= speech_losses(reader, out, grid, batch)
    return written_loss(figures) + figures["spoken"] + figures["passage"] + 0.5 * figures["query"], figures


def judge(reader: Reader, batch: dict, aloud: bool = False):
    """Whether a page answers a query; the vision tower stays as it is."""
    with torch.no_grad():
        out, grid = reader.see(batch["pixels"])
    figures = answer_losses(reader, out, grid, batch)
    return figures["pair"] + figures["list"] + figures["token"], figures


LOSSES = {"see": see, "match": match, "read": read, "speak": speak, "judge": judge}
