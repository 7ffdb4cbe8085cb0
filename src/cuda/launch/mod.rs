//! Launches, one file for each kernel file: which steps it runs, its grid, its tensor maps, and why it is sound.
//!
//! All of them rest on these facts, which their SAFETY notes do not repeat: a view is as large as its rows, columns and
//! pitch say and lies inside the program's memory ([`super::lowering::arena`]); the plan's builder has checked that the
//! shapes of a step fit together; buffers start at multiples of 256 bytes and pitches are multiples of 8 elements, so that
//! only the start of a part needs a check ([`DeviceView::is_aligned`]); metadata lives as long as the program.

pub(in crate::cuda) mod activation;
pub(in crate::cuda) mod add_rms_norm;
pub(in crate::cuda) mod attention;
pub(in crate::cuda) mod attention_plain;
pub(in crate::cuda) mod channel;
pub(in crate::cuda) mod combine;
pub(in crate::cuda) mod conv;
pub(in crate::cuda) mod conv3d;
pub(in crate::cuda) mod copy;
pub(in crate::cuda) mod depthwise;
pub(in crate::cuda) mod embed;
pub(in crate::cuda) mod gate;
pub(in crate::cuda) mod gemm;
pub(in crate::cuda) mod gemm_bf16;
pub(in crate::cuda) mod gemm_fp8;
pub(in crate::cuda) mod l2_norm;
pub(in crate::cuda) mod library;
pub(in crate::cuda) mod linear_f32;
pub(in crate::cuda) mod norm_rope;
pub(in crate::cuda) mod norm_silu;
pub(in crate::cuda) mod patch;
pub(in crate::cuda) mod pixels;
pub(in crate::cuda) mod quantize;
pub(in crate::cuda) mod rms_norm;
pub(in crate::cuda) mod rope;
pub(in crate::cuda) mod synthetic;
pub(in crate::cuda) mod table;
pub(in crate::cuda) mod weight_norm;
