// Structures that kernels and Rust share. tools/bindings.sh makes src/cuda/gpu/params.rs from this file, so it is plain C++
// without includes, and every size is a multiple of the alignment.
#pragma once

// One output tile of a GEMM whose rows lie in groups with weights of their own: the rows from `row` on, at most up to
// `end`, and the columns from `col` on.
struct alignas(16) GemmTile {
    int row;         // first row of the activations and of the result
    int end;         // behind the last row of the group
    int col;         // first column of the result
    int weight_row;  // row of the stacked weights that makes column `col`
};

// Rows of k and v from `start` up to `end`.
struct KeyRange {
    int start;  // first row
    int end;    // behind the last row
};

// One head of up to 128 query rows that see the same keys.
struct alignas(8) AttentionTile {
    int row;           // first row of q
    int end;           // behind the last row of q
    int head;          // of q
    int kv_head;       // of k and v
    KeyRange keys[3];  // the rows they see: the first range has some, and behind one without are only such
};
