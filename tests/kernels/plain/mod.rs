//! The kernels of the text encoder and the autoencoders that do one op each in plain FMAs: shapes with tails, parts of
//! larger buffers, every edge.

mod attention;
mod bench;
mod conv;
mod pixels;
mod rows;
