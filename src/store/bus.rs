//! A SIGBUS from a mapped segment names the file before the process ends.
//!
//! The kernel sends it when a page cannot be had: the file was truncated by another program, or its medium failed. Nothing
//! can be saved then; but who reads the last line of the log should not have to guess. The maps stand in a fixed table of
//! atomics, which the handler may read at any moment. When it is full, further maps have no name in that line.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Maps that have a name at most: 32 GiB of segments of the usual size.
const MAPS_MAX: usize = 1024;
/// Bytes of a path that are kept: its end.
const PATH_BYTES: usize = 192;

/// A map's place in memory, and the end of its file's path.
struct Slot {
    /// Taken by a map that writes its name or has done so.
    taken: AtomicUsize,
    start: AtomicUsize,
    /// 0 while the name is not whole.
    end: AtomicUsize,
    path: [AtomicU8; PATH_BYTES],
}

static SLOTS: [Slot; MAPS_MAX] = [const {
    Slot {
        taken: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        path: [const { AtomicU8::new(0) }; PATH_BYTES],
    }
}; MAPS_MAX];

/// What handled the signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A map that has a name until this is dropped.
#[derive(Debug)]
pub(super) struct Named {
    slot: Option<usize>,
}

impl Named {
    /// Gives the addresses of a map the name of its file.
    pub(super) fn new(addresses: Range<usize>, path: &Path) -> Named {
        listen();
        let take =
            |slot: &Slot| slot.taken.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = SLOTS.iter().position(take);
        if let Some(slot) = slot.map(|slot| &SLOTS[slot]) {
            let bytes = path.as_os_str().as_bytes();
            let tail = &bytes[bytes.len().saturating_sub(PATH_BYTES)..];
            let padded = tail.iter().copied().chain(std::iter::repeat(0));
            slot.path.iter().zip(padded).for_each(|(to, byte)| to.store(byte, Ordering::Relaxed));
            slot.start.store(addresses.start, Ordering::Relaxed);
            slot.end.store(addresses.end, Ordering::Release);
        }
        Named { slot }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.map(|slot| &SLOTS[slot]) {
            slot.end.store(0, Ordering::Relaxed);
            slot.taken.store(0, Ordering::Release);
        }
    }
}

/// The end of the path of the file that is mapped at an address, padded with zeros.
fn name_of(address: usize) -> Option<[u8; PATH_BYTES]> {
    let here = |slot: &&Slot| {
        let end = slot.end.load(Ordering::Acquire);
        (slot.start.load(Ordering::Relaxed)..end).contains(&address)
    };
    let slot = SLOTS.iter().find(here)?;
    Some(std::array::from_fn(|at| slot.path[at].load(Ordering::Relaxed)))
}

/// Installs the handler, once per process.
fn listen() {
    BEFORE.get_or_init(|| {
        // SAFETY: both structures are plain data for which zeros are valid, and live through the calls. The handler does
        // only what a signal handler may: it reads atomics, writes to a descriptor and sets a signal's disposition.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, &mut before);
            before
        }
    });
}

/// Says which file it was, and leaves the rest to whoever handled the signal before: the access is tried again, and fails
/// again.
extern "C" fn on_bus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid siginfo, whose address is set for SIGBUS. Everything called here may be called
    // in a signal handler; the buffers live on its stack.
    unsafe {
        let address = if info.is_null() { 0 } else { (*info).si_addr() as usize };
        if let Some(name) = name_of(address) {
            let length = name.iter().position(|byte| *byte == 0).unwrap_or(PATH_BYTES);
            for part in [
                &b"throng: a mapped page cannot be read (the file was cut by another program, or its disk failed): "[..],
                &name[..length],
                b"\n",
            ] {
                libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
            }
        }
        match BEFORE.get() {
            Some(before) => libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()),
            None => libc::signal(libc::SIGBUS, libc::SIG_DFL) as libc::c_int,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_its_file_while_it_is_mapped() {
        // Addresses that no map of this process has.
        let (first, second) = (64..128, 128..192);
        let named = Named::new(first.clone(), Path::new("/data/one"));
        let other = Named::new(second.clone(), Path::new(&"x".repeat(500)));
        let text = |address| {
            let name = name_of(address)?;
            Some(String::from_utf8(name.into_iter().take_while(|byte| *byte != 0).collect()).unwrap())
        };
        assert_eq!(text(64).as_deref(), Some("/data/one"));
        assert_eq!(text(127).as_deref(), Some("/data/one"));
        assert_eq!(text(128), Some("x".repeat(PATH_BYTES)));
        drop(named);
        assert_eq!(text(100), None);
        drop(other);
        assert_eq!((text(150), text(0)), (None, None));
    }
}
