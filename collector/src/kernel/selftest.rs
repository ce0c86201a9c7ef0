//! Proof, on this kernel, that a deny drops a packet.
//!
//! The programs are loaded a second time, with maps of their own, and run on packets made up for
//! it: so what is proved is the code that is about to be in force, as this kernel has translated
//! it, no event of it reaches the collector's rings, and no more privileges are needed than for
//! loading. That the programs are where packets pass is the other half, which a kernel that takes
//! the link vouches for.

use std::time::{Duration, Instant};

use weir_abi::{
    endpoint::{Endpoint, ISOLATED_EGRESS, ISOLATED_INGRESS, READY, SubjectView},
    event::{REASON_DEFAULT_DENY, REASON_NO_POLICY, VERDICT_ALLOW, VERDICT_DENY},
};

use super::{Datapath, DatapathOptions, Frame, KernelError, KernelMaps, Program};

/// The loopback interface, at which test runs are.
const INTERFACE: u32 = 1;
/// Addresses for documentation (RFC 5737), IPv4-mapped.
const POD: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [192, 0, 2, 2];

/// What was proved.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// The kernel's release.
    pub kernel: String,
    /// The kernel has tcx links; else programs become classic tc filters.
    pub tcx: bool,
    /// The programs and their tags: digests of their instructions, as in `bpftool prog`.
    pub programs: Vec<(&'static str, u64)>,
    /// How long it took.
    pub duration: Duration,
}

impl std::fmt::Display for SelfTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hook = if self.tcx { "tcx" } else { "classic tc" };
        write!(f, "denied packets were dropped and allowed ones passed on Linux {}", self.kernel)?;
        write!(f, " ({hook}")?;
        for (program, tag) in &self.programs {
            write!(f, ", {program} {tag:016x}")?;
        }
        write!(f, ") in {} ms", self.duration.as_millis())
    }
}

/// Loads the programs as they would be for `options`, and has them deny and allow.
///
/// # Errors
/// They cannot be loaded, or what they do is not what they should.
pub fn self_test(options: &DatapathOptions) -> Result<SelfTest, KernelError> {
    let begun = Instant::now();
    let mut scratch = Datapath::load(&DatapathOptions {
        connections: 64,
        denies: 64,
        policies: 64,
        cidrs: 64,
        identities: 64,
        ring_bytes: 1 << 16,
        deny_ring_bytes: 1 << 16,
        adopt_for: Duration::ZERO,
        classic: options.classic,
    })?;
    let mut reader = scratch.reader()?;
    let cases = [
        (ISOLATED_INGRESS | ISOLATED_EGRESS, false, VERDICT_DENY, REASON_DEFAULT_DENY),
        (0, true, VERDICT_ALLOW, REASON_NO_POLICY),
    ];
    for (flags, passes, verdict, reason) in cases {
        scratch.set_endpoint(INTERFACE, &endpoint(flags))?;
        for program in Program::ATTACHED {
            let bytes = match program {
                Program::FromPod => syn(POD, PEER),
                _ => syn(PEER, POD),
            };
            let run = scratch.test_run(program, Frame { bytes: &bytes, ..Frame::default() }, 1)?;
            let mut events = Vec::new();
            reader.read(Duration::ZERO, &mut events)?;
            let told = events.iter().map(|event| (event.verdict, event.reason));
            if run.passed != passes || !told.eq([(verdict, reason)]) {
                let (wanted, passed) = (if passes { "allowed" } else { "denied" }, run.passed);
                return Err(KernelError::SelfTest {
                    what: format!(
                        "a packet that is {wanted} was {} by {}, which told {events:?}",
                        if passed { "passed" } else { "dropped" },
                        program.name()
                    ),
                });
            }
        }
    }
    let programs = Program::ATTACHED.map(|program| {
        let tag = scratch.program_tag(program)?;
        Ok((program.name(), tag))
    });
    Ok(SelfTest {
        kernel: release(),
        tcx: scratch.has_tcx()?,
        programs: programs.into_iter().collect::<Result<_, KernelError>>()?,
        duration: begun.elapsed(),
    })
}

fn endpoint(flags: u32) -> Endpoint {
    Endpoint {
        revision: 1,
        endpoint: 1,
        flags: READY,
        enforced: SubjectView { subject: 1, flags, ..SubjectView::default() },
        audited: SubjectView::default(),
        address_v4: mapped(POD),
        address_v6: [0; 16],
    }
}

fn mapped(v4: [u8; 4]) -> weir_abi::Address {
    std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets()
}

/// A TCP packet that opens a connection, in an Ethernet frame, without checksums.
fn syn(from: [u8; 4], to: [u8; 4]) -> [u8; 54] {
    let mut frame = [0; 54];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[14..34];
    (ip[0], ip[3], ip[8], ip[9]) = (0x45, 40, 64, weir_abi::PROTOCOL_TCP);
    ip[12..16].copy_from_slice(&from);
    ip[16..20].copy_from_slice(&to);
    let tcp = &mut frame[34..];
    tcp[0..2].copy_from_slice(&50_000_u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&6_379_u16.to_be_bytes());
    // Five words of header; SYN.
    (tcp[12], tcp[13]) = (5 << 4, 0x02);
    frame
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "of unknown version".to_owned(), |text| text.trim().to_owned())
}
