"""The miniature's networks in PyTorch, written from the formulas that the runtime follows.

A network is a dictionary of tensors under the published names and functions that read them, so whatever is trained here
is a checkpoint as it stands. Shapes come from the tensors; what they do not tell comes from the JSON files beside them.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import checkpoint

EPS = 1e-6
HEAD = 128
CHANNELS = 48

# Mean and deviation of the video latents, which the decoder undoes.
MEAN = torch.tensor([
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
])
DEVIATION = torch.tensor([
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
])


def load(folder, name):
    """The tensors of one file of a model folder, in f32, and its sizes."""
    files = {
        "dit": ("distill/model.safetensors", "dit.json"),
        "text": ("t5gemma-9b-9b-ul2/model.safetensors", "t5gemma-9b-9b-ul2/config.json"),
        "video": ("turbo_vae/model.safetensors", "turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json"),
        "audio": ("stable-audio-open-1.0/model.safetensors", "stable-audio-open-1.0/model_config.json"),
    }
    weights, config = (Path(folder) / file for file in files[name])
    return {k: v.float() for k, v in checkpoint.read(weights).items()}, json.loads(config.read_text())


def norm(x, weight):
    """x / rms(x) (1 + w) over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * (1 + weight)


def attend(q, k, v, keep, scale):
    """Attention of [B, heads, N, D] where keep is true; written out, which on a CPU is faster than the library's."""
    scores = (q @ k.transpose(-1, -2)).float() * scale
    scores = scores.masked_fill(~keep, -1e9)
    return torch.softmax(scores, -1).to(v.dtype) @ v


# ---- text encoder --------------------------------------------------------------------------------


def encode_text(w, config, ids, is_token):
    """Features [B, T, H] of ids [B, T]; where is_token is false nothing is looked at."""
    c = config["encoder"]
    heads, kv_heads, width = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    hidden = c["hidden_size"]
    # The factor is rounded to bf16 in the published model.
    x = w["model.encoder.embed_tokens.weight"][ids] * torch.tensor(math.sqrt(hidden)).bfloat16().float()
    batch, count = ids.shape
    inverse = c["rope_theta"] ** (-torch.arange(0, width, 2, device=x.device) / width)
    angle = torch.arange(count, device=x.device)[:, None] * inverse
    cos, sin = angle.cos(), angle.sin()

    def turn(v):
        a, b = v.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    for index in range(c["num_hidden_layers"]):
        at = f"model.encoder.layers.{index}."
        a = norm(x, w[at + "pre_self_attn_layernorm.weight"])

        def split(name, count_heads):
            return (a @ w[f"{at}self_attn.{name}_proj.weight"].T).view(batch, count, count_heads, width).transpose(1, 2)

        q, k, v = turn(split("q", heads)), turn(split("k", kv_heads)), split("v", kv_heads)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        o = attend(q, k, v, is_token[:, None, None, :], c["query_pre_attn_scalar"] ** -0.5)
        o = o.transpose(1, 2).reshape(batch, count, -1) @ w[at + "self_attn.o_proj.weight"].T
        x = x + norm(o, w[at + "post_self_attn_layernorm.weight"])
        m = norm(x, w[at + "pre_feedforward_layernorm.weight"])
        gate = F.gelu(m @ w[at + "mlp.gate_proj.weight"].T, approximate="tanh")
        m = (gate * (m @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
        x = x + norm(m, w[at + "post_feedforward_layernorm.weight"])
    return norm(x, w["model.encoder.norm.weight"])


# ---- denoising network ---------------------------------------------------------------------------


def rope_table(bands, grid, audio, text):
    """Cosine and sine [N, 48] for latent frames, rows and columns, audio and at least two text tokens."""
    frames, height, width = grid[0], grid[1] // 2, grid[2] // 2
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    video = torch.stack([t.float(), y - (height - 1) / 2, x - (width - 1) / 2], -1).view(-1, 3)
    scale = ((audio - 1) // 4) / (audio - 1) if audio > 1 else 1.0
    sound = torch.zeros(audio, 3)
    sound[:, 0] = torch.arange(audio) * scale
    place = torch.cat([video, sound, torch.zeros(text, 3)]).to(bands.device)
    angle = (place[:, :, None] * bands).view(-1, 48)
    return angle.cos(), angle.sin()


def patchify(z):
    """[B, 48, T, H, W] to [B, T H/2 W/2, 192], channel slowest."""
    b, c, t, h, w = z.shape
    z = z.view(b, c, t, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6)
    return z.reshape(b, t * (h // 2) * (w // 2), 4 * c)


def unpatchify(tokens, grid):
    """[B, T H/2 W/2, 192], channel fastest, to [B, 48, T, H, W]."""
    t, h, w = grid
    z = tokens.view(-1, t, h // 2, w // 2, 2, 2, CHANNELS).permute(0, 6, 1, 2, 4, 3, 5)
    return z.reshape(-1, CHANNELS, t, h, w)


def denoise(w, config, video, audio, text, is_token):
    """Velocities of video [B, 48, T, H, W] and audio [B, A, 64] given features [B, L, Ct]."""
    grid, n_audio, n_text = video.shape[2:], audio.shape[1], text.shape[1]
    heads, kv_heads = config["num_heads_q"], config["num_heads_kv"]

    def embed(x, name):
        return F.linear(x, w[f"adapter.{name}_embedder.weight"], w[f"adapter.{name}_embedder.bias"])

    x = torch.cat([embed(patchify(video), "video"), embed(audio, "audio"), embed(text, "text")], 1)
    batch, count, hidden = x.shape
    n_video = count - n_audio - n_text
    sizes = [n_video, n_audio, n_text]
    cos, sin = rope_table(w["adapter.rope.bands"], grid, n_audio, n_text)
    keep = torch.cat([is_token.new_ones(batch, n_video + n_audio), is_token], 1)[:, None, None, :]

    def experts(x, weight, op, per_modality):
        """op on all rows, or on each modality's with its third of the weight."""
        if not per_modality:
            return op(x, weight)
        parts = zip(x.split(sizes, 1), weight.chunk(3, 0))
        return torch.cat([op(rows, part) for rows, part in parts], 1)

    def turn(v):
        a, b, rest = v[..., :48], v[..., 48:96], v[..., 96:]
        c, s = cos[:, None], sin[:, None]
        return torch.cat([a * c - b * s, b * c + a * s, rest], -1)

    for index in range(config["num_layers"]):
        at, own = f"block.layers.{index}.", index in config["mm_layers"]

        def linear(x, name):
            return experts(x, w[at + name + ".weight"], F.linear, own)

        def normed(x, name):
            return experts(x, w[at + name + ".weight"], norm, own)

        def headed(x, name, number):
            weight = w[at + name + ".weight"]
            x = x.view(batch, count, number, HEAD)
            return turn(experts(x, weight, lambda rows, part: norm(rows, part), own))

        z = linear(normed(x, "attention.pre_norm"), "attention.linear_qkv")
        q, k, v, gate = z.split([heads * HEAD, kv_heads * HEAD, kv_heads * HEAD, heads], -1)
        q, k = headed(q, "attention.q_norm", heads), headed(k, "attention.k_norm", kv_heads)
        v = v.view(batch, count, kv_heads, HEAD)
        k, v = (t.repeat_interleave(heads // kv_heads, 2) for t in (k, v))
        o = attend(*(t.transpose(1, 2) for t in (q, k, v)), keep, HEAD**-0.5).transpose(1, 2)
        o = (o * torch.sigmoid(gate)[..., None]).reshape(batch, count, -1)
        x = x + linear(o, "attention.linear_proj")
        u = linear(normed(x, "mlp.pre_norm"), "mlp.up_gate_proj")
        if index in config["gelu7_layers"]:
            a = u.clamp(max=7)
            m = a * torch.sigmoid(1.702 * a)
        else:
            a, b = u[..., 0::2].clamp(max=7), u[..., 1::2].clamp(-7, 7)
            m = a * torch.sigmoid(1.702 * a) * (b + 1)
        x = x + linear(m, "mlp.down_proj")
    v_video = norm(x[:, :n_video], w["final_norm_video.weight"]) @ w["final_linear_video.weight"].T
    v_audio = norm(x[:, n_video : n_video + n_audio], w["final_norm_audio.weight"]) @ w["final_linear_audio.weight"].T
    return unpatchify(v_video, grid), v_audio


# ---- video decoder -------------------------------------------------------------------------------


def decode_video(w, config, z):
    """Frames [B, 3, 4 T - 3, 16 H, 16 W], mostly within +-1, of latents [B, 48, T, H, W], in the runtime's chunks."""
    first, step = config["first_chunk_size"], config["step_size"]
    frames = z.shape[2]
    pad = first - frames if frames < first else -(frames - first) % step
    z = torch.cat([z, z[:, :, -1:].expand(-1, -1, pad, -1, -1)], 2)
    total = frames + pad
    if total == first:
        out = [decode_chunk(w, config, z, True)]
    else:
        out = [decode_chunk(w, config, z[:, :, : first + 1], True)[:, :, :-4]]
        for start in range(first, total, step):
            is_last = start + step == total
            part = decode_chunk(w, config, z[:, :, start - 1 : start + step + (not is_last)], False)[:, :, 4:]
            out.append(part if is_last else part[:, :, :-4])
    return torch.cat(out, 2)[:, :, : 4 * frames - 3]


def decode_chunk(w, config, z, is_first):
    """One call of the decoder."""

    def view(v):
        return v.to(z.device).view(1, -1, 1, 1, 1)

    x = conv3r(w, "decoder.conv_in", z * view(DEVIATION) + view(MEAN))
    blocks = len(config["decoder_block_out_channels"])
    layers = config["decoder_layers_per_block"][::-1]
    temporal = config["decoder_spatio_temporal_scaling"][::-1]
    spatial = config["decoder_spatio_only"][::-1]
    for index in range(layers[0]):
        x = residual(w, f"decoder.mid_block.resnets.{index}", x, F.silu)
    for block in range(blocks):
        at = f"decoder.up_blocks.{block}"
        if f"{at}.conv_in.conv1.conv.weight" in w:
            x = residual(w, at + ".conv_in", x, F.silu)
        if temporal[block] or spatial[block]:
            x = upsample(w, at + ".upsamplers.0", x, is_first, temporal[block] and not spatial[block])
        first_act = F.relu if temporal[block] or spatial[block] else F.silu
        for index in range(layers[block + 1]):
            x = residual(w, f"{at}.resnets.{index}", x, first_act)
    x = conv3r(w, "decoder.conv_out", F.silu(channel_norm(x, 1e-8)))
    # Channel 4c + 2r + q goes to row 2h + q and column 2w + r.
    b, c, t, h, v = x.shape
    x = x.view(b, c // 4, 2, 2, t, h, v).permute(0, 1, 4, 5, 3, 6, 2)
    return x.reshape(b, c // 4, t, 2 * h, 2 * v)


def channel_norm(x, eps):
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + eps)


def conv3r(w, name, x):
    """Convolution with copies of the first and last frame in time and zeros in space."""
    weight, bias = w[name + ".conv.weight"], w[name + ".conv.bias"]
    t, h, v = (k // 2 for k in weight.shape[2:])
    if t:
        x = torch.cat([x[:, :, :1].expand(-1, -1, t, -1, -1), x, x[:, :, -1:].expand(-1, -1, t, -1, -1)], 2)
    return F.conv3d(x, weight, bias, padding=(0, h, v))


def residual(w, name, x, first_act):
    h = conv3r(w, name + ".conv1", first_act(channel_norm(x, 1e-8)))
    h = conv3r(w, name + ".conv2", F.silu(channel_norm(h, 1e-8)))
    if f"{name}.conv_shortcut.conv.weight" in w:
        x = conv3r(w, name + ".conv_shortcut", channel_norm(x, EPS))
    return h + x


def upsample(w, name, x, is_first, is_temporal):
    if is_temporal:
        b, c, t, h, v = x.shape
        x = conv3r(w, name + ".time_conv", x).view(b, 2, c, t, h, v)
        x = x.permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * t, h, v)
        x = x[:, :, 1:] if is_first else x
    x = x.repeat_interleave(2, 3).repeat_interleave(2, 4)
    return F.conv3d(x, w[name + ".resample.1.weight"][:, :, None], w[name + ".resample.1.bias"], padding=(0, 1, 1))


# ---- audio decoder ---------------------------------------------------------------------------


def snake(w, name, x):
    alpha, beta = w[name + ".alpha"][:, None].exp(), w[name + ".beta"][:, None].exp()
    return x + torch.sin(alpha * x).square() / (beta + 1e-9)


def weight(w, name):
    """g v / |v|, the norm over all axes but the first."""
    v = w[name + ".weight_v"]
    return w[name + ".weight_g"] * v / v.flatten(1).norm(dim=1)[:, None, None]


def audio_unit(w, name, x, dilation):
    h = snake(w, name + ".layers.0", x)
    h = F.conv1d(h, weight(w, name + ".layers.1"), w[name + ".layers.1.bias"], dilation=dilation, padding=3 * dilation)
    h = snake(w, name + ".layers.2", h)
    return x + F.conv1d(h, weight(w, name + ".layers.3"), w[name + ".layers.3.bias"])


def decode_audio(w, z):
    """Samples [B, 2, 2048 A] of latents [B, A, 64]."""
    at = "pretransform.model.decoder.layers."
    x = F.conv1d(z.transpose(1, 2), weight(w, at + "0"), w[at + "0.bias"], padding=3)
    for index in range(1, 6):
        block = f"{at}{index}.layers."
        kernel = weight(w, block + "1")
        stride = kernel.shape[2] // 2
        x = snake(w, block + "0", x)
        x = F.conv_transpose1d(x, kernel, w[block + "1.bias"], stride=stride, padding=stride // 2)
        for unit, dilation in zip("234", (1, 3, 9)):
            x = audio_unit(w, block + unit, x, dilation)
    return F.conv1d(snake(w, at + "6", x), weight(w, at + "7"), padding=3)
