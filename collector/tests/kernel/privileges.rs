//! What is said to those who may not.

use std::thread;

use weir_collector::kernel::{Datapath, DatapathOptions, KernelError};

#[test]
fn without_privileges_the_error_says_what_is_missing() {
    let error = thread::spawn(|| {
        // The call itself, not the C library's function: that one would change every thread.
        // SAFETY: takes three numbers; this thread ends with the test.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(changed, 0, "run as root");
        Datapath::load(&DatapathOptions::default()).err()
    });
    let error = error.join().unwrap().unwrap();
    assert!(matches!(error, KernelError::NotPermitted { .. }), "{error:?}");
    assert!(error.to_string().contains("run as root"), "{error}");
}
