//! Runs a program on a packet made up for it, for tests and benchmarks.

use std::time::Duration;

use aya::TestRun as _;

use super::{Datapath, KernelError, datapath::classifier, error::chain};

/// The programs in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Sees what the pod sends.
    FromPod,
    /// Sees what the pod gets.
    ToPod,
    /// Does nothing: what a program costs at least.
    Empty,
}

impl Program {
    pub(super) const ALL: [Self; 3] = [Self::FromPod, Self::ToPod, Self::Empty];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::Empty => "empty",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct TestRun {
    /// The packet may go on.
    pub passed: bool,
    /// Mean of all repetitions.
    pub duration: Duration,
}

impl Datapath {
    /// Runs a program `repeat` times on an Ethernet frame that came in by interface 1, the
    /// loopback interface. `gso` makes it a packet of that many segments of that many bytes.
    pub fn test_run(
        &mut self,
        program: Program,
        frame: &[u8],
        gso: Option<(u32, u32)>,
        repeat: u32,
    ) -> Result<TestRun, KernelError> {
        let context = gso.map(|(segments, size)| Context::new(segments, size));
        let mut options = aya::TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = context.as_ref().map(|context| context.0.as_slice());
        options.repeat = repeat;
        let result = classifier(&mut self.ebpf, program)?.test_run(options).map_err(|error| {
            KernelError::TestRun {
                program: program.name(),
                source: std::io::Error::other(chain(&error)),
            }
        })?;
        // `TC_ACT_SHOT` is the only way of these programs to drop.
        Ok(TestRun { passed: result.return_value != 2, duration: result.duration })
    }
}

/// `struct __sk_buff` as `BPF_PROG_TEST_RUN` takes it.
struct Context([u8; 192]);

/// Where the two fields lie in it.
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

impl Context {
    fn new(segments: u32, size: u32) -> Self {
        let mut bytes = [0; 192];
        bytes[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&segments.to_ne_bytes());
        bytes[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&size.to_ne_bytes());
        Self(bytes)
    }
}
