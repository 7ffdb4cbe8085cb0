//! `cpu` or `cuda:0` to an executor; the only file that names both.
