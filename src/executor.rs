//! Executor and Program: the only door between models and devices.
