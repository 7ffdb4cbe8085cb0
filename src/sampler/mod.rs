//! Schedules, coefficient tables and noise, computed on the host.
