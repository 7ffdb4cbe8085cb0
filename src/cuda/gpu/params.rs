//! Structures that kernels and Rust share, made from `kernels/params.h` by `tools/bindings.sh`.
//!
//! A structure of another size or with its fields elsewhere than in the header does not compile.

#[doc = " One output tile of a GEMM whose rows lie in groups with weights of their own: the rows from `row` on, at most up to\n `end`, and the columns from `col` on."]
#[repr(C)]
#[repr(align(16))]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
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
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
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
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct AttentionTile {
    #[doc = " first row of q"]
    pub row: ::std::os::raw::c_int,
    #[doc = " behind the last row of q"]
    pub end: ::std::os::raw::c_int,
    #[doc = " of q"]
    pub head: ::std::os::raw::c_int,
    #[doc = " of k and v"]
    pub kv_head: ::std::os::raw::c_int,
    #[doc = " the rows they see: the first range has some, and behind one without are only such"]
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
