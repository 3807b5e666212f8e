"""The workload of bench/generation.c in llama.cpp: a prompt is read at once, then the likeliest byte comes,
one after another.

    llama_generation.py gpt generate [--threads N] [--bf16] [--flash] [--half]

The network is written to a GGUF file first, with random weights in float32. --flash takes ggml's fused
attention, --half keeps keys and values in float16.
"""
import ctypes
import os
import tempfile

import gguf
import llama_cpp as llama
import numpy

import protocol

PROMPT, GENERATED, LENGTH, DIM, DEPTH, HEADS, VOCABULARY = 32, 200, 256, 384, 6, 6, 256


def write_network(path):
    draw = numpy.random.default_rng(1)
    out = gguf.GGUFWriter(path, "gpt2")
    out.add_context_length(LENGTH)
    out.add_embedding_length(DIM)
    out.add_block_count(DEPTH)
    out.add_feed_forward_length(4 * DIM)
    out.add_head_count(HEADS)
    out.add_layer_norm_eps(1e-5)
    out.add_vocab_size(VOCABULARY)
    out.add_tokenizer_model("no_vocab")

    def matrix(name, rows, columns):
        out.add_tensor(name + ".weight", draw.normal(0, 0.02, (rows, columns)).astype("float32"))

    def linear(name, outputs, inputs):
        matrix(name, outputs, inputs)
        out.add_tensor(name + ".bias", numpy.zeros(outputs, "float32"))

    def norm(name):
        out.add_tensor(name + ".weight", numpy.ones(DIM, "float32"))
        out.add_tensor(name + ".bias", numpy.zeros(DIM, "float32"))

    matrix("token_embd", VOCABULARY, DIM)
    matrix("position_embd", LENGTH, DIM)
    for i in range(DEPTH):
        block = "blk.%d." % i
        norm(block + "attn_norm")
        linear(block + "attn_qkv", 3 * DIM, DIM)
        linear(block + "attn_output", DIM, DIM)
        norm(block + "ffn_norm")
        linear(block + "ffn_up", 4 * DIM, DIM)
        linear(block + "ffn_down", DIM, 4 * DIM)
    norm("output_norm")
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def load():
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "gpt.gguf")
    try:
        write_network(path)
        model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    finally:
        os.remove(path)
        os.rmdir(folder)
    if not model:
        raise SystemExit("llama.cpp does not read the network")
    return model


def generation(o):
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = LENGTH
    settings.n_threads = settings.n_threads_batch = o.threads
    settings.flash_attn_type = 1 if o.flash else 0
    settings.type_k = settings.type_v = llama.GGML_TYPE_F16 if o.half else llama.GGML_TYPE_F32
    context = llama.llama_init_from_model(load(), settings)
    likeliest = llama.llama_sampler_init_greedy()
    prompt = (llama.llama_token * PROMPT)(*range(PROMPT))
    last = (llama.llama_token * 1)()

    def decode(tokens):
        if llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(tokens))):
            raise SystemExit("llama.cpp does not read a token")

    def step():
        llama.llama_memory_clear(llama.llama_get_memory(context), False)
        decode(prompt)
        for _ in range(GENERATED):
            last[0] = llama.llama_sampler_sample(likeliest, context, -1)
            decode(last)
        llama.llama_get_logits_ith(context, -1)
    return step


@llama.llama_log_callback
def quiet(level, text, data):
    pass


def main():
    o = protocol.options("flash", "half")
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    protocol.serve("llama-cpp-python " + llama.__version__, lambda: generation(o))


main()
