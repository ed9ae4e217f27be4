//! A disk in memory that fails and loses power where a test wants it to.
//!
//! It is as unkind as a disk may be: a failed sync forgets what it should have written and says nothing the next time, a
//! power loss keeps any sectors of what was not synced, and names that were not synced come and go.

use crate::disk::{Disk, DiskFile};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

/// When a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Which step fails, counted from when the fault was set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) step: u64,
    pub(crate) when: When,
    pub(crate) kind: io::ErrorKind,
    /// Whether all later steps fail as well.
    pub(crate) lasting: bool,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    names_not_synced: Vec<NameChange>,
    next_file: u64,
    steps: u64,
    fault: Option<Fault>,
    step_names: Vec<&'static str>,
}

#[derive(Default)]
struct File {
    /// What reading shows.
    now: Vec<u8>,
    /// What power loss leaves.
    durable: Vec<u8>,
    not_synced: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Grow(u64),
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Move(String, String, u64),
    Gone(String),
}

struct Handle {
    disk: SimulatedDisk,
    file: u64,
}

impl SimulatedDisk {
    /// Counting of steps starts again.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        state.steps = 0;
        state.step_names.clear();
    }

    /// The steps since the fault was set.
    pub(crate) fn steps(&self) -> Vec<&'static str> {
        self.state().step_names.clone()
    }

    /// Whether the fault has come.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|fault| state.steps > fault.step)
    }

    /// What was not synced is lost, or not, sector by sector, as `dice` says.
    pub(crate) fn lose_power(&self, mut dice: impl FnMut() -> bool) {
        let mut state = self.state();
        let state = &mut *state;
        for change in state.names_not_synced.drain(..) {
            // Names change in order; from the first lost one on, all are lost.
            if !dice() {
                break;
            }
            apply_name(&mut state.durable_names, change);
        }
        state.names_not_synced.clear();
        state.names = state.durable_names.clone();
        for file in state.files.values_mut() {
            for change in std::mem::take(&mut file.not_synced) {
                match change {
                    Change::Grow(len) if dice() => grow(&mut file.durable, len),
                    Change::Grow(_) => {}
                    Change::Write(offset, bytes) => {
                        for (at, sector) in (offset..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                            if dice() {
                                put(&mut file.durable, at, sector);
                            }
                        }
                    }
                }
            }
            file.now = file.durable.clone();
        }
    }

    /// Flips one bit of what stands in a file.
    pub(crate) fn flip(&self, name: &str, byte: u64) {
        let mut state = self.state();
        let file = state.names[name];
        let file = state.files.get_mut(&file).expect("names name files");
        let byte = usize::try_from(byte).expect("files here are small");
        file.now[byte] ^= 1;
        file.durable[byte] ^= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Does one step, unless the fault says otherwise. `forget` is what a failing step leaves behind.
    fn step<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State) -> io::Result<T>,
        forget: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.state();
        let at = state.steps;
        state.steps += 1;
        state.step_names.push(name);
        match state.fault {
            Some(fault) if fault.step == at || (fault.lasting && fault.step < at) => {
                match fault.when {
                    When::Before => forget(&mut state),
                    When::After => drop(work(&mut state)?),
                }
                Err(fault.kind.into())
            }
            _ => work(&mut state),
        }
    }

    fn handle(&self, file: u64) -> Arc<dyn DiskFile> {
        Arc::new(Handle { disk: self.clone(), file })
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let work = |state: &mut State| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.next_file += 1;
            let file = state.next_file;
            state.files.insert(file, File::default());
            state.change_name(NameChange::Set(name.to_owned(), file));
            Ok(file)
        };
        self.step("create", work, |_| {}).map(|file| self.handle(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let work = |state: &mut State| {
            let file = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
            state.change_name(NameChange::Move(from.to_owned(), to.to_owned(), file));
            Ok(())
        };
        self.step("rename", work, |_| {})
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let work = |state: &mut State| {
            if !state.names.contains_key(name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.change_name(NameChange::Gone(name.to_owned()));
            Ok(())
        };
        self.step("remove", work, |_| {})
    }

    fn sync_dir(&self) -> io::Result<()> {
        let work = |state: &mut State| {
            state.names_not_synced.clear();
            state.durable_names = state.names.clone();
            Ok(())
        };
        self.step("sync_dir", work, |_| {})
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.file].now.len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let work = |state: &mut State| {
            let file = state.file(self.file);
            grow(&mut file.now, bytes);
            file.not_synced.push(Change::Grow(bytes));
            Ok(())
        };
        self.disk.step("allocate", work, |_| {})
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let from = usize::try_from(offset).expect("files here are small");
        let found = state.files[&self.file].now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = pieces.concat();
        let half = bytes[..bytes.len() / 2].to_vec();
        let work = |state: &mut State| {
            state.file(self.file).write(offset, bytes);
            Ok(())
        };
        // A write that fails may have written some of it.
        self.disk.step("write", work, |state| state.file(self.file).write(offset, half))
    }

    fn sync(&self) -> io::Result<()> {
        let work = |state: &mut State| {
            let file = state.file(self.file);
            for change in std::mem::take(&mut file.not_synced) {
                match change {
                    Change::Write(offset, bytes) => put(&mut file.durable, offset, &bytes),
                    Change::Grow(len) => grow(&mut file.durable, len),
                }
            }
            Ok(())
        };
        // As Linux does: the pages are marked clean, reading still shows them, and the next sync knows of nothing to do.
        self.disk.step("sync", work, |state| {
            state.file(self.file).not_synced.retain(|change| matches!(change, Change::Grow(_)));
        })
    }
}

impl State {
    fn file(&mut self, file: u64) -> &mut File {
        self.files.get_mut(&file).expect("handles name files")
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, change.clone());
        self.names_not_synced.push(change);
    }
}

impl File {
    fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        put(&mut self.now, offset, &bytes);
        self.not_synced.push(Change::Write(offset, bytes));
    }
}

fn apply_name(names: &mut BTreeMap<String, u64>, change: NameChange) {
    match change {
        NameChange::Set(name, file) => drop(names.insert(name, file)),
        NameChange::Move(from, to, file) => {
            names.remove(&from);
            names.insert(to, file);
        }
        NameChange::Gone(name) => drop(names.remove(&name)),
    }
}

fn put(to: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).expect("files here are small");
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

fn grow(file: &mut Vec<u8>, len: u64) {
    let len = usize::try_from(len).expect("files here are small");
    if file.len() < len {
        file.resize(len, 0);
    }
}

const SECTOR: usize = 512;
