#!/bin/sh
# Writes kernels/sm90/wgmma_gen.cuh: one function per wgmma shape and source of A. They cannot be a template, because the
# operand list of inline PTX has a fixed length. tests/kernels/main.rs compares the file with what this prints.
awk 'BEGIN {
    print "// wgmma: D (+)= A B of 64 rows, N columns and 32 bytes along K, f32 accumulators: one function per shape,"
    print "// type and source of A. Written by tools/wgmma_gen.sh; change it there."
    print "//"
    print "// Thread t of the warpgroup holds in d[4j + q] row 16(t / 32) + (t % 32) / 4 + 8(q / 2), column"
    print "// 8j + 2(t % 4) + q % 2. A is a descriptor (see wgmma_descriptor) or four registers per thread; B is a descriptor."
    print "// With `accumulate` 0 the old values of d do not count. TRANS_*: 0 K-major, 1 MN-major."
    print "#pragma once"
    print ""
    print "#include \"instructions.cuh\""
    print ""
    print "// clang-format off"
    split("8 16 32 64 96 112 128 192 256", shapes, " ")
    print ""
    print "#ifdef __CUDACC__"
    for (s = 1; s in shapes; s++) registers(shapes[s] / 2)
    print "#endif"
    for (s = 1; s in shapes; s++) {
        product(shapes[s], 16, "bf16", "bf16", 0)
        product(shapes[s], 16, "bf16", "bf16", 1)
        product(shapes[s], 32, "e4m3", "e4m3", 0)
        product(shapes[s], 32, "e4m3", "e4m3", 1)
    }
}

# The accumulators as PTX names them and as the operand list binds them.
function registers(count,    i, names, bound) {
    for (i = 0; i < count; i++) {
        names = names (i ? ", " : "") (i && i % 16 == 0 ? "\" \\\n    \"" : "") "%" i
        bound = bound (i ? ", " : "") (i && i % 8 == 0 ? "\\\n    " : "") "\"+f\"(d[" i "])"
    }
    print "#define WGMMA_NAMES_" count " \\\n    \"{" names "}\""
    print "#define WGMMA_BOUND_" count " \\\n    " bound
}

function product(n, k, name, type, from_registers,    count, at, a, inputs, head, modes, sources) {
    count = n / 2
    at = count
    if (from_registers) {
        a = "{%" at ", %" at + 1 ", %" at + 2 ", %" at + 3 "}"
        inputs = "\"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3])"
        at += 4
        head = "const uint32_t (&a)[4]"
        sources = "emu::from_registers(a)"
    } else {
        a = "%" at
        inputs = "\"l\"(a)"
        at += 1
        head = "uint64_t a"
        sources = "emu::from_shared(a, " (k == 16 ? "TRANS_A" : "0") ")"
    }
    inputs = inputs ", \"l\"(b), \"r\"(accumulate)"
    modes = ", 1, 1"
    print ""
    if (k == 16 && from_registers) {
        print "template <int TRANS_B = 0>"
        inputs = inputs ", \"n\"(TRANS_B)"
        modes = modes ", %" at + 2
    } else if (k == 16) {
        print "template <int TRANS_A = 0, int TRANS_B = 0>"
        inputs = inputs ", \"n\"(TRANS_A), \"n\"(TRANS_B)"
        modes = modes ", %" at + 2 ", %" at + 3
    }
    print "DEVICE void wgmma_m64n" n "k" k "_" name "(float (&d)[" count "], " head ", uint64_t b, int accumulate) {"
    print "#ifdef __CUDACC__"
    print "    asm volatile(\"{\\n\\t.reg .pred p;\\n\\tsetp.ne.b32 p, %" at + 1 ", 0;\\n\\t\""
    print "                 \"wgmma.mma_async.sync.aligned.m64n" n "k" k ".f32." type "." type " \" WGMMA_NAMES_" count
    print "                 \", " a ", %" at ", p" modes ";\\n\\t}\""
    print "                 : WGMMA_BOUND_" count
    print "                 : " inputs ");"
    print "#else"
    print "    emu::wgmma(emu::Type::" toupper(name) ", d, " n ", " sources ", emu::from_shared(b, " (k == 16 ? "TRANS_B" : "0") "), accumulate);"
    print "#endif"
    print "}"
}'
