//! Shared by tests, benches and `gallop verify`: golden cases, judges, seeded inputs.
