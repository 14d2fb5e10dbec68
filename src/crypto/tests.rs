//! The rule against an independent implementation of it, and batches against single checks.
