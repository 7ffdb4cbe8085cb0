//! The truth: one plain function per op, rounding where the buffer's type says so.
