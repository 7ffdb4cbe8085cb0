//! Structures that kernels and Rust share, made from `kernels/params.h` by `tools/bindings.sh`.
//!
//! A structure of another size or with its fields elsewhere than in the header does not compile.

#[doc = " One output tile of a GEMM whose rows lie in groups with weights of their own: the rows from `row` on, at most up to\n `end`, and the columns from `col` on."]
#[repr(C)]
#[repr(align(16))]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GemmTile {
    #[doc = " first row of the activations and of the result"]
    pub row: ::std::os::raw::c_int,
    #[doc = " behind the last row of the group"]
    pub end: ::std::os::raw::c_int,
    #[doc = " first column of the result"]
    pub col: ::std::os::raw::c_int,
    #[doc = " row of the stacked weights that makes column `col`"]
    pub weight_row: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmTile"][::std::mem::size_of::<GemmTile>() - 16usize];
    ["Alignment of GemmTile"][::std::mem::align_of::<GemmTile>() - 16usize];
    ["Offset of field: GemmTile::row"][::std::mem::offset_of!(GemmTile, row) - 0usize];
    ["Offset of field: GemmTile::end"][::std::mem::offset_of!(GemmTile, end) - 4usize];
    ["Offset of field: GemmTile::col"][::std::mem::offset_of!(GemmTile, col) - 8usize];
    ["Offset of field: GemmTile::weight_row"]
        [::std::mem::offset_of!(GemmTile, weight_row) - 12usize];
};
#[doc = " Rows of k and v from `start` up to `end`."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct KeyRange {
    #[doc = " first row"]
    pub start: ::std::os::raw::c_int,
    #[doc = " behind the last row"]
    pub end: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of KeyRange"][::std::mem::size_of::<KeyRange>() - 8usize];
    ["Alignment of KeyRange"][::std::mem::align_of::<KeyRange>() - 4usize];
    ["Offset of field: KeyRange::start"][::std::mem::offset_of!(KeyRange, start) - 0usize];
    ["Offset of field: KeyRange::end"][::std::mem::offset_of!(KeyRange, end) - 4usize];
};
#[doc = " One head of up to 128 query rows that see the same keys."]
#[repr(C)]
#[repr(align(8))]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionTile {
    #[doc = " first row of q"]
    pub row: ::std::os::raw::c_int,
    #[doc = " behind the last row of q"]
    pub end: ::std::os::raw::c_int,
    #[doc = " of q"]
    pub head: ::std::os::raw::c_int,
    #[doc = " of k and v"]
    pub kv_head: ::std::os::raw::c_int,
    #[doc = " the rows they see; the first range is not empty, and empty ones come last"]
    pub keys: [KeyRange; 3usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionTile"][::std::mem::size_of::<AttentionTile>() - 40usize];
    ["Alignment of AttentionTile"][::std::mem::align_of::<AttentionTile>() - 8usize];
    ["Offset of field: AttentionTile::row"][::std::mem::offset_of!(AttentionTile, row) - 0usize];
    ["Offset of field: AttentionTile::end"][::std::mem::offset_of!(AttentionTile, end) - 4usize];
    ["Offset of field: AttentionTile::head"][::std::mem::offset_of!(AttentionTile, head) - 8usize];
    ["Offset of field: AttentionTile::kv_head"]
        [::std::mem::offset_of!(AttentionTile, kv_head) - 12usize];
    ["Offset of field: AttentionTile::keys"][::std::mem::offset_of!(AttentionTile, keys) - 16usize];
};
#[doc = " One number for each axis of a video."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Axes {
    #[doc = " frames"]
    pub t: ::std::os::raw::c_int,
    #[doc = " lines of a frame"]
    pub h: ::std::os::raw::c_int,
    #[doc = " positions of a line"]
    pub w: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Axes"][::std::mem::size_of::<Axes>() - 12usize];
    ["Alignment of Axes"][::std::mem::align_of::<Axes>() - 4usize];
    ["Offset of field: Axes::t"][::std::mem::offset_of!(Axes, t) - 0usize];
    ["Offset of field: Axes::h"][::std::mem::offset_of!(Axes, h) - 4usize];
    ["Offset of field: Axes::w"][::std::mem::offset_of!(Axes, w) - 8usize];
};
#[doc = " A convolution of a video x to a video y."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct ConvShape {
    #[doc = " of x"]
    pub size: Axes,
    #[doc = " channels of x"]
    pub inputs: ::std::os::raw::c_int,
    #[doc = " of y"]
    pub out_size: Axes,
    #[doc = " channels of y"]
    pub outputs: ::std::os::raw::c_int,
    #[doc = " taps"]
    pub kernel: Axes,
    #[doc = " positions of x from one position of y to the next"]
    pub stride: Axes,
    #[doc = " padding in front of the first position"]
    pub before: Axes,
    #[doc = " whether time is padded with the first and the last frame; else with zeros"]
    pub replicate: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ConvShape"][::std::mem::size_of::<ConvShape>() - 72usize];
    ["Alignment of ConvShape"][::std::mem::align_of::<ConvShape>() - 4usize];
    ["Offset of field: ConvShape::size"][::std::mem::offset_of!(ConvShape, size) - 0usize];
    ["Offset of field: ConvShape::inputs"][::std::mem::offset_of!(ConvShape, inputs) - 12usize];
    ["Offset of field: ConvShape::out_size"][::std::mem::offset_of!(ConvShape, out_size) - 16usize];
    ["Offset of field: ConvShape::outputs"][::std::mem::offset_of!(ConvShape, outputs) - 28usize];
    ["Offset of field: ConvShape::kernel"][::std::mem::offset_of!(ConvShape, kernel) - 32usize];
    ["Offset of field: ConvShape::stride"][::std::mem::offset_of!(ConvShape, stride) - 44usize];
    ["Offset of field: ConvShape::before"][::std::mem::offset_of!(ConvShape, before) - 56usize];
    ["Offset of field: ConvShape::replicate"]
        [::std::mem::offset_of!(ConvShape, replicate) - 68usize];
};
#[doc = " A convolution of samples x to samples y, or a transposed one."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct Conv1dShape {
    #[doc = " of x"]
    pub samples: ::std::os::raw::c_int,
    #[doc = " channels of x"]
    pub inputs: ::std::os::raw::c_int,
    #[doc = " of y"]
    pub out_samples: ::std::os::raw::c_int,
    #[doc = " channels of y"]
    pub outputs: ::std::os::raw::c_int,
    #[doc = " of the kernel"]
    pub taps: ::std::os::raw::c_int,
    #[doc = " samples of x from one of y to the next, transposed the other way round"]
    pub stride: ::std::os::raw::c_int,
    #[doc = " samples from tap to tap"]
    pub dilation: ::std::os::raw::c_int,
    #[doc = " in front of the first sample"]
    pub padding: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv1dShape"][::std::mem::size_of::<Conv1dShape>() - 32usize];
    ["Alignment of Conv1dShape"][::std::mem::align_of::<Conv1dShape>() - 4usize];
    ["Offset of field: Conv1dShape::samples"]
        [::std::mem::offset_of!(Conv1dShape, samples) - 0usize];
    ["Offset of field: Conv1dShape::inputs"][::std::mem::offset_of!(Conv1dShape, inputs) - 4usize];
    ["Offset of field: Conv1dShape::out_samples"]
        [::std::mem::offset_of!(Conv1dShape, out_samples) - 8usize];
    ["Offset of field: Conv1dShape::outputs"]
        [::std::mem::offset_of!(Conv1dShape, outputs) - 12usize];
    ["Offset of field: Conv1dShape::taps"][::std::mem::offset_of!(Conv1dShape, taps) - 16usize];
    ["Offset of field: Conv1dShape::stride"][::std::mem::offset_of!(Conv1dShape, stride) - 20usize];
    ["Offset of field: Conv1dShape::dilation"]
        [::std::mem::offset_of!(Conv1dShape, dilation) - 24usize];
    ["Offset of field: Conv1dShape::padding"]
        [::std::mem::offset_of!(Conv1dShape, padding) - 28usize];
};
#[doc = " Attention of rows by heads; pitches are elements from one row to the next."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct AttentionShape {
    #[doc = " of q"]
    pub rows: ::std::os::raw::c_int,
    #[doc = " columns of a head"]
    pub head: ::std::os::raw::c_int,
    #[doc = " heads of q for one of k and v"]
    pub sharing: ::std::os::raw::c_int,
    #[doc = " of q"]
    pub q_pitch: ::std::os::raw::c_int,
    #[doc = " of k"]
    pub k_pitch: ::std::os::raw::c_int,
    #[doc = " of v"]
    pub v_pitch: ::std::os::raw::c_int,
    #[doc = " of the result"]
    pub y_pitch: ::std::os::raw::c_int,
    #[doc = " of the scores q k^T"]
    pub scale: f32,
    #[doc = " 0 for none"]
    pub softcap: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionShape"][::std::mem::size_of::<AttentionShape>() - 36usize];
    ["Alignment of AttentionShape"][::std::mem::align_of::<AttentionShape>() - 4usize];
    ["Offset of field: AttentionShape::rows"]
        [::std::mem::offset_of!(AttentionShape, rows) - 0usize];
    ["Offset of field: AttentionShape::head"]
        [::std::mem::offset_of!(AttentionShape, head) - 4usize];
    ["Offset of field: AttentionShape::sharing"]
        [::std::mem::offset_of!(AttentionShape, sharing) - 8usize];
    ["Offset of field: AttentionShape::q_pitch"]
        [::std::mem::offset_of!(AttentionShape, q_pitch) - 12usize];
    ["Offset of field: AttentionShape::k_pitch"]
        [::std::mem::offset_of!(AttentionShape, k_pitch) - 16usize];
    ["Offset of field: AttentionShape::v_pitch"]
        [::std::mem::offset_of!(AttentionShape, v_pitch) - 20usize];
    ["Offset of field: AttentionShape::y_pitch"]
        [::std::mem::offset_of!(AttentionShape, y_pitch) - 24usize];
    ["Offset of field: AttentionShape::scale"]
        [::std::mem::offset_of!(AttentionShape, scale) - 28usize];
    ["Offset of field: AttentionShape::softcap"]
        [::std::mem::offset_of!(AttentionShape, softcap) - 32usize];
};
#[doc = " A GEMM y [m, n] = x [m, k] w^T in tiles, with an epilogue."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct GemmShape {
    #[doc = " in the tile list"]
    pub num_tiles: ::std::os::raw::c_int,
    #[doc = " rows of x"]
    pub m: ::std::os::raw::c_int,
    #[doc = " columns of x w^T"]
    pub n: ::std::os::raw::c_int,
    #[doc = " columns of x and w"]
    pub k: ::std::os::raw::c_int,
    #[doc = " elements from one row of y to the next"]
    pub y_pitch: ::std::os::raw::c_int,
    #[doc = " of the residual, likewise"]
    pub z_pitch: ::std::os::raw::c_int,
    #[doc = " of a result in e4m3"]
    pub factor: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmShape"][::std::mem::size_of::<GemmShape>() - 28usize];
    ["Alignment of GemmShape"][::std::mem::align_of::<GemmShape>() - 4usize];
    ["Offset of field: GemmShape::num_tiles"]
        [::std::mem::offset_of!(GemmShape, num_tiles) - 0usize];
    ["Offset of field: GemmShape::m"][::std::mem::offset_of!(GemmShape, m) - 4usize];
    ["Offset of field: GemmShape::n"][::std::mem::offset_of!(GemmShape, n) - 8usize];
    ["Offset of field: GemmShape::k"][::std::mem::offset_of!(GemmShape, k) - 12usize];
    ["Offset of field: GemmShape::y_pitch"][::std::mem::offset_of!(GemmShape, y_pitch) - 16usize];
    ["Offset of field: GemmShape::z_pitch"][::std::mem::offset_of!(GemmShape, z_pitch) - 20usize];
    ["Offset of field: GemmShape::factor"][::std::mem::offset_of!(GemmShape, factor) - 24usize];
};
#[doc = " Layout of the scales of rows."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct RowScales {
    #[doc = " elements from one to the next"]
    pub step: ::std::os::raw::c_int,
    #[doc = " the scale of all rows if there is no list"]
    pub all: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RowScales"][::std::mem::size_of::<RowScales>() - 8usize];
    ["Alignment of RowScales"][::std::mem::align_of::<RowScales>() - 4usize];
    ["Offset of field: RowScales::step"][::std::mem::offset_of!(RowScales, step) - 0usize];
    ["Offset of field: RowScales::all"][::std::mem::offset_of!(RowScales, all) - 4usize];
};
#[doc = " A norm whose rows are stored in e4m3."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct QuantizedNorm {
    #[doc = " of a row"]
    pub cols: ::std::os::raw::c_int,
    #[doc = " elements from one row to the next"]
    pub x_pitch: ::std::os::raw::c_int,
    #[doc = " of the result, likewise"]
    pub q_pitch: ::std::os::raw::c_int,
    #[doc = " elements from one row's scale to the next"]
    pub s_pitch: ::std::os::raw::c_int,
    #[doc = " added to the mean square"]
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of QuantizedNorm"][::std::mem::size_of::<QuantizedNorm>() - 20usize];
    ["Alignment of QuantizedNorm"][::std::mem::align_of::<QuantizedNorm>() - 4usize];
    ["Offset of field: QuantizedNorm::cols"][::std::mem::offset_of!(QuantizedNorm, cols) - 0usize];
    ["Offset of field: QuantizedNorm::x_pitch"]
        [::std::mem::offset_of!(QuantizedNorm, x_pitch) - 4usize];
    ["Offset of field: QuantizedNorm::q_pitch"]
        [::std::mem::offset_of!(QuantizedNorm, q_pitch) - 8usize];
    ["Offset of field: QuantizedNorm::s_pitch"]
        [::std::mem::offset_of!(QuantizedNorm, s_pitch) - 12usize];
    ["Offset of field: QuantizedNorm::eps"][::std::mem::offset_of!(QuantizedNorm, eps) - 16usize];
};
#[doc = " The pixels that are written."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, bytemuck :: Pod, bytemuck :: Zeroable)]
pub struct PixelShape {
    #[doc = " of all frames"]
    pub rows: ::std::os::raw::c_int,
    #[doc = " channels"]
    pub cols: ::std::os::raw::c_int,
    #[doc = " lines of a frame"]
    pub height: ::std::os::raw::c_int,
    #[doc = " pixels of a line"]
    pub width: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PixelShape"][::std::mem::size_of::<PixelShape>() - 16usize];
    ["Alignment of PixelShape"][::std::mem::align_of::<PixelShape>() - 4usize];
    ["Offset of field: PixelShape::rows"][::std::mem::offset_of!(PixelShape, rows) - 0usize];
    ["Offset of field: PixelShape::cols"][::std::mem::offset_of!(PixelShape, cols) - 4usize];
    ["Offset of field: PixelShape::height"][::std::mem::offset_of!(PixelShape, height) - 8usize];
    ["Offset of field: PixelShape::width"][::std::mem::offset_of!(PixelShape, width) - 12usize];
};
