//! Times: exact where something begins, by the tick afterwards, and in order all the same.

use std::time::{Duration, Instant};

use weir_abi::endpoint::ISOLATED_INGRESS;
use weir_collector::kernel::MonotonicClock;

use crate::{
    fixture::Fixture,
    frame::{ACK, SYN},
};

/// Far more than a busy machine needs for an attempt between two ticks.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the kernel's coarse clock moves on.
fn tick_ns() -> u64 {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in `tick`; the clock always exists.
    assert_eq!(unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) }, 0);
    tick.tv_nsec as u64
}

/// Waits without giving the processor away, which may take longer than a tick.
fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn the_first_reply_is_timed_to_less_than_a_tick() {
    let mut fixture = Fixture::new(0);
    let (pause, tick, begun) = (Duration::from_micros(200), tick_ns(), Instant::now());
    for port in 10_000.. {
        let before = MonotonicClock::now_ns();
        assert!(fixture.sends_tcp(port, 443, SYN));
        let sent = MonotonicClock::now_ns();
        spin(pause);
        let paused = MonotonicClock::now_ns();
        assert!(fixture.gets_tcp(443, port, SYN | ACK));
        let after = MonotonicClock::now_ns();

        let event = fixture.event();
        let value = fixture.scan().connections[0].value;
        assert!((before..=sent).contains(&event.time_ns));
        assert_eq!(value.first_ns, event.time_ns);
        let replied_ns = value.first_ns + value.reply_delay_ns;
        assert!((paused..=after).contains(&replied_ns), "{value:?}");
        assert!(value.last_ns >= replied_ns, "{value:?}");
        if after - before < tick {
            assert!((1..tick).contains(&value.reply_delay_ns));
            return;
        }
        // The machine was busy with something else: once more.
        assert!(begun.elapsed() < PATIENCE, "no attempt in less than {tick} ns");
    }
}

#[test]
fn only_the_first_reply_counts_for_the_delay() {
    let mut fixture = Fixture::new(0);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.gets_tcp(443, 40_000, SYN | ACK);
    let first = fixture.scan().connections[0].value;
    spin(Duration::from_nanos(2 * tick_ns()));
    fixture.gets_tcp(443, 40_000, ACK);
    let second = fixture.scan().connections[0].value;
    assert_eq!(second.reply_delay_ns, first.reply_delay_ns);
    assert!(second.last_ns > first.last_ns);
}

#[test]
fn no_packet_seems_to_come_before_the_first_one() {
    let mut fixture = Fixture::new(0);
    for port in 10_000..10_200 {
        fixture.sends_udp(port, 53);
        // In the same tick, most likely, which began before the first packet.
        fixture.sends_udp(port, 53);
    }
    let events = fixture.events();
    let scan = fixture.scan();
    assert_eq!((events.len(), scan.connections.len()), (200, 200));
    for delta in scan.connections {
        let value = delta.value;
        assert!(value.last_ns >= value.first_ns, "{value:?}");
        assert!(value.first_ns >= events[0].time_ns);
        assert_eq!(value.reply_delay_ns, 0);
    }
}

#[test]
fn a_deny_is_timed_exactly_and_no_attempt_before_the_first_one() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    for port in 10_000..10_200 {
        let before = MonotonicClock::now_ns();
        assert!(!fixture.gets_udp(9, port));
        let between = MonotonicClock::now_ns();
        assert!(!fixture.gets_udp(9, port));
        let after = MonotonicClock::now_ns();
        assert!(!fixture.gets_udp(9, port));
        assert!((before..=between).contains(&fixture.event().time_ns));
        let scan = fixture.scan();
        let value = scan.denies[0].value;
        assert!((between..=after).contains(&value.first_ns));
        assert!(value.last_ns >= value.first_ns, "{value:?}");
    }
}
