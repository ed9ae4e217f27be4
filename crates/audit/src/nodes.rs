//! The tree's nodes while the log runs: the growing edge in memory, full tiles on the disk.

use crate::{
    Disk, Hash, Nodes, OpenError,
    edge::list_root,
    state::State,
    tile::{self, WIDTH},
    walk::read_tile,
};
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// Full tiles that were read once already.
pub(crate) type TilesRead = HashMap<(u32, u64), Arc<Vec<Hash>>>;

pub(crate) struct StateNodes<'a> {
    pub(crate) state: &'a State,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) read: RefCell<TilesRead>,
}

impl StateNodes<'_> {
    fn tile(&self, level: u32, number: u64) -> Result<Arc<Vec<Hash>>, OpenError> {
        if let Some(read) = self.read.borrow().get(&(level, number)) {
            return Ok(read.clone());
        }
        let hashes = Arc::new(read_tile(self.disk, level, number, WIDTH)?);
        self.read.borrow_mut().insert((level, number), hashes.clone());
        Ok(hashes)
    }

    /// What was read, for the next one.
    pub(crate) fn into_read(self) -> TilesRead {
        self.read.into_inner()
    }
}

impl Nodes for StateNodes<'_> {
    type Error = OpenError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, OpenError> {
        let level = height / 8;
        let first = index << (height % 8);
        let (full, _) = tile::tiles_at(level, self.state.edge.size());
        let number = first / WIDTH;
        let loaded: Arc<Vec<Hash>>;
        let hashes: &[Hash] = if number >= full {
            self.state.edge.partial(level)
        } else if let Some(hashes) = self.state.tiles.get(&(level, number)) {
            hashes
        } else {
            loaded = self.tile(level, number)?;
            &loaded
        };
        let from = usize::try_from(first % WIDTH).expect("below 256");
        let run = hashes.get(from..from + (1 << (height % 8)));
        run.map(list_root).ok_or(OpenError::Tile { level, index: number })
    }
}
