//! What a peer may make us hold.

/// Bounds of a walk. Depth breaks an object off; every other bound only stops the keeping: the object is walked to its
/// end and [`Marks`](crate::Marks) says what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences and items open at once, counted together.
    pub depth: usize,
    /// Elements at all levels that still go into the metadata.
    pub elements: u64,
    /// Bytes of metadata JSON and bulk places.
    pub kept_bytes: usize,
    /// Pixel data fragments in the frame table (16 bytes each).
    pub fragments: usize,
    /// Bytes of each offset table.
    pub table_bytes: usize,
    /// Bytes of an `InlineBinary`; above, the value becomes a `BulkDataURI`.
    pub inline_binary: u32,
    /// Bytes of text or numbers that stay inline; above, the value becomes a `BulkDataURI`.
    pub inline_text: u32,
    /// Bytes of one identifying attribute.
    pub header_value: u32,
    /// Bytes that a deflated data set may inflate to.
    pub inflated_bytes: u64,
}

impl Limits {
    /// Frames in a table (SEALED-FORMAT INDEX, record 01).
    pub const FRAMES: usize = 1 << 20;
    /// A deflated data set may grow by this factor plus [`Limits::INFLATE_SLACK`].
    pub const INFLATE_RATIO: u64 = 1000;
    /// Bytes by which a short deflated data set may outgrow the factor.
    pub const INFLATE_SLACK: u64 = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            elements: 4_000_000,
            kept_bytes: 8 << 20,
            fragments: 1 << 20,
            table_bytes: 4 << 20,
            inline_binary: 1 << 10,
            inline_text: 64 << 10,
            header_value: 16 << 10,
            inflated_bytes: 8 << 30,
        }
    }
}
