//! Checkpoints on disk: found, checked, then read; and synthetic ones made by rule.
