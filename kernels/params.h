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
    KeyRange keys[3];  // the rows they see; the first range is not empty, and empty ones come last
};

// One number for each axis of a video.
struct Axes {
    int t;  // frames
    int h;  // lines of a frame
    int w;  // positions of a line
};

// A convolution of a video x to a video y.
struct ConvShape {
    Axes size;      // of x
    int inputs;     // channels of x
    Axes out_size;  // of y
    int outputs;    // channels of y
    Axes kernel;    // taps
    Axes stride;    // positions of x from one position of y to the next
    Axes before;    // padding in front of the first position
    int replicate;  // whether time is padded with the first and the last frame; else with zeros
};

// A convolution of samples x to samples y, or a transposed one.
struct Conv1dShape {
    int samples;      // of x
    int inputs;       // channels of x
    int out_samples;  // of y
    int outputs;      // channels of y
    int taps;         // of the kernel
    int stride;       // samples of x from one of y to the next, transposed the other way round
    int dilation;     // samples from tap to tap
    int padding;      // in front of the first sample
};

// Attention of rows by heads; pitches are elements from one row to the next.
struct AttentionShape {
    int rows;       // of q
    int head;       // columns of a head
    int sharing;    // heads of q for one of k and v
    int q_pitch;    // of q
    int k_pitch;    // of k
    int v_pitch;    // of v
    int y_pitch;    // of the result
    float scale;    // of the scores q k^T
    float softcap;  // 0 for none
};

// A GEMM y [m, n] = x [m, k] w^T in tiles, with an epilogue.
struct GemmShape {
    int num_tiles;  // in the tile list
    int m;          // rows of x
    int n;          // columns of x w^T
    int k;          // columns of x and w
    int y_pitch;    // elements from one row of y to the next
    int z_pitch;    // of the residual, likewise
    float factor;   // of a result in e4m3
};

// Layout of the scales of rows.
struct RowScales {
    int step;   // elements from one to the next
    float all;  // the scale of all rows if there is no list
};

// A norm whose rows are stored in e4m3.
struct QuantizedNorm {
    int cols;     // of a row
    int x_pitch;  // elements from one row to the next
    int q_pitch;  // of the result, likewise
    int s_pitch;  // elements from one row's scale to the next
    float eps;    // added to the mean square
};

// The pixels that are written.
struct PixelShape {
    int rows;    // of all frames
    int cols;    // channels
    int height;  // lines of a frame
    int width;   // pixels of a line
};
