//! Crate of the house; its content arrives with its first slice.
