//! The memory allocator of every process of Weir.
//!
//! All of them make and drop batches of many sizes on several threads for months. The system's
//! allocator keeps what each thread's arena once needed; jemalloc gives back what has been free for a
//! while. `docs/PERFORMANCE.md` has the figures of both.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Read by jemalloc before `main` (`malloc_conf` in jemalloc(3)): a thread of its own gives back what
/// was free for half a second, also where no thread allocates any more; few arenas, since each keeps some
/// memory for itself and the stages that allocate are few.
// SAFETY: the name is jemalloc's, with the prefix of its Rust build; what it expects there is a
// pointer to text that ends with a zero byte, which a reference to `u8` is, and nothing else defines it.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Option<&'static u8> =
    Some(&b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0,narenas:2\0"[0]);
