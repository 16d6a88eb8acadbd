"""The model in training form."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from .batches import SLOTS
from .model import INSTRUCTION, MEAN, RERANK, STD
from .words import CHARS


class Reader:
    """The checkpoint with its training heads, fed the tokens that ``SentenceTransformer`` would make."""

    def __init__(self, model, tokenizer, device: str):
        self.model, self.tokenizer, self.device = model.to(device), tokenizer, device
        self.vision, self.text = model.model.visual, model.model.language_model
        c = model.config
        self.heads = nn.ModuleDict(
            {
                "chars": nn.Linear(c.vision_config.hidden_size, len(CHARS)),
                "pieces": nn.Linear(c.text_config.hidden_size, c.text_config.hidden_size),
                "slots": nn.Linear(c.text_config.hidden_size, math.prod(SLOTS) * len(CHARS)),
            }
        ).to(device)
        self.scale = nn.Parameter(torch.tensor(math.log(16.0), device=device))
        self.enc = enc = lambda s: tokenizer(s, add_special_tokens=False)["input_ids"]
        self.opening = enc("<|im_end|>\n<|im_start|>assistant\n")  # ends a query, opens the model's turn
        self.user = enc("<|im_start|>user\n")
        self.before = enc(f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n") + self.user
        self.after = enc("<|im_end|>\n")
        self.assistant = enc("<|im_start|>assistant\n")
        self.positions: dict = {}
        self.spoken = torch.zeros((), device=device)
        # The same product as the Conv3d over whole patches, faster on a CPU.
        conv = self.vision.patch_embed
        conv.forward = lambda x: torch.nn.functional.linear(
            x.view(-1, conv.proj.weight[0].numel()).to(conv.proj.weight.dtype),
            conv.proj.weight.flatten(1),
            conv.proj.bias,
        )

    def load_heads(self, held: dict) -> None:
        """Loads heads; one that was not there when they were saved stays as it is."""
        self.heads.load_state_dict({**self.heads.state_dict(), **held})

    def parameters(self):
        return [*self.model.parameters(), *self.heads.parameters(), self.scale]

    def patches(self, pixels: np.ndarray):
        """(B, H, W, 3) uint8 to the processor's normalised patch rows (patches, 768), and the grid."""
        x = torch.as_tensor(np.array(pixels), device=self.device).permute(0, 3, 1, 2).float()
        x = x.div_(255).sub_(MEAN).div_(STD)
        flat, gh, gw = _patchify(x)
        return flat, torch.tensor([[1, gh, gw]] * len(pixels), device=self.device)

    def see(self, pixels: np.ndarray):
        flat, grid = self.patches(pixels)
        out = self.vision(flat, grid_thw=grid)
        self.seen = out.pooler_output.detach()
        return out, grid

    def written(self, batch: dict, keys: tuple[str, str, str], cells: int):
        """The targets of a batch under ``keys`` (cell, item, weight), and which of ``cells`` have any."""
        targets = [torch.as_tensor(batch[key], device=self.device) for key in keys]
        full = torch.zeros(cells, dtype=torch.bool, device=self.device)
        full[targets[0]] = True
        return targets, full

    def align(self, norm: float = 4.0) -> None:
        """Moves the piece head into the vision tower: a visual token becomes what its pieces look like.

        The head maps a visual token to the sum of the embeddings of the pieces in its cell. Folded into the
        merger's last layer, it gives the text side visual tokens that it can read as it reads words, from the
        first step on. ``norm`` is the length that visual tokens get on average, in the order of the
        embeddings' own. The heads still say what they said: that of the slots is told of the change too.
        """
        head, slots, last = self.heads["pieces"], self.heads["slots"], self.vision.merger.linear_fc2
        with torch.no_grad():
            scale = norm / float(head(self.seen.to(head.weight.dtype)).norm(dim=-1).mean())
            before = torch.linalg.solve(
                head.weight.T, slots.weight.T
            ).T  # slots.weight @ inverse of head.weight
            slots.bias -= before @ head.bias
            slots.weight.copy_(before / scale)
            last.bias.copy_(scale * (head.weight @ last.bias + head.bias))
            last.weight.copy_(scale * head.weight @ last.weight)
            head.weight.copy_(torch.eye(len(head.weight), device=self.device) / scale)
            head.bias.zero_()

    def bags(self, batch: dict):
        """A visual token each: the mean embedding of the pieces in it, and whether there are any."""
        gh, gw = batch["grid"]
        cells = len(batch["headings"]) * gh * gw // 4
        table = self.text.embed_tokens.weight.detach()
        (cell, item, weight), full = self.written(batch, ("tc", "ti", "tw"), cells)
        sums = torch.zeros(cells, table.shape[1], device=self.device)
        sums.index_add_(0, cell, table[item] * weight[:, None])
        return torch.where(full[:, None], sums, table[0]), full

    def learn_to_imitate(self, batches: list[dict]) -> float:
        """Fits what a visual token looks like, given the pieces in its cell; returns the fit's R2 on cells
        with text.

        A linear map (ridge regression) and the residuals it leaves. So the text side can learn from layouts
        that nobody painted, in the form and with the errors of the vision tower's own tokens. Deepstack
        features cannot be imitated and are set to zero: ``read`` learns them, again if it had before.
        """
        with torch.no_grad():
            for merger in self.vision.deepstack_merger_list:
                merger.linear_fc2.weight.zero_()
                merger.linear_fc2.bias.zero_()
            tokens = torch.cat([self.see(b["pixels"])[0].pooler_output.float() for b in batches])
            bags, full = zip(*(self.bags(b) for b in batches))
            bags, full = torch.cat(bags), torch.cat(full)
            self.center = bags.mean(0), tokens.mean(0)
            x, y = bags - self.center[0], tokens - self.center[1]
            ridge = 1e-3 * x.square().sum() / x.shape[1] * torch.eye(x.shape[1], device=self.device)
            self.map = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
            residual = y - x @ self.map
            self.residuals = residual[~full], residual[full]
            return float(1 - residual[full].square().sum() / (y[full] - y[full].mean(0)).square().sum())

    def imitate(self, batch: dict):
        """What :meth:`see` would return for a page that was laid out and not painted."""
        bags, full = self.bags(batch)
        tokens = ((bags - self.center[0]) @ self.map).float() + self.center[1]
        for where, residuals in ((~full, self.residuals[0]), (full, self.residuals[1])):
            tokens[where] += residuals[torch.randint(len(residuals), (int(where.sum()),))]
        nothing = [torch.zeros_like(tokens) for _ in self.vision.deepstack_merger_list]
        out = SimpleNamespace(pooler_output=tokens, deepstack_features=nothing)
        return out, torch.tensor([[1, *batch["grid"]]] * len(batch["headings"]), device=self.device)

    def ids(self, texts: list[str], limit: int = 160):
        """Token ids of user turns holding ``texts``, right padded (attention is causal), and lengths."""
        rows = [
            self.before + e[:limit] + self.after
            for e in self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        lengths = torch.tensor([len(r) for r in rows], device=self.device)
        pad = self.tokenizer.pad_token_id
        return torch.tensor(
            [r + [pad] * (int(lengths.max()) - len(r)) for r in rows], device=self.device
        ), lengths

    def embed_texts(self, texts: list[str]):
        ids, lengths = self.ids([t.strip() for t in texts])
        position = torch.arange(ids.shape[1], device=self.device).view(1, 1, -1).expand(3, len(ids), -1)
        h = self.text(
            inputs_embeds=self.text.embed_tokens(ids),
            position_ids=position,
            attention_mask=None,
            use_cache=False,
        ).last_hidden_state
        return normalize(h[torch.arange(len(ids)), lengths - 1].float(), dim=-1)

    def embed_pages(self, out, grid, spoken: list[str] | None = None):
        """Embeddings of pages; with ``spoken``, the language loss of an assistant turn after the page."""
        B = len(grid)
        gh, gw = int(grid[0, 1]) // 2, int(grid[0, 2]) // 2
        image = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        prefix = self.around(gh * gw, self.before, self.after)
        tails = [[]] * B
        if spoken:
            end = self.tokenizer("<|im_end|>\n", add_special_tokens=False)["input_ids"]
            tails = [self.assistant + e + end for e in map(self.enc, (f" {s.strip()}" for s in spoken))]
        longest, pad = max(map(len, tails)), self.tokenizer.pad_token_id
        ids = torch.tensor([prefix + t + [pad] * (longest - len(t)) for t in tails], device=self.device)
        mask = ids == image
        x = self.text.embed_tokens(ids)
        x = x.masked_scatter(mask.unsqueeze(-1), out.pooler_output.to(x.dtype))
        h = self.text(
            inputs_embeds=x,
            position_ids=self.rotation(ids, grid).expand(3, B, -1),
            attention_mask=None,
            use_cache=False,
            visual_pos_masks=mask,
            deepstack_visual_embeds=out.deepstack_features,
        ).last_hidden_state
        embedding = normalize(h[:, len(prefix) - 1].float(), dim=-1)
        if not spoken:
            return embedding, None
        start = len(prefix) + len(self.assistant) - 1
        logits = h[:, start:-1].float() @ self.text.embed_tokens.weight.T.float()
        target = ids[:, start + 1 :].clone()
        target[target == pad] = -100
        return embedding, cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)

    def around(self, cells: int, before: list[int], after: list[int]) -> list[int]:
        """Token ids of a page of ``cells`` visual tokens between two texts."""
        tid = self.tokenizer.convert_tokens_to_ids
        page = [tid("<|vision_start|>"), *[tid("<|image_pad|>")] * cells, tid("<|vision_end|>")]
        return [*before, *page, *after]

    def rotation(self, ids, grid):
        """Rotary positions (3, 1, tokens) of rows that hold a page of one grid in the same place."""
        mask = ids[:1] == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        # They hang on where the page stands and on the row's length, not on the words around it.
        key = (int(grid[0, 1]), int(grid[0, 2]), ids.shape[1], int(mask.int().argmax()))
        if key not in self.positions:
            self.positions[key] = self.model.model.get_rope_index(ids[:1], mask.int(), grid[:1])[0]
        return self.positions[key]

    def side_by_side(self, out, grid, before: list[int], after: list[int], rows: list[list[list[int]]]):
        """Hidden states of several continuations of each page, (pages, rows, tokens, width), and the tokens.

        ``before`` and ``after`` are the token ids around the page; ``rows`` holds those of each page's
        continuations, as many for each page. They come right padded. A page's rows share its visual tokens
        and do not see each other: each gets what it would get alone, at a fraction of the price.
        """
        B = len(grid)
        prefix = self.around(int(grid[0, 1]) * int(grid[0, 2]) // 4, before, after)
        tokens = self.padded(rows)
        # In the model, a row is only as long as the longest in its place.
        lengths = [max(map(len, place)) for place in zip(*rows)]
        page = torch.tensor([prefix] * B, device=self.device)
        image = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        shared = self.rotation(page, grid)
        own = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        positions = torch.cat([shared[:, 0], (shared.max() + 1 + own).expand(3, -1)], 1)
        # 0 stands for the page; a token sees the page and, of its own row, what came before it.
        part = torch.cat(
            [
                own.new_zeros(len(prefix)),
                *(own.new_full((length,), 1 + place) for place, length in enumerate(lengths)),
            ]
        )
        unseen = ~((part[:, None] == part) | (part == 0)).tril()
        blind = torch.zeros(unseen.shape, device=self.device).masked_fill(unseen, -1e9)
        ids = torch.cat([page, *(tokens[:, place, :length] for place, length in enumerate(lengths))], 1)
        mask = ids == image
        x = self.text.embed_tokens(ids)
        h = self.text(
            inputs_embeds=x.masked_scatter(mask.unsqueeze(-1), out.pooler_output.to(x.dtype)),
            position_ids=positions[:, None].expand(3, B, -1),
            attention_mask=blind[None, None],
            use_cache=False,
            visual_pos_masks=mask,
            deepstack_visual_embeds=out.deepstack_features,
        ).last_hidden_state[:, len(prefix) :]
        longest = tokens.shape[2]
        rows_of_h = [
            torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in h.split(lengths, 1)
        ]
        return torch.stack(rows_of_h, 1), tokens

    def padded(self, rows: list[list[list[int]]]):
        """Token ids (pages, rows, longest), right padded."""
        longest, pad = max(len(row) for own in rows for row in own), self.tokenizer.pad_token_id
        return torch.tensor(
            [[row + [pad] * (longest - len(row)) for row in own] for own in rows], device=self.device
        )

    def yes_or_no(self, out, grid, asked: list[list[list[int]]]):
        """The log-odds of "yes" at each token of each query, (pages, queries, tokens), and the tokens.

        ``asked`` holds the token ids of each page's queries; a query's last token, which gives the answer, is
        the one that opens the model's turn.
        """
        before = self.enc(f"<|im_start|>system\n{RERANK}<|im_end|>\n<|im_start|>document\n")
        after = self.enc("<|im_end|>\n<|im_start|>query\n")
        h, tokens = self.side_by_side(out, grid, before, after, asked)
        words = self.text.embed_tokens.weight[[self.enc("yes")[0], self.enc("no")[0]]].float()
        return h.float() @ (words[0] - words[1]), tokens


def cosines(a, b, size: int):
    """Cosine similarities (len(a), len(b)) by the first ``size`` dimensions of embeddings."""
    return normalize(a[:, :size], dim=-1) @ normalize(b[:, :size], dim=-1).T


def _patchify(x):
    b, c, h, w = x.shape
    gh, gw = h // 16, w // 16
    x = x.reshape(b, c, gh // 2, 2, 16, gw // 2, 2, 16).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.reshape(b * gh * gw, c * 256), gh, gw
