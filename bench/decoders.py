"""One decoder in a process of its own, for decoding.py; it imports nothing but the decoder that it runs.

Reads lines of JSON, {"streams", "prompt", "new"}, and answers each with the seconds until every stream has
its first token and until it has all: {"first", "all"}. Every stream gets `prompt` random tokens and exactly
`new` greedy ones.

    python bench/decoders.py DECODER KIND FOLDER '{"threads": 2, "device": "cpu", "flags": ""}'
"""

import ctypes
import json
import random
import sys
import time
from pathlib import Path

CONTEXT = 1024
MOST_STREAMS = 8


def prompts(streams, length):
    """Token ids, the same for every decoder."""
    draw = random.Random(0)
    return [[draw.randrange(256) for _ in range(length)] for _ in range(streams)]


class Ours:
    """This project's engine, without its process and HTTP."""

    def __init__(self, kind, folder, setup):
        import torch

        from bottega.engine import devices, kernels
        from bottega.engine.core import Core
        from bottega.engine.settings import EngineSettings
        from bottega.models.gpt import GPT

        torch.set_num_threads(setup["threads"])
        if flags := setup["flags"]:
            choices = ((*flags.split(), "-fopenmp"),)
            library = kernels.load(kernels.build(kernels.find_compiler(), kernels.cache_folder(), choices))
            kernels.compiled = lambda: library
        settings = EngineSettings(weights=kind, prefix_cache=False, kv_tokens=16384, slots=MOST_STREAMS)
        self.core = Core(GPT.from_pretrained(folder).to(devices.find(setup["device"])), 0, settings)

    def __call__(self, ids, new):
        """Through the scheduler, as the server does: once for the first tokens, once for all."""
        from bottega.engine.request import Request
        from bottega.nn.sampling_params import SamplingParams

        def run(n):
            start, tokens = time.perf_counter(), 0
            params = SamplingParams(max_tokens=n, temperature=0.0, ignore_eos=True)
            for i, prompt in enumerate(ids):
                self.core.add(i, Request(prompt=prompt, params=params))
            while self.core.has_work:
                tokens += sum(step.token is not None for _, step in self.core.step())
            assert tokens == len(ids) * n, f"{tokens} tokens, not {len(ids)} × {n}"
            return time.perf_counter() - start

        return run(1), run(new)


class Transformers:
    """`generate` of transformers."""

    def __init__(self, kind, folder, setup):
        import torch
        from transformers import GPT2LMHeadModel

        torch.set_num_threads(setup["threads"])
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
        self.model = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval().to(setup["device"])

    def __call__(self, ids, new):
        """One call for the first tokens, one for all."""
        import torch

        rows = torch.tensor(ids, device=self.model.device)

        def run(n):
            start = time.perf_counter()
            with torch.inference_mode():
                out = self.model.generate(
                    rows,
                    attention_mask=torch.ones_like(rows),
                    do_sample=False,
                    min_new_tokens=n,
                    max_new_tokens=n,
                    pad_token_id=0,
                )
            assert out.shape[1] == rows.shape[1] + n
            return time.perf_counter() - start

        return run(1), run(new)


class CTranslate2:
    """CTranslate2's generator, from a specification filled by hand: its converter wants transformers."""

    def __init__(self, kind, folder, setup):
        import ctranslate2

        model = folder / "ctranslate2"
        if not model.exists():
            _write_ctranslate2(folder, model)
        compute = {"fp32": "float32", "int8": "int8", "bf16": "bfloat16"}[kind]
        self.generator = ctranslate2.Generator(
            str(model), setup["device"], compute_type=compute, inter_threads=1, intra_threads=setup["threads"]
        )

    def __call__(self, ids, new):
        """One call for the first tokens, one for all."""
        words = [[f"t{i}" for i in row] for row in ids]

        def run(n):
            start = time.perf_counter()
            results = self.generator.generate_batch(
                words,
                max_length=n,
                min_length=n,
                sampling_topk=1,
                include_prompt_in_result=False,
                max_batch_size=len(words),
                end_token=[],
            )
            assert all(len(result.sequences_ids[0]) == n for result in results)
            return time.perf_counter() - start

        return run(1), run(new)


def _write_ctranslate2(folder, out):
    import numpy as np
    from ctranslate2.specs import TransformerDecoderModelSpec
    from ctranslate2.specs.common_spec import Activation

    weights = np.load(folder / "weights.npz")
    layers = sum(name.endswith("ln_1.weight") for name in weights)
    spec = TransformerDecoderModelSpec.from_config(layers, 12, pre_norm=True, activation=Activation.GELUTanh)
    decoder = spec.decoder
    decoder.scale_embeddings = False

    def norm(target, name):
        target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def linear(target, name):  # transformers keeps GPT-2's matrices as input × output
        target.weight = np.ascontiguousarray(weights[f"{name}.weight"].T)
        target.bias = weights[f"{name}.bias"]

    decoder.embeddings.weight = decoder.projection.weight = weights["transformer.wte.weight"]
    decoder.position_encodings.encodings = weights["transformer.wpe.weight"]
    norm(decoder.layer_norm, "transformer.ln_f")
    for i, layer in enumerate(decoder.layer):
        at = f"transformer.h.{i}"
        norm(layer.self_attention.layer_norm, f"{at}.ln_1")
        linear(layer.self_attention.linear[0], f"{at}.attn.c_attn")
        linear(layer.self_attention.linear[1], f"{at}.attn.c_proj")
        norm(layer.ffn.layer_norm, f"{at}.ln_2")
        linear(layer.ffn.linear_0, f"{at}.mlp.c_fc")
        linear(layer.ffn.linear_1, f"{at}.mlp.c_proj")
    spec.register_vocabulary([f"t{i}" for i in range(len(decoder.embeddings.weight))])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "t0"
    spec.validate()
    out.mkdir()
    spec.save(str(out))


class LlamaCpp:
    """llama.cpp through its own C functions, several sequences in a batch."""

    def __init__(self, kind, folder, setup):
        import llama_cpp

        self.c = c = llama_cpp
        c.llama_log_set(_silent(c), ctypes.c_void_p(0))
        c.llama_backend_init()
        path = folder / f"{kind}.gguf"
        if kind == "q4_0" and not path.exists():
            params = c.llama_model_quantize_default_params()
            params.ftype = c.LLAMA_FTYPE_MOSTLY_Q4_0
            source, target = str(folder / "f32.gguf").encode(), str(path).encode()
            assert c.llama_model_quantize(source, target, ctypes.byref(params)) == 0
        loading = c.llama_model_default_params()
        loading.n_gpu_layers = 0 if setup["device"] == "cpu" else 999  # all of them
        self.model = c.llama_model_load_from_file(str(path).encode(), loading)
        params = c.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = CONTEXT * 2, CONTEXT * 2, MOST_STREAMS
        params.n_threads = params.n_threads_batch = setup["threads"]
        self.context = c.llama_init_from_model(self.model, params)
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.batch = c.llama_batch_init(CONTEXT * 2, 0, 1)

    def __call__(self, ids, new):
        """Read all prompts in one batch, then a token of every stream a step."""
        c = self.c
        c.llama_memory_clear(c.llama_get_memory(self.context), True)
        start, rows = time.perf_counter(), ids
        at, first = 0, 0.0
        for _ in range(new):
            tokens = self.step(rows, at)
            at += len(rows[0])
            rows = [[token] for token in tokens]
            first = first or time.perf_counter() - start
        return first, time.perf_counter() - start

    def step(self, rows, at):
        """Feed each stream its tokens from position `at` on; give the most probable next ones."""
        import numpy as np

        batch, last = self.batch, []
        batch.n_tokens = 0
        for stream, row in enumerate(rows):
            for i, token in enumerate(row):
                n = batch.n_tokens
                batch.token[n], batch.pos[n] = token, at + i
                batch.n_seq_id[n], batch.seq_id[n][0] = 1, stream
                batch.logits[n] = i == len(row) - 1
                batch.n_tokens += 1
            last.append(batch.n_tokens - 1)
        assert self.c.llama_decode(self.context, batch) == 0
        logits = [self.c.llama_get_logits_ith(self.context, i) for i in last]
        return [int(np.ctypeslib.as_array(row, (self.vocabulary,)).argmax()) for row in logits]


def _silent(c):
    global _kept  # the library calls it as long as it lives
    _kept = c.llama_log_callback(lambda *_: None)
    return _kept


DECODERS = {"ours": Ours, "transformers": Transformers, "ctranslate2": CTranslate2, "llama.cpp": LlamaCpp}


def main():
    """Load, say so, and answer until the input ends."""
    name, kind, folder, setup = sys.argv[1:]
    decode = DECODERS[name](kind, Path(folder), json.loads(setup))
    decode(prompts(1, 8), 2)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        first, whole = decode(prompts(case["streams"], case["prompt"]), case["new"])
        print(json.dumps({"first": first, "all": whole}), flush=True)


if __name__ == "__main__":
    main()
